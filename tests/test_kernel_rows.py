"""The pass over the rows against whole arrays, and its exponential against exact ones."""

import dataclasses

import mpmath
import numpy as np
import pytest
from conftest import STRUCTURES
from densities import component_log_density
from scipy.special import softmax
from test_kernel import check_gradient, prior_of, rows_of, target_of

from jointmix.families.mixture import log_likelihood
from jointmix.families.parameters import Parameters
from jointmix.kernel.rows import block_length, exponential, sweep
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
    at = target_of(rows_of(spec, n), spec, None)
    # Partial correlations of up to 0.5, so that twelve features stay well conditioned.
    q = 0.3 * np.random.default_rng(5).normal(size=at.dim)
    # Up to a thousand rows, of quadratic forms of up to 1e4.
    expected = numpy_density(at, q) + prior_of(at, q)[0]
    np.testing.assert_allclose(at.log_density(q)[0], expected, rtol=1e-12)
    check_gradient(at, q)


def numpy_sums(
    x: np.ndarray, u: np.ndarray, y: np.ndarray, parts: tuple[np.ndarray, ...], response: bool
) -> tuple[float, np.ndarray]:
    """What `sweep` returns and fills, from whole arrays (obs, component, ...)."""
    constant, mean, whiten, line, sigma = parts
    z = np.einsum("kij,nkj->nki", whiten, x[:, None, :] - mean)
    e = (y[:, None] - line[:, 0] - u @ line[:, 1:].T) / sigma
    terms = constant - 0.5 * (z**2).sum(-1) - (0.5 * e**2 if response else 0)
    share = softmax(terms, axis=1)
    row, column = np.tril_indices(mean.shape[1])
    moments = np.einsum("nk,nki,nkj->kij", share, z, z)[:, row, column]
    # Without its response a model leaves those places untouched, at zero.
    weighted = share * e * response
    sums = [share.sum(0), weighted.sum(0), (weighted * e).sum(0)]
    lines = [np.einsum("nk,nki->ki", share, z), moments, weighted.T @ u]
    largest = terms.max(1)
    total = (largest + np.log(np.exp(terms - largest[:, None]).sum(1))).sum()
    return float(total), np.column_stack([*sums, *lines])


@pytest.mark.parametrize("response", [True, False])
@pytest.mark.parametrize("dense", [True, False])
@pytest.mark.parametrize(("k", "d", "r"), [(60, 12, 3), (5, 6, 4), (3, 1, 1), (1, 0, 5), (2, 3, 0)])
def test_sweep_equals_whole_arrays(k: int, d: int, r: int, dense: bool, response: bool) -> None:
    # As Python, since compiled functions alone can call the compiled one.
    length = getattr(block_length, "py_func", block_length)(k, d)
    rng = np.random.default_rng(6)
    mean, whiten = rng.normal(size=(k, d)), np.tril(0.4 * rng.normal(size=(k, d, d))) + np.eye(d)
    whiten = whiten if dense else whiten * np.eye(d)
    parts = (rng.normal(size=k), mean, whiten, rng.normal(size=(k, 1 + r)), rng.uniform(0.5, 2, k))
    for n in (1, 7, length - 1, length, length + 1, 2 * length + 5):
        columns = np.ascontiguousarray(rng.normal(size=(d + r + 1, n)))
        places = rng.permutation(d + r)[:r]
        sums = np.full((k, 3 + d + d * (d + 1) // 2 + r), np.nan)
        total = sweep(columns, places.astype(float), *parts, dense, response, sums)
        x, u, y = columns[:d].T, columns[places].T, columns[-1]
        expected_total, expected = numpy_sums(x, u, y, parts, response)
        if not dense:
            row, column = np.tril_indices(d)
            expected[:, 3 + d : 3 + d + len(row)] *= row == column
        # Sums of up to five hundred terms, in another order.
        np.testing.assert_allclose(total, expected_total, rtol=1e-13)
        np.testing.assert_allclose(sums, expected, rtol=0, atol=1e-13 * (np.abs(expected).max()))


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
