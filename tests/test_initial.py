"""Starts: inside the constraint, finite, jittered; the maps to unconstrained values and back."""

import numpy as np
import pytest
from conftest import STRUCTURES, built, direction_of, structures
from pymc_values import constrained, split
from scipy import stats
from test_model import natural_parts

from jointmix.model.dataset import Dataset
from jointmix.model.spec import ModelSpec
from jointmix.modes.em import fit_em
from jointmix.modes.free import standard_locations
from jointmix.modes.initial import Start, draw_start, make_start
from jointmix.modes.ordering import Ordering
from jointmix.sampling import Target


def start_of(name: str) -> tuple[ModelSpec, Dataset, Start]:
    """The start at the best EM mode, ordered along the direction the model is built with."""
    spec, (dataset, _) = STRUCTURES[name], built(name)
    mode = fit_em(dataset, spec, 1).best
    ordering = Ordering("direction", direction_of(spec), np.nan, "")
    return spec, dataset, make_start(mode, dataset, ordering)


@pytest.mark.parametrize(
    "name",
    structures(
        "one cluster, no response",
        "four clusters, overlapping",
        "only a response",
        "spherical",
        "tied",
        "no intercept",
        "half-t",
        "on the users' scale",
    ),
)
def test_starts_are_finite_ordered_and_round_trip(name: str) -> None:
    spec, dataset, start = start_of(name)
    _, model = built(name)
    target = Target(dataset, start)
    values = [draw_start(start, spec, np.random.default_rng(seed)) for seed in range(3)]
    assert set(values[0]) == {variable.name for variable in model.free_RVs}
    for seed, value in enumerate(values):
        point = target.point(seed)
        log_density, gradient = target.log_density(point)
        assert np.isfinite(log_density)
        assert np.isfinite(gradient).all()
        natural = natural_parts(split(model, point), start.direction)
        if "partial" in natural:
            natural["partial_correlation"] = (1 + natural.pop("partial")) / 2
        assert set(natural) == set(value)
        for key, found in natural.items():
            # Through a logarithm and back: a rounding or two of numbers of size one.
            np.testing.assert_allclose(found, value[key], rtol=1e-12, atol=1e-12)
        if start.direction is not None:
            assert (np.diff(value["location"] @ start.direction) > 0).all()
    assert not any(np.array_equal(values[0][key], values[1][key]) for key in values[0])


@pytest.mark.parametrize("name", ["four features", "tied"])
def test_without_jitter_the_start_is_the_mode(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Among others that the vine's inversion is exact."""
    monkeypatch.setattr("jointmix.modes.initial._SPREAD", 0.0)
    _, dataset, start = start_of(name)
    target = Target(dataset, start)
    draw = target.parameters(target.point(0))
    mode = start.parameters.each()
    covariance = mode["cholesky"] @ np.swapaxes(mode["cholesky"], 1, 2)
    sd = draw["sd"]
    # Through logarithms, cumulative products and back.
    np.testing.assert_allclose(
        draw["correlation"] * sd[:, :, None] * sd[:, None, :], covariance, rtol=1e-10, atol=1e-12
    )
    for key in ("weight", "mean", "intercept", "slope", "sigma"):
        np.testing.assert_allclose(draw[key], mode[key], rtol=1e-10, atol=1e-12)


def test_jitter_is_as_wide_as_it_says() -> None:
    """Locations: 1.5 standard errors of the cluster's mean, Σ_k / n_k."""
    spec, _, start = start_of("no response")
    free = Start(start.parameters, start.xi, start.factor, start.count, None)
    n = 4000
    draws = [draw_start(free, spec, np.random.default_rng(seed)) for seed in range(n)]
    place = np.stack([draw["location"] for draw in draws])
    cholesky = start.parameters.cholesky
    covariance = cholesky @ np.swapaxes(cholesky, 1, 2)
    error = np.sqrt(np.diagonal(covariance, axis1=1, axis2=2) / start.count[:, None])
    ratio = place.std(0) * spec.priors.mean.scale / error
    # A standard deviation of 4,000 draws is known to 1/√(2n) = 1.1%; five of those. EM's clusters
    # of fewer than two rows are counted as two, which none is here.
    np.testing.assert_allclose(ratio, 1.5, rtol=0.06)
    np.testing.assert_allclose(place.mean(0), start.xi, atol=5 * place.std(0).max() / np.sqrt(n))


def test_order_of_the_mode_follows_the_direction() -> None:
    spec, dataset, start = start_of("four clusters, overlapping")
    mode = fit_em(dataset, spec, 1).best
    xi = standard_locations(dataset.scaling.to_model(mode.parameters), spec)
    along = xi @ direction_of(spec)
    np.testing.assert_allclose(start.xi @ start.direction, np.sort(along), rtol=1e-12)
    np.testing.assert_allclose(start.parameters.weight, mode.parameters.weight[np.argsort(along)])


@pytest.mark.parametrize("name", ["four clusters, overlapping", "four features"])
def test_vine_draws_have_lkj_marginals(name: str) -> None:
    """Each correlation of an LKJ(η) matrix is 2 Beta(a, a) − 1 with a = η + (D − 2) / 2."""
    spec, (_, model) = STRUCTURES[name], built(name)
    size, eta, n = len(spec.features), spec.priors.correlation.eta, 4000
    rng = np.random.default_rng(11)
    draws = {
        value.name: np.broadcast_to(
            rng.normal(size=value.type.shape), (n, *value.type.shape)
        ).copy()
        for value in model.value_vars
    }
    _, column = np.tril_indices(size, -1)
    a = eta + (size - 2 - column) / 2
    half = rng.beta(a, a, size=(n, spec.n_clusters, len(column)))
    draws["partial_correlation_logodds__"] = np.log(half) - np.log1p(-half)
    correlation = constrained(model)(draws)["correlation"]
    marginal = stats.beta(eta + (size - 2) / 2, eta + (size - 2) / 2)
    pairs = np.tril_indices(size, -1)
    p_values = [
        stats.kstest((correlation[:, k, i, j] + 1) / 2, marginal.cdf).pvalue
        for k in range(spec.n_clusters)
        for i, j in zip(*pairs, strict=True)
    ]
    # Bonferroni: a false alarm once in a thousand.
    assert min(p_values) > 1e-3 / len(p_values)
