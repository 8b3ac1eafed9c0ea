"""The same posteriors as they are sampled without this package, each started at the truth.

Labels are left free, as in the original script: from the truth chains stay in one of the
posterior's K! equal copies, which is checked when their draws are scored.
"""

import time
from functools import partial

import numpy as np

from benchmark.cases import Posterior, start_at_truth
from benchmark.measure import CompileClock
from benchmark.samplers import Outcome, Settings
from benchmark.textbook import textbook_model, textbook_start
from jointmix.modes.initial import draw_start
from jointmix.validation.twin import Form, build_twin
from jointmix.validation.twin.priors import free_values


def numpyro_nuts(
    form: Form, posterior: Posterior, settings: Settings, clock: CompileClock
) -> Outcome:
    """NumPyro's NUTS with its defaults: a diagonal mass matrix, chains in parallel.

    Parameters
    ----------
    form
        "enumerated", as the original script has it, or "marginal".
    """
    import jax
    import numpyro
    from numpyro.infer import MCMC, NUTS, init_to_value

    # Without a device a chain NumPyro would run the chains one after another, on one core.
    numpyro.set_host_device_count(settings.chains)
    began = time.time()
    model = build_twin(posterior.dataset, posterior.spec, form)
    numpyro.enable_x64()
    # As JAX arrays: the model indexes parameters by allocations that are being traced.
    values = jax.tree.map(jax.numpy.asarray, free_values(posterior.spec, posterior.values))
    at_truth = init_to_value(values=values)
    sampler = MCMC(
        NUTS(model, init_strategy=at_truth),
        num_warmup=settings.tune,
        num_samples=settings.draws,
        num_chains=settings.chains,
        progress_bar=False,
    )
    sampler.run(jax.random.PRNGKey(settings.seed), extra_fields=("num_steps", "diverging"))
    samples = sampler.get_samples(group_by_chain=True)
    draws = {name: np.asarray(samples[name]) for name in posterior.values if name in samples}
    ended = time.time()
    extra = sampler.get_extra_fields()
    wall = ended - began
    return Outcome(
        draws=draws,
        wall_seconds=wall,
        sample_seconds=wall - clock.within(began, ended),
        gradients=int(extra["num_steps"].sum()),
        divergences=int(extra["diverging"].sum()),
    )


enumerated = partial(numpyro_nuts, "enumerated")
marginal = partial(numpyro_nuts, "marginal")


def textbook(posterior: Posterior, settings: Settings, clock: CompileClock) -> Outcome:
    """The textbook PyMC mixture, by nutpie on JAX with its low-rank mass matrix."""
    import nutpie

    rng = np.random.default_rng(settings.seed)
    values = draw_start(start_at_truth(posterior, settings.seed), posterior.spec, rng)
    began = time.time()
    compiled = nutpie.compile_pymc_model(
        textbook_model(posterior),
        backend="jax",
        gradient_backend="jax",
        initial_points=textbook_start(posterior, values),
        # By default nutpie moves each value by up to 1: from one mode into another.
        jitter_rvs=set(),
    )
    sampling = time.time()
    tree = nutpie.sample(
        compiled,
        draws=settings.draws,
        tune=settings.tune,
        chains=settings.chains,
        seed=settings.seed,
        adaptation="low_rank",
        progress_bar=False,
        save_warmup=True,
    )
    ended = time.time()
    found = {name: value.values for name, value in tree["posterior"].data_vars.items()}
    draws = {name: found[name] for name in posterior.values if name in found}
    for name, variance in (("sd", "feature_variance"), ("sigma", "noise_variance")):
        if variance in found:
            draws[name] = np.sqrt(found[variance])
    kept = int(tree["sample_stats"]["n_steps"].sum())
    return Outcome(
        draws=draws,
        wall_seconds=ended - began,
        sample_seconds=ended - sampling - clock.within(sampling, ended),
        gradients=kept,
        all_gradients=kept + int(tree["warmup_sample_stats"]["n_steps"].sum()),
        divergences=int(tree["sample_stats"]["diverging"].sum()),
    )
