"""NumPyro's NUTS on a NumPyro model, with its draws in the form that all samplers' take."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from jointmix.sampling.result import Draws
from jointmix.sampling.target import Target
from jointmix.validation.agreement.chart import Model
from jointmix.validation.agreement.numpyro_side import site_values, unsorted
from jointmix.validation.agreement.ordered import Order
from jointmix.validation.agreement.sites import unconstrained
from jointmix.validation.agreement.structure import Structure

_STATISTICS = ("diverging", "num_steps", "energy", "accept_prob")


def sample_model(
    target: Target, structure: Structure, model: Model, seed: int, order: Order | None = None
) -> Draws:
    """Draws of a NumPyro model, chains starting where the target puts them.

    Parameters
    ----------
    target
        Where chains start, and the sampler's settings.
    structure, model
        The model, and what its sites are.
    seed
        Of the starts and of the random key.
    order
        In which the model has its components.
    """
    import jax
    from numpyro.infer import MCMC, NUTS

    settings = target.spec.sampler
    if structure.rows.allocation is not None:
        from numpyro.contrib.funsor import config_enumerate

        model = config_enumerate(model)
    kernel = NUTS(
        model,
        target_accept_prob=settings.target_accept,
        dense_mass=settings.adaptation != "diag",
    )
    parallel = jax.local_device_count() >= settings.chains
    mcmc = MCMC(
        kernel,
        num_warmup=settings.tune,
        num_samples=settings.draws,
        num_chains=settings.chains,
        chain_method="parallel" if parallel else "sequential",
        progress_bar=False,
    )
    points = target.points(seed, settings.chains)
    starts = _starts(structure, model, points if order is None else order.arranged(points))
    with _compilation() as spent:
        began = time.perf_counter()
        mcmc.run(jax.random.PRNGKey(seed), init_params=starts, extra_fields=_STATISTICS)
        found = {site: np.asarray(value) for site, value in mcmc.get_samples().items()}
        seconds = time.perf_counter() - began
    extra = {name: np.asarray(value) for name, value in mcmc.get_extra_fields(True).items()}
    if order is not None and order.moves is not None:
        found = unsorted(structure, model, found)
    q = unconstrained(structure.chart, found)
    q = q if order is None else order.folded(q)
    q = q.reshape(settings.chains, settings.draws, -1)
    compiling = sum(spent)
    return Draws(
        target.parameters(q),
        {"diverging": extra["diverging"], "energy": extra["energy"],
         "n_steps": extra["num_steps"], "acceptance_rate": extra["accept_prob"]},
        np.arange(settings.chains),
        {"compile_seconds": compiling, "sample_seconds": seconds - compiling},
    )  # fmt: skip


def _starts(structure: Structure, model: Model, points: np.ndarray) -> dict[str, Any]:
    """Unconstrained values of the sites, as NumPyro has them, with one leading dim of chains."""
    import jax
    import jax.numpy as jnp
    from numpyro import handlers
    from numpyro.distributions import biject_to

    values = jax.vmap(lambda q: site_values(structure, model, q)[0])(jnp.asarray(points))
    first = {site: value[0] for site, value in values.items()}
    with (
        handlers.trace() as trace,
        handlers.seed(rng_seed=0),
        handlers.substitute(data=first),
    ):
        model()
    starts = {}
    for site, value in values.items():
        transform = biject_to(trace[site]["fn"].support)
        starts[site] = jax.vmap(transform.inv)(value)
    if len(points) == 1:
        return {site: value[0] for site, value in starts.items()}
    return starts


@contextmanager
def _compilation() -> Iterator[list[float]]:
    """The seconds that JAX's compiler takes meanwhile, one for each compiled function."""
    import jax

    spent: list[float] = []

    def listen(event: str, duration: float, **_: object) -> None:
        # Tracing is reported once for each function inside another, and would count twice.
        if event == "/jax/core/compile/backend_compile_duration":
            spent.append(duration)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield spent
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
