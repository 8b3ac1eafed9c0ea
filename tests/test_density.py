"""The NumPy densities equal SciPy's, extended precision's, scikit-learn's, and integrate to one."""

import warnings

import numpy as np
import oracles
import pytest
from densities import (
    component_log_density,
    feature_log_density,
    response_log_density,
    response_mean,
)
from scipy.integrate import quad
from sklearn.mixture import GaussianMixture

from jointmix.families.matrices import inverse_lower, least_squares, lower_factor
from jointmix.families.mixture import log_likelihood, responsibility
from jointmix.families.parameters import Parameters

N = 1500


def difference(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Largest difference, relative to the value's magnitude where that exceeds one."""
    return float((np.abs(ours - theirs) / np.maximum(1, np.abs(theirs))).max())


def random_case(
    structure: str, k: int, seed: int
) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray, np.ndarray]:
    features, predictors, response = oracles.STRUCTURES[structure]
    rng = np.random.default_rng(seed)
    values = oracles.draw_values(rng, k, len(features), len(predictors), response is not None)
    # Wider than the clusters, so that far tails are among the points.
    table = {name: rng.normal(0, 5, N) for name in "abcdy"}
    x, u = (oracles.columns(table, names, N) for names in (features, predictors))
    return values, x, u, table["y"] if response else np.zeros(N)


@pytest.mark.parametrize("k", [1, 2, 5])
@pytest.mark.parametrize("structure", oracles.STRUCTURES)
def test_both_terms_equal_scipy(structure: str, k: int) -> None:
    values, x, u, y = random_case(structure, k, 10 * k)
    ours = Parameters(**oracles.factored(values))
    # 1e-12: some hundred roundings of 1e-16, times the factors' condition number of up to 30.
    assert difference(feature_log_density(x, ours), oracles.feature_terms(values, x)) < 1e-12
    assert difference(response_log_density(y, u, ours), oracles.response_terms(values, u, y)) < (
        1e-12
    )
    component = component_log_density(x, u, y, ours)
    assert difference(component, oracles.component_terms(values, x, u, y)) < 1e-12
    assert difference(log_likelihood(component), oracles.log_density(values, x, u, y)) < 1e-12


@pytest.mark.parametrize("structure", ["equal", "no features", "no response"])
def test_responsibilities_are_bayes_rule(structure: str) -> None:
    values, x, u, y = random_case(structure, 4, 3)
    share = responsibility(component_log_density(x, u, y, Parameters(**oracles.factored(values))))
    # Log densities of up to 1e3 in size carry 1e-13, which is the probabilities' relative error.
    np.testing.assert_allclose(
        share, oracles.responsibility(values, x, u, y), rtol=1e-11, atol=1e-13
    )
    np.testing.assert_allclose(share.sum(1), 1, rtol=0, atol=1e-15)


@pytest.mark.parametrize(
    ("d", "k", "correlation"),
    [(1, 8, 0.0), (2, 3, 1 - 1e-8), (2, 3, -1 + 1e-8), (5, 4, 0.9), (10, 8, 0.5), (10, 8, 0.0)],
)
def test_extremes_equal_extended_precision(d: int, k: int, correlation: float) -> None:
    rng = np.random.default_rng(d + k)
    sd = 10.0 ** rng.uniform(-8, 8, (k, d))
    correlations = np.full((d, d), correlation)
    np.fill_diagonal(correlations, 1.0)
    factor = np.linalg.cholesky(correlations)
    sigma = 10.0 ** rng.uniform(-8, 8, k)
    u = rng.normal(size=(400, 2))
    factors = {
        "weight": np.r_[1e-300, rng.dirichlet(np.ones(k - 1))],
        "mean": sd * rng.normal(size=(k, d)),
        "cholesky": sd[..., None] * factor,
        "intercept": sigma * rng.normal(size=k),
        "slope": sigma[:, None] * rng.normal(size=(k, 2)),
        "sigma": sigma,
    }
    ours = Parameters(**factors)
    # Solving with a factor of condition number c loses c of the 1e-16; squares double it.
    tolerance = 1e-14 * np.linalg.cond(factor)
    for j in range(k):
        white = rng.normal(size=(400, d)) @ factor.T
        x = factors["mean"][j] + sd[j] * white
        line = factors["intercept"][j] + u @ factors["slope"][j]
        y = line + sigma[j] * rng.normal(size=400)
        own = oracles.extended_terms(factors, x, u, y)[:, j]
        component = component_log_density(x, u, y, ours)
        assert difference(component[:, j], own) < tolerance
        total = np.logaddexp.reduce(oracles.extended_terms(factors, x, u, y), axis=1)
        assert difference(log_likelihood(component), total) < tolerance
        np.testing.assert_allclose(responsibility(component).sum(1), 1, rtol=0, atol=1e-14)


def test_a_weight_too_small_for_a_double_leaves_the_others_as_they_are() -> None:
    values, x, u, y = random_case("equal", 2, 5)
    none = Parameters(**oracles.factored(values | {"weight": np.array([1.0, 0.0])}))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = log_likelihood(component_log_density(x, u, y, none))
        assert none.log_weight.tolist() == [0.0, -np.inf]
    first = feature_log_density(x, none) + response_log_density(y, u, none)
    np.testing.assert_array_equal(found, first[..., 0])


def test_a_density_that_underflows_is_still_exact() -> None:
    one = Parameters(
        weight=np.array([0.5, 0.5]), mean=np.array([[0.0], [1.0]]), cholesky=np.ones((2, 1, 1))
    )
    x = np.array([[1e4]])
    component = component_log_density(x, np.zeros((1, 0)), np.zeros(1), one)
    # By hand: log ½ − ½ log 2π − ½ (1e4 − 1)²; the other cluster adds exp(−1e4).
    by_hand = np.log(0.5) - 0.5 * np.log(2 * np.pi) - 0.5 * (1e4 - 1) ** 2
    # One rounding of a number of 5e7 is 7e-9.
    assert log_likelihood(component)[0] == pytest.approx(by_hand, rel=1e-15)
    np.testing.assert_array_equal(responsibility(component), [[0.0, 1.0]])


@pytest.mark.parametrize("structure", oracles.STRUCTURES)
def test_batches_equal_loops(structure: str) -> None:
    features, predictors, response = oracles.STRUCTURES[structure]
    _, x, u, y = random_case(structure, 3, 8)
    rng = np.random.default_rng(9)
    draws = [
        oracles.factored(
            oracles.draw_values(rng, 3, len(features), len(predictors), response is not None)
        )
        for _ in range(6)
    ]
    batch = {name: np.stack([draw[name] for draw in draws]) for name in draws[0]}
    nested = Parameters(
        **{name: value.reshape(2, 3, *value.shape[1:]) for name, value in batch.items()}
    )
    together = component_log_density(x[:50], u[:50], y[:50], nested)
    for index, draw in enumerate(draws):
        alone = component_log_density(x[:50], u[:50], y[:50], Parameters(**draw))
        # The same sums in another order: a few roundings.
        np.testing.assert_allclose(together[index // 3, index % 3], alone, rtol=1e-13, atol=1e-13)
        taken = nested.take(index // 3).take(index % 3)
        for name, value in taken.each().items():
            np.testing.assert_array_equal(value, draw[name])


@pytest.mark.parametrize(("d", "k"), [(1, 1), (2, 3), (4, 5), (8, 8)])
def test_a_regression_on_the_features_is_a_gaussian_mixture(d: int, k: int) -> None:
    rng = np.random.default_rng(d)
    values = oracles.draw_values(rng, k, d, d)
    x, y = rng.normal(0, 4, (N, d)), rng.normal(0, 4, N)
    means, covariances = oracles.stacked(values)
    reference = GaussianMixture(k, covariance_type="full")
    reference.weights_, reference.means_ = values["weight"], means
    factors = np.linalg.cholesky(np.linalg.inv(covariances))
    reference.precisions_cholesky_, reference.covariances_ = factors, covariances
    rows = np.column_stack([x, y])
    component = component_log_density(x, x, y, Parameters(**oracles.factored(values)))
    # 1e-11: inverting the joint covariances, of condition number up to ~1e4, costs as much.
    assert difference(log_likelihood(component), reference.score_samples(rows)) < 1e-11
    np.testing.assert_allclose(
        responsibility(component), reference.predict_proba(rows), rtol=0, atol=1e-10
    )


@pytest.mark.parametrize("structure", oracles.STRUCTURES)
def test_permuting_clusters_permutes_columns(structure: str) -> None:
    values, x, u, y = random_case(structure, 4, 21)
    parameters, order = Parameters(**oracles.factored(values)), np.array([2, 0, 3, 1])
    component = component_log_density(x, u, y, parameters)
    permuted = component_log_density(x, u, y, parameters.permute(order))
    # Nothing but the order changes, so matrix products may differ by a rounding only.
    np.testing.assert_allclose(permuted, component[:, order], rtol=1e-14, atol=1e-14)
    assert difference(log_likelihood(permuted), log_likelihood(component)) < 1e-14
    np.testing.assert_allclose(
        responsibility(permuted), responsibility(component)[:, order], rtol=1e-11, atol=1e-15
    )
    stacked = Parameters(**{name: value[None] for name, value in parameters.each().items()})
    for name, value in stacked.permute(order).each().items():
        np.testing.assert_array_equal(value[0], parameters.each()[name][order])


def test_it_integrates_to_one() -> None:
    rng = np.random.default_rng(2)
    parameters = Parameters(**oracles.factored(oracles.draw_values(rng, 3, 1, 1)))

    side = np.arange(-30, 30, 0.04)
    x, y = (part.ravel()[:, None] for part in np.meshgrid(side, side))
    density = np.exp(log_likelihood(component_log_density(x, x, y[:, 0], parameters)))
    # The trapezoidal rule is exact to exp(−2π² (sd / step)²) for a normal density, and sd ≥ 0.2;
    # beyond ±30 less than exp(−50) is left of clusters within ±6.
    assert density.sum() * 0.04**2 == pytest.approx(1, abs=1e-12)


def test_the_conditional_of_the_response_integrates_to_one() -> None:
    rng = np.random.default_rng(4)
    parameters = Parameters(**oracles.factored(oracles.draw_values(rng, 3, 2, 2)))
    x = np.array([[0.4, -1.1]])
    feature = log_likelihood(np.log(parameters.weight) + feature_log_density(x, parameters))

    def density(y: float) -> float:
        joint = log_likelihood(component_log_density(x, x, np.array([y]), parameters))
        return float(np.exp(joint - feature)[0])

    points = response_mean(x, parameters)[0]
    total, _ = quad(density, -40, 40, points=np.sort(points), limit=200)
    # Adaptive quadrature reports 1e-8 or better.
    assert total == pytest.approx(1, abs=1e-7)


def test_the_line_by_hand() -> None:
    parameters = Parameters(
        weight=np.array([0.3, 0.7]),
        intercept=np.array([1.0, -2.0]),
        slope=np.array([[2.0, 0.5], [-1.0, 3.0]]),
        sigma=np.array([1.0, 2.0]),
    )
    line = response_mean(np.array([[1.0, 2.0], [0.0, -1.0]]), parameters)
    np.testing.assert_array_equal(line, [[4.0, 3.0], [0.5, -5.0]])


@pytest.mark.parametrize("d", [1, 2, 7])
def test_the_inverse_of_a_triangular_factor(d: int) -> None:
    rng = np.random.default_rng(d)
    factor = np.tril(rng.normal(size=(3, 4, d, d))) + 3 * np.eye(d)
    inverse = inverse_lower(factor)
    # Well conditioned: d roundings.
    np.testing.assert_allclose(
        factor @ inverse, np.broadcast_to(np.eye(d), factor.shape), rtol=0, atol=1e-13
    )
    np.testing.assert_array_equal(inverse, np.tril(inverse))


def test_rows_of_densities_far_apart_do_not_disturb_each_other() -> None:
    component = np.array([[0.0, -1.0], [-2000.0, -2001.0], [-1e6, -1e6], [700.0, 699.0]])
    ratio = 1 / (1 + np.exp(-1.0))
    expected = np.array([[ratio, 1 - ratio], [ratio, 1 - ratio], [0.5, 0.5], [ratio, 1 - ratio]])
    np.testing.assert_allclose(responsibility(component), expected, rtol=1e-14)
    # log(eᵃ + eᵃ⁻¹) = a + log(1 + 1/e), to a rounding of a.
    more = np.log1p(np.exp(-1.0))
    by_hand = [more, -2000 + more, -1e6 + np.log(2), 700 + more]
    np.testing.assert_allclose(log_likelihood(component), by_hand, rtol=1e-15)


@pytest.mark.parametrize("shape", [(5,), (2, 5), (2, 3, 5), (4, 2, 3, 5)])
def test_rows_are_summed_over_components_whatever_stands_in_front(shape: tuple[int, ...]) -> None:
    component = np.random.default_rng(len(shape)).normal(0, 30, shape)
    flat = component.reshape(-1, 5)
    largest = [max(row) for row in flat]
    total = [
        top + np.log(sum(np.exp(value - top) for value in row))
        for top, row in zip(largest, flat, strict=True)
    ]
    share = np.exp(flat - np.array(total)[:, None])
    # Five terms; exponentials of numbers of up to 100 carry 1e-14.
    np.testing.assert_allclose(log_likelihood(component).ravel(), total, rtol=1e-14)
    np.testing.assert_allclose(responsibility(component).reshape(-1, 5), share, rtol=1e-12)
    assert log_likelihood(component).shape == shape[:-1]


def test_factors_of_matrices_that_rounding_made_singular() -> None:
    regular = np.array([[4.0, 1.0], [1.0, 9.0]])
    singular = np.array([[1.0, 1e6], [1e6, 1e12]])
    beyond = np.array([[1.0, 1.0 + 2e-16], [1.0 + 2e-16, 1.0]])
    stack = np.stack([regular, singular, beyond])
    factor = lower_factor(stack)
    assert np.array_equal(factor[0], np.linalg.cholesky(regular))
    rebuilt = factor @ np.swapaxes(factor, -1, -2)
    # The diagonal is raised by 8 rounding errors of itself.
    assert np.allclose(rebuilt, stack, rtol=16 * np.finfo(float).eps, atol=0)
    with pytest.raises(np.linalg.LinAlgError):
        lower_factor(np.array([[1.0, 2.0], [2.0, 1.0]]))


def test_least_squares_is_that_of_the_pseudoinverse() -> None:
    rng = np.random.default_rng(12)
    root, right = rng.normal(size=(3, 2, 4, 5)), rng.normal(size=(3, 2, 5))
    # The second stack has a direction that no row tells of.
    root[1, :, :, 2:] = 0
    for gram in (np.swapaxes(root, -1, -2) @ root, np.zeros((3, 2, 5, 5))):
        expected = (np.linalg.pinv(gram, hermitian=True) @ right[..., None])[..., 0]
        size = np.abs(expected).max() + 1
        np.testing.assert_allclose(least_squares(gram, right), expected, atol=1e-10 * size)
    assert least_squares(np.zeros((2, 0, 0)), np.zeros((2, 0))).shape == (2, 0)
