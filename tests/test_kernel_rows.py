"""The pass over the rows against whole arrays, and its exponential against exact ones."""

import dataclasses

import mpmath
import numpy as np
import pytest
from conftest import STRUCTURES
from densities import component_log_density
from scipy.special import softmax
from test_kernel import check_gradient, prior_of, rows_of, target_of

from jointmix.families.loops import exponential, log_one_plus
from jointmix.families.mixture import log_likelihood
from jointmix.families.parameters import Parameters
from jointmix.kernel.blocks import compiled_blocks, places, values_of
from jointmix.kernel.records import BLOCK, HEADER, HEADER_SIZE
from jointmix.kernel.sweep import sweep
from jointmix.model.spec import ModelSpec
from jointmix.sampling import Target

pytestmark = pytest.mark.kernel


def mixture_parameters(at: Target, q: np.ndarray) -> Parameters:
    """Parameters on the model's scale, with Cholesky factors."""
    values = at.parameters(q)
    if "sd" in values:
        values["cholesky"] = values.pop("sd")[..., None] * np.linalg.cholesky(
            values.pop("correlation")
        )
    return Parameters(**values)


def numpy_density(at: Target, q: np.ndarray) -> float:
    """Log likelihood by the package's NumPy density."""
    assert not at.spec.standardize
    x, u = (at.dataset.select(names) for names in (at.spec.features, at.spec.predictors))
    y = at.dataset.select([at.spec.response])[:, 0] if at.spec.response else np.zeros(len(x))
    return float(log_likelihood(component_log_density(x, u, y, mixture_parameters(at, q))).sum())


WIDE = ModelSpec(
    n_clusters=9, features=tuple("abcdefghijkl"), predictors=tuple("alp"), response="y",
    standardize=False,
)  # fmt: skip
SMALL = dataclasses.replace(STRUCTURES["four clusters, overlapping"], standardize=False)
ONE = dataclasses.replace(STRUCTURES["one cluster, other predictors"], standardize=False)


@pytest.mark.parametrize("spec", [WIDE, SMALL, ONE], ids=["D = 12, K = 9", "D = 3, K = 4", "K = 1"])
@pytest.mark.parametrize("n", [1, 31, 32, 33, 255, 256, 257, 1000])
def test_rows_on_both_sides_of_a_block(spec: ModelSpec, n: int) -> None:
    at = target_of(rows_of(spec, n), None)
    # Partial correlations of up to 0.5, so that twelve features stay well conditioned.
    q = 0.3 * np.random.default_rng(5).normal(size=at.dim)
    # Up to a thousand rows, of quadratic forms of up to 1e4.
    expected = numpy_density(at, q) + prior_of(at, q)[0]
    np.testing.assert_allclose(at.log_density(q)[0], expected, rtol=1e-12)
    check_gradient(at, q)


def swept(spec: ModelSpec, n: int, seed: int = 6) -> tuple[float, np.ndarray, Parameters, Target]:
    """The log likelihood of random rows at random values, and its gradient in the values."""
    rng = np.random.default_rng(seed)
    at = target_of(rows_of(spec, n), None)
    k, d, r = spec.n_clusters, len(spec.features), len(spec.predictors)
    given: dict[str, np.ndarray] = {"weight": rng.dirichlet(np.ones(k))}
    if d:
        factor = np.tril(0.2 * rng.normal(size=(k, d, d)), -1)
        factor += rng.uniform(0.6, 1.6, (k, d, 1)) * np.eye(d)
        dense = spec.covariance == "full"
        given |= {
            "mean": rng.normal(size=(k, d)),
            "cholesky": factor if dense else factor * np.eye(d),
        }
    if spec.response is not None:
        given |= {"intercept": rng.normal(size=k), "slope": rng.normal(size=(k, r)),
                "sigma": rng.uniform(0.5, 2, k)}  # fmt: skip
    parameters = Parameters(**given)
    problem = at.problem
    header = problem[:HEADER_SIZE].view(HEADER)[0]
    blocks = problem[header.blocks : header.blocks + header.n_blocks * (BLOCK.itemsize // 8)]
    own = compiled_blocks(spec.blocks, at.dataset.rows, parameters)
    values = values_of(parameters.batched(), spec.blocks, own)[0]
    gradient = np.zeros(values.size)
    total = sweep(problem, header, blocks.view(BLOCK), values, gradient)
    return total, gradient, parameters, at


def numpy_gradient(at: Target, parameters: Parameters) -> tuple[float, dict[str, np.ndarray]]:
    """The log likelihood from whole arrays, and its gradient by hand, by name."""
    x, u = (at.dataset.select(names) for names in (at.spec.features, at.spec.predictors))
    y = at.dataset.select([at.spec.response])[:, 0] if at.spec.response else np.zeros(len(x))
    terms = component_log_density(x, u, y, parameters)
    share = softmax(terms, axis=1)
    found = {"weight": share.sum(0)}
    if "mean" in parameters:
        whiten = np.linalg.inv(parameters.cholesky)
        z = np.einsum("kij,nkj->nki", whiten, x[:, None, :] - parameters.mean)
        found["mean"] = np.einsum("nk,kij,nki->kj", share, whiten, z)
        inner = np.einsum("nk,nki,nkj->kij", share, z, z)
        inner -= share.sum(0)[:, None, None] * np.eye(x.shape[1])
        sd = np.sqrt((parameters.cholesky**2).sum(-1))
        found["factor"] = sd[..., None] * np.tril(np.einsum("kmi,kmj->kij", whiten, inner))
        found["sd"] = (found["factor"] * parameters.cholesky / sd[..., None]).sum(-1)
    if "sigma" in parameters:
        e = y[:, None] - parameters.intercept - u @ parameters.slope.T
        weighted = share * e / parameters.sigma**2
        found |= {"intercept": weighted.sum(0), "slope": weighted.T @ u,
                  "sigma": (weighted * e - share).sum(0)}  # fmt: skip
    return float(log_likelihood(terms).sum()), found


@pytest.mark.parametrize("response", [True, False])
@pytest.mark.parametrize("covariance", ["full", "diagonal"])
@pytest.mark.parametrize(("k", "d", "r"), [(60, 12, 3), (5, 6, 4), (3, 1, 1), (1, 0, 5), (2, 3, 0)])
def test_sweep_equals_whole_arrays(k: int, d: int, r: int, covariance: str, response: bool) -> None:
    if not (d or response):
        return
    spec = ModelSpec(
        n_clusters=k, features=tuple("abcdefghijkl"[:d]), response="y" if response else None,
        predictors=tuple("pqrst"[:r]) if response else (), covariance=covariance,
        standardize=False,
    )  # fmt: skip
    length = int(target_of(rows_of(spec, 1), None).problem[:HEADER_SIZE].view(HEADER)[0].length)
    for n in (1, 7, length - 1, length, length + 1, 2 * length + 5):
        total, gradient, parameters, at = swept(spec, n)
        expected_total, expected = numpy_gradient(at, parameters)
        # Sums of up to five hundred terms, in another order.
        np.testing.assert_allclose(total, expected_total, rtol=1e-12)
        blocks = compiled_blocks(spec.blocks, at.dataset.rows, parameters)
        for name, place in places(blocks, k).items():
            index = place.first + place.step * np.arange(k)[:, None] + np.arange(place.width)
            own, other = gradient[index], expected[name].reshape(k, place.width)
            if name == "factor" and covariance == "diagonal":
                own, other = own[:, :: d + 1], other[:, :: d + 1]
            scale = max(1.0, np.abs(other).max(initial=0.0))
            np.testing.assert_allclose(own, other, rtol=0, atol=1e-11 * scale)


def ours(x: np.ndarray) -> np.ndarray:
    values, bits = x.copy(), np.empty(len(x), dtype=np.int64)
    exponential(values, bits, len(x))
    return values


def test_exponential_is_right_to_the_last_place() -> None:
    rng = np.random.default_rng(1)
    halves = np.arange(-1021, 1) * np.log(2) / 2  # Where |r| is largest: m changes there.
    x = np.concatenate(
        [-599 * rng.random(3000), -(10.0 ** rng.uniform(-20, 2.7, 2000)), halves,
         np.nextafter(halves, -np.inf), [0.0, -0.0, -599.0]]
    ).clip(-599, 0)  # fmt: skip
    with mpmath.workdps(40):
        exact = [mpmath.exp(mpmath.mpf(value)) for value in x.tolist()]
        error = [
            abs(mpmath.mpf(value) / e - 1) for value, e in zip(ours(x).tolist(), exact, strict=True)
        ]
    # A share of 2⁻⁵² is one to two units in the last place; 0.6 of it was the most seen in 2e5.
    assert max(error) <= 2**-52
    assert ours(np.zeros(3)).tolist() == [1, 1, 1]


def test_exponential_below_its_range_is_zero() -> None:
    # No subnormal numbers, nor any whose products would be: they take a hundred times as long.
    assert ours(np.array([-601.0, -708.5, -1e4, -1e300, -np.inf])).tolist() == [0] * 5


def test_exponential_leaves_what_lies_beyond_n() -> None:
    values, bits = np.full(10, -1.0), np.empty(10, dtype=np.int64)
    exponential(values, bits, 7)
    np.testing.assert_allclose(values[:7], np.exp(-1), rtol=1e-15)
    assert (values[7:] == -1).all()


def test_log_one_plus_is_right_to_the_last_places() -> None:
    rng = np.random.default_rng(2)
    x = np.concatenate(
        [10.0 ** rng.uniform(-20, 20, 2000), rng.random(2000), 4 * rng.random(2000),
         np.nextafter([0.5**0.5, 1.0, 2**0.5 - 1], [0.0, 0.0, 1.0]), [1.0, 3.0, 1e300]]
    )  # fmt: skip
    found = x.copy()
    log_one_plus(found, np.empty(len(x), dtype=np.int64), len(x))
    with mpmath.workdps(40):
        error = [
            abs(mpmath.mpf(value) / mpmath.log1p(mpmath.mpf(at)) - 1)
            for value, at in zip(found.tolist(), x.tolist(), strict=True)
        ]
    # 3.8e-16 was the most seen.
    assert max(error) <= 2**-51
    edge = np.array([0.0, np.inf, np.nan, 5.0])
    log_one_plus(edge, np.empty(4, dtype=np.int64), 3)
    assert edge[0] == 0
    assert np.isnan(edge[1:3]).all()
    assert edge[3] == 5
