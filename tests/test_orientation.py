"""Users' sites may hold the components last, as plates that count from the right make them."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from test_numpyro_twin import bare

from jointmix import Priors
from jointmix.families.priors.priors import Dirichlet, HalfNormal, Normal
from jointmix.validation.agreement.comparison import Comparison
from jointmix.validation.agreement.numpyro_side import numpyro_side
from jointmix.validation.agreement.orientation import oriented
from jointmix.validation.agreement.plain_sides import kernel_side
from jointmix.validation.agreement.problem import Problem, random_points
from jointmix.validation.agreement.sites import unconstrained
from jointmix.validation.agreement.structure import inspect

pytest.importorskip("funsor")

PRIORS = Priors(
    weight=Dirichlet(concentration=1.0), mean=Normal(scale=3.0), sd=HalfNormal(scale=2.0),
    intercept=Normal(scale=5.0), slope=Normal(scale=2.0), sigma=HalfNormal(scale=2.0),
)  # fmt: skip
NAMES = {"mean": "middle", "sd": "spread", "slope": "tilt"}


def problem_of(k: int, d: int) -> Problem:
    spec, dataset = bare(12, d, k, 2)
    return Problem(dataset.under(replace(spec, covariance="diagonal", priors=PRIORS)), None)


def turned_model(problem: Problem, wrong: float = 0.0) -> Callable[[], None]:
    """Means, sds and slopes in plates (column, component); the slopes' sign may be wrong."""
    import jax.numpy as jnp
    import numpyro
    import numpyro.distributions as dist
    from jax.scipy.special import logsumexp

    rows, k = problem.rows, problem.spec.n_clusters

    def model() -> None:
        share = numpyro.sample("weight", dist.Dirichlet(jnp.ones(k)))
        with numpyro.plate("cluster", k, dim=-1):
            base = numpyro.sample("intercept", dist.Normal(0, 5))
            noise = numpyro.sample("sigma", dist.HalfNormal(2))
            with numpyro.plate("feature", rows.x.shape[1], dim=-2):
                middle = numpyro.sample("middle", dist.Normal(0, 3))
                spread = numpyro.sample("spread", dist.HalfNormal(2))
            with numpyro.plate("predictor", rows.u.shape[1], dim=-2):
                tilt = numpyro.sample("tilt", dist.Normal(0, 2))
        features = dist.Normal(middle, spread).log_prob(rows.x[:, :, None]).sum(1)
        line = base + rows.u @ tilt + wrong
        response = dist.Normal(line, noise).log_prob(rows.y[:, None])
        numpyro.factor("rows", logsumexp(jnp.log(share) + features + response, axis=1))

    return model


@pytest.mark.parametrize(("k", "d"), [(2, 2), (3, 2), (2, 3)])
def test_turned_sites_are_understood(k: int, d: int) -> None:
    problem = problem_of(k, d)
    model = turned_model(problem)
    names = oriented(problem, model, NAMES)
    chart = inspect(problem, model, names).chart
    assert chart.turned == {"mean", "sd", "slope"}
    side = numpyro_side(problem, "yours", model, names)
    assert any("Components are last in middle, spread, tilt" in note for note in side.notes)
    q = random_points(problem, np.zeros(problem.dim), 8, seed=3)
    assert all(item.agrees for item in Comparison(problem, [kernel_side(problem), side]).run(q))
    samples: dict[str, list[np.ndarray]] = {}
    for point in q:
        for site, value in chart.values(point).items():
            samples.setdefault(site, []).append(np.asarray(value))
    stacked = {site: np.stack(values) for site, values in samples.items()}
    # Logs of exponentials, and softmax inverted.
    np.testing.assert_allclose(unconstrained(chart, stacked), q, rtol=0, atol=1e-12)


def test_a_wrong_model_is_not_turned_into_a_right_one() -> None:
    problem = problem_of(2, 2)
    assert oriented(problem, turned_model(problem, wrong=0.1), NAMES) == NAMES


def test_who_names_a_turned_site_is_believed() -> None:
    problem = problem_of(2, 2)
    names = {f"{own}.T": site for own, site in NAMES.items()}
    assert inspect(problem, turned_model(problem), names).chart.turned == set(NAMES)
