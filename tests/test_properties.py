"""Laws that hold for any input: densities, scales, labels, files, and refusals of the commands.

Ten times as many examples: ``pytest tests/test_properties.py --hypothesis-profile thorough``.
"""

import os
import tempfile
from contextlib import contextmanager, suppress
from itertools import permutations
from pathlib import Path

import mpmath
import numpy as np
import pytest
import xarray as xr
from densities import component_log_density, feature_log_density, response_log_density
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.integrate import quad
from scipy.special import logsumexp
from scipy.stats import multivariate_normal, norm
from test_kernel import target_of
from typer.testing import CliRunner

import jointmix.cli.commands as cli
from jointmix.base.errors import JointmixError
from jointmix.families.matrices import inverse_lower
from jointmix.families.mixture import log_likelihood, responsibility
from jointmix.families.parameters import Parameters
from jointmix.fitting.recipe import Recipe, parse_recipe, recipe_text
from jointmix.labels import agreement, ecr, inverse, order_by, permute, pivotal, switch_rate
from jointmix.labels.assignment import assign
from jointmix.model.dataset import Dataset
from jointmix.model.location import coordinates, householder
from jointmix.model.scaling import Scaling
from jointmix.model.spec import ModelSpec
from jointmix.storage.trees import load, save

#: Of the profile in force; costly laws take fewer examples, cheap ones more.
USUAL = settings().max_examples

seeds = st.integers(0, 2**32 - 1)
#: Exponents of the sizes that units can have.
powers = st.floats(-8, 8)


def parameters_of(seed: int, k: int, d: int, r: int, response: bool = True) -> Parameters:
    """Parameters with standard deviations from 1e-8 to 1e8 and weights down to 1e-300."""
    rng = np.random.default_rng(seed)
    log_weight = -rng.exponential(size=k) * 10 ** rng.uniform(-1, 2, k)
    weight = np.exp(log_weight - logsumexp(log_weight))
    arrays: dict[str, np.ndarray] = {"weight": np.maximum(weight, 1e-300)}
    if d:
        sd = 10 ** rng.uniform(-8, 8, (k, d))
        factor = np.tril(rng.normal(size=(k, d, d)), -1) + 1.5 * np.eye(d)
        arrays["mean"] = sd * rng.normal(size=(k, d))
        arrays["cholesky"] = sd[..., None] * factor
    if response:
        arrays["sigma"] = 10 ** rng.uniform(-8, 8, k)
        arrays["intercept"] = arrays["sigma"] * rng.normal(size=k)
        arrays["slope"] = arrays["sigma"][:, None] * rng.normal(size=(k, r))
    return Parameters(**arrays)


def relative(found: np.ndarray, expected: np.ndarray) -> float:
    """Largest difference relative to the magnitude, or absolute below one."""
    return float((np.abs(found - expected) / np.maximum(1, np.abs(expected))).max())


# Densities.


@given(seed=seeds, power=powers, offset=st.floats(-50, 50))
@settings(max_examples=USUAL // 3)
def test_any_univariate_density_integrates_to_one(seed: int, power: float, offset: float) -> None:
    rng, unit = np.random.default_rng(seed), 10.0**power
    k = int(rng.integers(1, 5))
    parameters = Parameters(
        weight=rng.dirichlet(np.ones(k)),
        mean=unit * (offset + rng.normal(0, 3, (k, 1))),
        cholesky=unit * rng.uniform(0.05, 3, (k, 1, 1)),
    )
    assert parameters.mean is not None
    low, high = parameters.mean.min() / unit - 40, parameters.mean.max() / unit + 40

    def density(place: float) -> float:
        terms = feature_log_density(np.array([[unit * place]]), parameters)
        return unit * float(np.exp(log_likelihood(terms + np.log(parameters.weight))[0]))

    points = np.sort(parameters.mean[:, 0] / unit)
    total, error = quad(density, low, high, points=points, limit=400, epsabs=1e-11, epsrel=1e-11)
    # Beyond 40 units, thirteen sd of the widest, less than 1e-38 is left.
    assert abs(total - 1) < 1e-9 + 10 * error


@given(seed=seeds, k=st.integers(1, 3), d=st.integers(1, 4))
@settings(max_examples=USUAL // 3)
def test_the_joint_log_density_equals_fifty_digits(seed: int, k: int, d: int) -> None:
    rng = np.random.default_rng(seed)
    parameters = parameters_of(seed, k, d, 1)
    each = parameters.each()
    u = rng.normal(size=(2, 1))
    nearest = rng.integers(0, k)
    away = rng.normal(size=(2, d))
    x = each["mean"][nearest] + away @ each["cholesky"][nearest].T
    line = each["intercept"][nearest] + u @ each["slope"][nearest]
    y = line + each["sigma"][nearest] * rng.normal(size=2)
    component = component_log_density(x, u, y, parameters)
    with mpmath.workdps(50):
        for row in range(2):
            terms = []
            for j in range(k):
                factor = mpmath.matrix(each["cholesky"][j].tolist())
                gap = mpmath.matrix([mpmath.mpf(a) - mpmath.mpf(b) for a, b in
                                     zip(x[row], each["mean"][j], strict=True)])  # fmt: skip
                white = mpmath.lu_solve(factor, gap)
                log_det = sum(mpmath.log(factor[i, i]) for i in range(d))
                here = mpmath.mpf(each["intercept"][j]) + sum(
                    mpmath.mpf(a) * mpmath.mpf(b)
                    for a, b in zip(u[row], each["slope"][j], strict=True)
                )
                sigma = mpmath.mpf(each["sigma"][j])
                rest = (mpmath.mpf(y[row]) - here) / sigma
                square = sum(value**2 for value in white) + rest**2
                terms.append(
                    mpmath.log(mpmath.mpf(each["weight"][j])) - log_det - mpmath.log(sigma)
                    - (square + (d + 1) * mpmath.log(2 * mpmath.pi)) / 2
                )  # fmt: skip
            # Triangular factors of condition number up to some hundred: each step's 1e-16 grows
            # by it, and squares double it.
            expected = float(terms[nearest])
            assert abs(component[row, nearest] - expected) < 1e-11 * max(1, abs(expected))
            total = float(mpmath.log(mpmath.fsum(mpmath.exp(term) for term in terms)))
            found = log_likelihood(component)[row]
            assert abs(found - total) < 1e-11 * max(1, abs(total))


@given(seed=seeds, d=st.integers(1, 6), power=powers)
def test_a_single_component_is_scipys_normal(seed: int, d: int, power: float) -> None:
    rng, unit = np.random.default_rng(seed), 10.0**power
    root = np.tril(rng.normal(size=(d, d)), -1) * 0.5 + np.diag(rng.uniform(0.5, 2, d))
    mean, x = rng.normal(size=d), rng.normal(0, 3, (7, d))
    one = Parameters(weight=np.ones(1), mean=unit * mean[None], cholesky=unit * root[None])
    # The same law in units of one, and its Jacobian.
    expected = multivariate_normal(mean, root @ root.T).logpdf(x) - d * np.log(unit)
    # SciPy inverts through eigenvalues: a condition number of up to 1e3 times 1e-16, squared.
    assert relative(feature_log_density(unit * x, one)[:, 0], expected) < 1e-10
    # Independent columns: the log densities of each add up.
    own = Parameters(weight=np.ones(1), mean=mean[None], cholesky=np.diag(np.diag(root))[None])
    parts = norm.logpdf(x, mean, np.diag(root)).sum(axis=1)
    assert relative(feature_log_density(x, own)[:, 0], parts) < 1e-12


@given(seed=seeds, k=st.integers(1, 6), d=st.integers(0, 5), r=st.integers(0, 4))
def test_the_joint_is_features_times_conditional(seed: int, k: int, d: int, r: int) -> None:
    rng, parameters = np.random.default_rng(seed), parameters_of(seed, k, d, r)
    x, u, y = rng.normal(size=(9, d)), rng.normal(size=(9, r)), rng.normal(size=9)
    joint = component_log_density(x, u, y, parameters)
    features = feature_log_density(x, parameters) + np.log(parameters.weight)
    share = responsibility(features)
    with np.errstate(divide="ignore"):
        given_x = np.log(share) + response_log_density(y, u, parameters)
    # Shares below 1e-300 are lost to underflow: rows where one carries the joint are left out.
    carried = np.take_along_axis(share, joint.argmax(1)[:, None], axis=1)[:, 0] > 1e-250
    product = log_likelihood(features) + log_likelihood(given_x)
    # Terms as large as the largest of the three sums cancel.
    size = np.maximum(1, np.abs(features).max(1) + np.abs(joint).max(1))
    gap = np.abs(product - log_likelihood(joint)) / size
    assert (gap[carried] < 1e-12).all()


@given(seed=seeds, k=st.integers(1, 7), d=st.integers(0, 4), r=st.integers(0, 3))
def test_neither_labels_nor_the_rows_order_matter(seed: int, k: int, d: int, r: int) -> None:
    rng, parameters = np.random.default_rng(seed), parameters_of(seed, k, d, r)
    x, u, y = rng.normal(size=(8, d)), rng.normal(size=(8, r)), rng.normal(size=8)
    labels, rows = rng.permutation(k), rng.permutation(8)
    density = log_likelihood(component_log_density(x, u, y, parameters))
    relabelled = component_log_density(x, u, y, parameters.permute(labels))
    assert relative(log_likelihood(relabelled), density) < 1e-12
    permuted = component_log_density(x[rows], u[rows], y[rows], parameters)
    assert relative(log_likelihood(permuted), density[rows]) < 1e-12
    share = responsibility(relabelled)
    np.testing.assert_allclose(share.sum(axis=1), 1, rtol=0, atol=1e-14)
    assert (share >= 0).all()


@given(
    component=hnp.arrays(
        float, hnp.array_shapes(min_dims=1, max_dims=3), elements=st.floats(-1e6, 1e6)
    ),
    shift=st.floats(-1e6, 1e6),
)
def test_log_likelihood_is_logsumexp(component: np.ndarray, shift: float) -> None:
    found = log_likelihood(component)
    np.testing.assert_allclose(found, logsumexp(component, axis=-1), rtol=1e-14, atol=1e-14)
    # A common factor of the densities moves the one and leaves the other; a rounding of 2e6 each.
    np.testing.assert_allclose(log_likelihood(component + shift), found + shift, rtol=0, atol=2e-9)
    np.testing.assert_allclose(
        responsibility(component + shift), responsibility(component), rtol=0, atol=2e-9
    )


@given(seed=seeds, d=st.integers(1, 8), power=powers)
def test_inverses_of_triangular_factors(seed: int, d: int, power: float) -> None:
    rng = np.random.default_rng(seed)
    # Rows of sizes from one to the unit: only scales, which forward substitution does not feel.
    size = 10.0 ** (power * rng.uniform(0, 1, d))
    factor = size[:, None] * (np.tril(rng.normal(size=(d, d)), -1) * 0.4 + np.eye(d))
    product = factor @ inverse_lower(factor) * (size[None, :] / size[:, None])
    np.testing.assert_allclose(product, np.eye(d), rtol=0, atol=1e-12)


# From the unconstrained vector to parameters.


@given(
    seed=seeds,
    k=st.integers(2, 6),
    d=st.integers(1, 5),
    spread=st.floats(0.01, 3),
)
@settings(max_examples=USUAL // 2)
def test_any_vector_gives_valid_ordered_parameters(
    seed: int, k: int, d: int, spread: float
) -> None:
    rng = np.random.default_rng(seed)
    features = tuple("abcde"[:d])
    spec = ModelSpec(n_clusters=k, features=features, predictors=("p",), response="y",
                     standardize=False)  # fmt: skip
    values = rng.normal(size=(4 * k, len(spec.columns)))
    dataset = Dataset(spec, values, np.arange(4 * k), 4 * k, {}, "")
    direction = rng.normal(size=len(coordinates(spec)))
    direction /= np.linalg.norm(direction)
    at = target_of(dataset, direction)
    found = at.parameters(rng.normal(0, spread, at.dim))
    assert (found["weight"] > 0).all()
    assert found["weight"].sum() == pytest.approx(1, abs=1e-14)
    assert (found["sd"] > 0).all()
    assert (found["sigma"] > 0).all()
    correlation = found["correlation"]
    np.testing.assert_array_equal(correlation, np.swapaxes(correlation, -1, -2))
    np.testing.assert_allclose(np.einsum("kii->ki", correlation), 1, rtol=0, atol=1e-14)
    # Partial correlations near ±1 bring eigenvalues near zero, not below by more than rounding.
    assert np.linalg.eigvalsh(correlation).min() > -1e-14
    location = np.column_stack([found["mean"], found["intercept"], found["slope"]])
    prior = [(item.prior.loc, item.prior.scale) for item in coordinates(spec)]
    loc, scale = np.array(prior).T
    along = (location - loc) / scale @ direction
    assert (np.diff(along) > -1e-12 * np.abs(along).max()).all()


@given(seed=seeds, size=st.integers(1, 12), power=st.floats(-12, 0))
@example(seed=0, size=1, power=0.0)
def test_householder_reflects_any_direction(seed: int, size: int, power: float) -> None:
    direction = np.random.default_rng(seed).normal(size=size)
    # Down to directions that hardly differ from e₁.
    direction[1:] *= 10.0**power
    direction[0] = abs(direction[0]) + 0.1
    direction /= np.linalg.norm(direction)
    reflection = householder(direction)
    np.testing.assert_array_equal(reflection, reflection.T)
    # For a direction nearly e₁ the reflection's axis is the difference of two numbers near one.
    np.testing.assert_allclose(reflection @ reflection, np.eye(size), rtol=0, atol=1e-13)


# Scales.


@given(seed=seeds, k=st.integers(1, 5), unit=powers, offset=st.sampled_from([0.0, 1.0, 1e3, 1e9]))
def test_scales_there_and_back(seed: int, k: int, unit: float, offset: float) -> None:
    rng = np.random.default_rng(seed)
    spec = ModelSpec(n_clusters=k, features=["a", "b"], predictors=["b", "c"], response="y")
    scale = 10.0 ** (unit * rng.uniform(0, 1, 4))
    scaling = Scaling(spec, offset * scale * rng.normal(size=4), scale)
    start = Parameters(
        weight=rng.dirichlet(np.ones(k)),
        mean=rng.normal(size=(k, 2)),
        cholesky=np.tril(rng.normal(size=(k, 2, 2))) + 2 * np.eye(2),
        intercept=rng.normal(size=k),
        slope=rng.normal(size=(k, 2)),
        sigma=rng.uniform(0.1, 2, k),
    )
    back = scaling.to_model(scaling.to_users(start)).each()
    ulp = np.finfo(float).eps
    for name in ("cholesky", "slope", "sigma"):
        # One product and one quotient, and for the slope a ratio of scales besides.
        np.testing.assert_allclose(back[name], start.each()[name], rtol=4 * ulp, atol=0)
    np.testing.assert_array_equal(back["weight"], start.weight)
    # On the users' scale a mean is offset units large, and rounded to that.
    slack = 8 * ulp * (1 + 5 * offset)
    np.testing.assert_allclose(back["mean"], start.mean, rtol=0, atol=slack)
    # The intercept there is the line at zero: two slopes times two offsets away.
    np.testing.assert_allclose(back["intercept"], start.intercept, rtol=0, atol=16 * slack)


@given(seed=seeds, power=powers, offset=st.floats(-1e9, 1e9))
def test_a_table_in_other_units_is_the_same_on_the_models_scale(
    seed: int, power: float, offset: float
) -> None:
    rng, unit = np.random.default_rng(seed), 10.0**power
    spec = ModelSpec(n_clusters=1, features=["a", "b"])
    z = rng.normal(size=(30, 2))
    center = unit * offset * np.ones(2)
    scaling = Scaling(spec, center, np.full(2, unit))
    # A number of offset units carries half an ulp of itself.
    slack = 4 * np.finfo(float).eps * (1 + abs(offset))
    np.testing.assert_allclose(scaling.transform(center + unit * z), z, rtol=1e-14, atol=slack)
    assert scaling.log_jacobian == pytest.approx(-2 * np.log(unit), rel=1e-14, abs=1e-14)


# Labels.


@given(seed=seeds, k=st.integers(1, 9), draws=st.integers(1, 30))
def test_permuting_and_undoing_gives_every_bit_back(seed: int, k: int, draws: int) -> None:
    rng = np.random.default_rng(seed)
    plan = np.stack([rng.permutation(k) for _ in range(draws)])
    values = rng.normal(size=(draws, k, 2, 3)) * 10.0 ** rng.uniform(-300, 300, (draws, k, 1, 1))
    values[0, 0, 0, 0] = np.nan
    back = permute(permute(values, plan), inverse(plan))
    assert back.tobytes() == values.tobytes()
    np.testing.assert_array_equal(inverse(inverse(plan)), plan)
    np.testing.assert_array_equal(permute(plan, inverse(plan)), np.tile(np.arange(k), (draws, 1)))
    assert agreement(plan, plan) == 1
    common = rng.permutation(k)
    assert agreement(plan, plan[:, common]) == 1
    assert 0 <= switch_rate(plan) <= 1 - 1 / draws


@given(seed=seeds, k=st.integers(1, 6), power=powers, offset=st.floats(-1e6, 1e6))
def test_planted_permutations_come_back_whatever_the_unit(
    seed: int, k: int, power: float, offset: float
) -> None:
    rng = np.random.default_rng(seed)
    plan = np.stack([rng.permutation(k) for _ in range(25)])
    pivot = np.resize(np.arange(k), 12 * k)
    np.testing.assert_array_equal(ecr(plan[:, pivot], pivot, k), plan)
    # Clusters ten apart, draws within one.
    center = 10.0 * np.column_stack([np.arange(k), rng.permutation(k)])
    draws = np.empty((25, k, 2))
    for draw, order in zip(draws, plan, strict=True):
        draw[order] = center + rng.uniform(-1, 1, (k, 2))
    unit, moved = np.array([10.0**power, 1.0]), np.array([offset, 0.0])
    found = pivotal((draws + moved) * unit, (center + moved) * unit)
    np.testing.assert_array_equal(found, plan)
    np.testing.assert_array_equal(order_by(draws[..., 0]), plan)


@given(
    matrix=st.integers(1, 5).flatmap(
        lambda k: hnp.arrays(np.int64, (3, k, k), elements=st.integers(0, 3))
    )
)
def test_assignments_with_ties_are_permutations_and_best(matrix: np.ndarray) -> None:
    k = matrix.shape[-1]
    for own, order in zip(matrix, assign(matrix), strict=True):
        assert sorted(order.tolist()) == list(range(k))
        totals = [sum(own[j, p[j]] for j in range(k)) for p in permutations(range(k))]
        assert own[np.arange(k), order].sum() == max(totals)


# Files.

#: Names that netCDF cannot hold are refused by `save`; these it can.
text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)
numbers = hnp.arrays(
    st.sampled_from([np.float64, np.int64, np.bool_, np.float32]), (2, 3), elements=None
)


@contextmanager
def folder():
    """An empty folder, and the working one meanwhile."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as name:
        os.chdir(name)
        try:
            yield Path(name)
        finally:
            os.chdir(before)


@given(
    values=numbers,
    labels=st.lists(text, min_size=3, max_size=3, unique=True),
    messages=st.lists(text, min_size=2, max_size=2),
    attributes=st.dictionaries(
        st.text("abcdefghij_", min_size=1, max_size=8),
        st.recursive(
            text | st.integers(-(2**53), 2**53) | st.booleans() | st.none()
            | st.floats(allow_nan=False),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
            max_leaves=6,
        ),
        max_size=4,
    ),
)  # fmt: skip
@settings(max_examples=USUAL // 2)
def test_a_saved_tree_is_the_tree(
    values: np.ndarray, labels: list[str], messages: list[str], attributes: dict[str, object]
) -> None:
    posterior = xr.Dataset(
        {"mean": (("draw", "feature"), values)}, coords={"feature": np.array(labels, dtype=object)}
    )
    checks = xr.Dataset({"message": ("check", np.array(messages, dtype=object))})
    tree = xr.DataTree.from_dict(
        {"/": xr.Dataset(attrs=attributes), "posterior": posterior, "checks": checks}
    )
    with folder() as place:
        back = load(save(tree, place / "fit.nc"))
    kept = {name: value for name, value in back.attrs.items() if name != "schema_version"}
    assert kept == attributes
    assert {name: type(value) for name, value in kept.items()} == {
        name: type(value) for name, value in attributes.items()
    }
    found = back["posterior"]["mean"].values
    assert found.dtype == values.dtype
    assert found.tobytes() == values.tobytes()
    assert back["posterior"]["feature"].values.tolist() == labels
    assert back["checks"]["message"].values.tolist() == messages


# What people type. Nothing below can be fitted: the table has one row.

WORDS = ["run", "fit", "report", "diagnose", "predict", "score", "compare", "recover", "build",
         "--strict", "--json", "--out", "--seed", "--quantiles", "r.toml", "t.csv", "f.nc", ".",
         "-1", "0.5", "nan", "--", "-h"]  # fmt: skip
RECIPE = '[data]\npath = "t.csv"\nfeatures = ["a"]\n[model]\nclusters = 2\n'
typed = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)


def outcome(arguments: list[str], files: dict[str, bytes]) -> None:
    """Run a command in a folder of these files: it must end in a code, and say one line."""
    with folder() as place:
        for name, content in files.items():
            (place / name).write_bytes(content)
        result = CliRunner().invoke(cli.app, arguments)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code in (0, 1, 2)
    assert "Traceback" not in result.output
    if result.exit_code == 2 and "Usage:" not in result.stderr:
        assert result.stderr.startswith("error: ")
        assert result.stderr.count("\n") == 1


@given(arguments=st.lists(st.sampled_from(WORDS) | typed, max_size=6))
def test_any_arguments_end_in_a_code(arguments: list[str]) -> None:
    outcome(arguments, {"r.toml": RECIPE.encode(), "t.csv": b"a\n1\n", "f.nc": b"\x89HDF"})


keys = st.sampled_from(["data", "model", "priors", "sampler", "report", "clusters", "features",
                        "path", "family", "value", "mean", "draws", "seed",
                        "ordering"])  # fmt: skip
toml_values = st.one_of(
    st.integers(-3, 2**70).map(str),
    st.floats().map(repr),
    st.sampled_from(["true", "[]", "{}", '"full"', '"fixed"', '["a", "b"]', "[[1], 2]",
                     "1979-05-27", '"a\\u0000b"', '"../x"', '"mean[a]"', '{family = "normal"}',
                     "[" * 2000]),
    typed.map(lambda value: f"'{value}'"),
)  # fmt: skip
lines = st.one_of(
    keys.map(lambda key: f"[{key}]"),
    st.tuples(keys, keys).map(lambda pair: f"[{pair[0]}.{pair[1]}]"),
    st.tuples(keys, toml_values).map(lambda pair: f"{pair[0]} = {pair[1]}"),
    st.sampled_from(RECIPE.splitlines()),
    typed,
)
toml_texts = st.lists(lines, max_size=8).map("\n".join)


@given(text=toml_texts)
@settings(max_examples=2 * USUAL)
def test_any_text_is_a_recipe_or_refused(text: str) -> None:
    recipe: Recipe | None = None
    with suppress(JointmixError):
        recipe = parse_recipe(text)
    # What is not refused can be written, and read as the same.
    assert recipe is None or parse_recipe(recipe_text(recipe)) == recipe


@given(content=st.binary(max_size=200) | toml_texts.map(str.encode))
@settings(max_examples=USUAL // 2)
@example(content=RECIPE.replace("t.csv", "t\\u0000.csv").encode())
@example(content=RECIPE.replace("t.csv", "t" * 300 + ".csv").encode())
def test_any_recipe_file_ends_in_a_code(content: bytes) -> None:
    outcome(["fit", "r.toml", "--quiet"], {"r.toml": content, "t.csv": b"a,b\n1,2\n"})


@given(
    content=st.binary(max_size=200)
    | st.lists(st.sampled_from(["a", "b", ",", "\n", "\r", '"', "1", "-", "e", " ", "nan", ";"]),
               max_size=40).map(lambda parts: "".join(parts).encode())
)  # fmt: skip
@example(content=b"a\n1\n" + b'"' * 200_000)
@example(content=b"a,b\n" + b"1" * 140_000 + b",2\n")
def test_any_table_file_is_refused_in_one_line(content: bytes) -> None:
    # Forty clusters ask for eighty rows.
    recipe = RECIPE.replace("clusters = 2", "clusters = 40").encode()
    outcome(["fit", "r.toml", "--quiet"], {"r.toml": recipe, "t.csv": content})
