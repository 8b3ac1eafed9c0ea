"""The NumPyro model against SciPy, the NumPy densities and the PyMC model, at equal parameters."""

import dataclasses
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import oracles
import pymc as pm
import pytensor
import pytest
from conftest import PARAMETERS, STRUCTURES, built, direction_of, more
from densities import feature_log_density, response_log_density
from pymc_values import constrained
from scipy.stats import gamma, t

import jointmix.validation.twin
from jointmix.base.errors import MissingExtraError, SpecError
from jointmix.families import limits, response_families
from jointmix.families.parameters import Parameters
from jointmix.families.priors.priors import Fixed, HalfStudentT, Priors
from jointmix.families.protocol import Block
from jointmix.families.rows import Rows
from jointmix.families.student_t.block import StudentTResponse
from jointmix.model.dataset import Dataset
from jointmix.model.location import coordinates
from jointmix.model.spec import ModelSpec
from jointmix.validation.agreement.terms import sizes
from jointmix.validation.twin import build_twin, twin_log_density
from jointmix.validation.twin.family import twins
from jointmix.validation.twin.priors import free_values

FORMS = ("marginal", "enumerated")
Values = dict[str, np.ndarray]

#: The parts most easily mistaken, on every run; the others are left to the slow tests.
USUAL = (
    "no features",
    "tied",
    "fixed mean, per cluster",
    "no intercept",
    "mixed location priors",
    "half-t",
)


def pymc_points(name: str, n: int, seed: int) -> list[tuple[Values, Values]]:
    """Random unconstrained values of the PyMC model, each with its parameters."""
    _, model = built(name)
    rng = np.random.default_rng(seed)
    # Half a unit keeps correlations below 0.99, so that factors stay well conditioned.
    stack = {v.name: 0.5 * rng.normal(size=(n, *v.type.shape)) for v in model.value_vars}
    parameters = constrained(model)(stack)
    return [
        ({key: value[i] for key, value in stack.items()},
         {key: value[i] for key, value in parameters.items()})
        for i in range(n)
    ]  # fmt: skip


def pymc_function(model: pm.Model, outputs: list[Any]) -> Any:
    with pytensor.config.change_flags(mode="FAST_COMPILE"):
        return pytensor.function(model.value_vars, outputs, on_unused_input="ignore")


def columns(spec: ModelSpec, dataset: Dataset) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features, predictors and response (zeros without one) on the model's scale."""
    scaled = dataset.scaling.transform(dataset.values)
    x, u = (
        scaled[:, [spec.columns.index(name) for name in names]]
        for names in (spec.features, spec.predictors)
    )
    return x, u, scaled[:, -1] if spec.response else np.zeros(len(scaled))


def with_covariance(values: Values) -> Values:
    """The oracle's parameters: covariances in place of standard deviations and correlations."""
    rest = {name: value for name, value in values.items() if name not in ("sd", "correlation")}
    if "sd" in values:
        sd = values["sd"]
        rest["covariance"] = values["correlation"] * sd[:, :, None] * sd[:, None, :]
    return rest


def difference(found: np.ndarray, expected: np.ndarray) -> float:
    """Largest difference, relative to the value's magnitude where that exceeds one."""
    return float((np.abs(found - expected) / np.maximum(1, np.abs(expected))).max())


def check_terms(spec: ModelSpec, dataset: Dataset, values: Values, found: Values) -> None:
    """All parts of the likelihood against SciPy's and against the NumPy densities."""
    x, u, y = columns(spec, dataset)
    plain = with_covariance(values)
    ours = Parameters(**oracles.factored(plain))
    # Some hundred roundings of 1e-16, times the factors' condition number of up to 30.
    assert difference(found["features"], oracles.feature_terms(plain, x)) < 1e-12
    assert difference(found["response"], oracles.response_terms(plain, u, y)) < 1e-12
    assert difference(found["features"], feature_log_density(x, ours)) < 1e-12
    assert difference(found["response"], response_log_density(y, u, ours)) < 1e-12
    rows = oracles.log_density(plain, x, u, y)
    assert difference(found["rows"], rows) < 1e-12
    assert difference(found["likelihood"], rows.sum()) < 1e-12


def log_vine_jacobian(spec: ModelSpec, values: Values) -> float:
    """log |∂ L / ∂ u| from the PyMC model's u, p = 2u − 1, to the entries below L's diagonal.

    L_ij = p_ij √(1 − Σ_{l<j} L_il²), so that each row's Jacobian is triangular.
    """
    d = len(spec.features)
    if d < 2 or spec.covariance not in ("full", "tied"):
        return 0.0
    factors = np.linalg.cholesky(values["correlation"])
    total = 0.0
    for factor in factors[:1] if spec.covariance == "tied" else factors:
        for i in range(d):
            for j in range(i):
                total += np.log(2) + 0.5 * np.log(1 - (factor[i, :j] ** 2).sum())
    return total


# With Jacobians and at more points all structures are compared with the kernel in test_agreement.
@pytest.mark.parametrize("name", USUAL)
def test_densities_equal_scipy_and_the_pymc_model(name: str) -> None:
    spec, (dataset, model) = STRUCTURES[name], built(name)
    (likelihood,) = model.logp(vars=model.observed_RVs, sum=False)
    free = model.free_RVs
    prior = model.logp(vars=free, jacobian=False) if free else pytensor.tensor.zeros(())
    evaluate = pymc_function(model, [likelihood, prior])
    gaps = []
    for point, values in pymc_points(name, 3, seed=1):
        own_rows, own_prior = evaluate(*point.values())
        found = {form: twin_log_density(dataset, spec, values, form) for form in FORMS}
        for parts in found.values():
            check_terms(spec, dataset, values, parts)
            # The PyMC model's quadratic form is a difference of terms up to 1e4 times as large.
            np.testing.assert_allclose(parts["rows"], own_rows, rtol=1e-11, atol=1e-11)
        for part, value in found["marginal"].items():
            np.testing.assert_allclose(found["enumerated"][part], value, rtol=1e-12, atol=1e-13)
        gaps.append(found["marginal"]["prior"] + log_vine_jacobian(spec, values) - own_prior)
    # Some twenty terms, gamma functions among them, of two libraries that round to 1e-13.
    np.testing.assert_allclose(gaps, gaps[0], rtol=0, atol=1e-9)
    if not isinstance(spec.priors.sd, HalfStudentT):
        # PyMC rounds that family's log 2 to float32; all other constants are equal too.
        np.testing.assert_allclose(gaps, 0, rtol=0, atol=1e-9)


def bare(n: int, d: int, k: int, r: int) -> tuple[ModelSpec, Dataset]:
    """A few rows on the users' scale, fewer than a fit would need."""
    spec = ModelSpec(
        n_clusters=k,
        features=tuple(f"x{i}" for i in range(d)),
        predictors=tuple(f"u{i}" for i in range(r)),
        response="y",
        standardize=False,
    )
    values = np.random.default_rng(n + 10 * d + 100 * k).normal(size=(n, d + r + 1))
    return spec, Dataset(spec, values, np.arange(n), n, {}, "")


def random_values(spec: ModelSpec, seed: int) -> Values:
    """Random parameters of a model in which all of them are free."""
    rng = np.random.default_rng(seed)
    values = oracles.draw_values(rng, spec.n_clusters, len(spec.features), len(spec.predictors))
    covariance = values.pop("covariance")
    values["sd"] = np.sqrt(np.diagonal(covariance, axis1=1, axis2=2))
    values["correlation"] = covariance / values["sd"][:, :, None] / values["sd"][:, None, :]
    return values


#: Rows, features, components and predictors: equal numbers, and one of a kind.
SIZES = [
    (3, 3, 3, 3),
    (4, 1, 2, 1),
    (1, 2, 4, 4),
    pytest.param(3, 3, 2, 3, marks=more),
    pytest.param(2, 2, 4, 2, marks=more),
]


@pytest.mark.parametrize(("n", "d", "k", "r"), SIZES)
def test_equal_sizes_are_not_mistaken_for_each_other(n: int, d: int, k: int, r: int) -> None:
    spec, dataset = bare(n, d, k, r)
    values = random_values(spec, n)
    for form in FORMS:
        check_terms(spec, dataset, values, twin_log_density(dataset, spec, values, form))


@pytest.mark.parametrize("name", ["no features", "tied"])
def test_enumeration_by_numpyro_equals_the_sum(name: str) -> None:
    pytest.importorskip("funsor")
    from numpyro.contrib.funsor import enum
    from numpyro.infer.util import potential_energy, unconstrain_fn

    spec, (dataset, _) = STRUCTURES[name], built(name)
    marginal, enumerated = (build_twin(dataset, spec, form) for form in FORMS)
    summed = enum(enumerated, first_available_dim=-2)
    for _, values in pymc_points(name, 3, seed=4):
        point = unconstrain_fn(marginal, (), {}, free_values(spec, values))
        found = potential_energy(summed, (), {}, point, enum=True)
        # The same rows, summed by other rules.
        np.testing.assert_allclose(found, potential_energy(marginal, (), {}, point), rtol=1e-12)


@pytest.mark.parametrize(("n", "d", "k", "r"), SIZES)
def test_enumeration_by_numpyro_of_equal_sizes(n: int, d: int, k: int, r: int) -> None:
    pytest.importorskip("funsor")
    from numpyro.contrib.funsor import enum, log_density

    spec, dataset = bare(n, d, k, r)
    values = random_values(spec, n)
    expected = twin_log_density(dataset, spec, values)
    model = enum(build_twin(dataset, spec, "enumerated"), first_available_dim=-2)
    total, _ = log_density(model, (), {}, free_values(spec, values))
    whole = expected["prior"] + expected["likelihood"]
    np.testing.assert_allclose(total, whole, rtol=1e-12)


def test_rows_are_the_pointwise_log_likelihood() -> None:
    from numpyro.infer import log_likelihood

    spec, dataset = bare(3, 1, 2, 1)
    draws = [random_values(spec, seed) for seed in range(4)]
    sites = [free_values(spec, values) for values in draws]
    stacked = {name: np.stack([site[name] for site in sites]) for name in sites[0]}
    found = log_likelihood(build_twin(dataset, spec), stacked)["rows"]
    expected = [twin_log_density(dataset, spec, values)["rows"] for values in draws]
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-13)


def student_t(n: int, spread: float, seed: int) -> tuple[ModelSpec, Dataset, Values]:
    """A Student-t model at random parameters; ``spread`` is that of log ν and log σ."""
    spec, dataset = bare(n, 1, 3, 2)
    values, rng = random_values(spec, seed), np.random.default_rng(seed)
    for name in ("df", "sigma"):
        values[name] = np.exp(spread * rng.normal(size=3))
    return dataclasses.replace(spec, family="student_t"), dataset, values


@pytest.mark.parametrize("spread", [0.5, 5.0])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_student_t_response_equals_scipy(spread: float, seed: int) -> None:
    """Also where ν is 1e-7 or 1e7, and σ likewise."""
    spec, dataset, values = student_t(20, spread, seed)
    _, u, y = columns(spec, dataset)
    line = values["intercept"] + u @ values["slope"].T
    expected = t.logpdf(y[:, None], values["df"], line, values["sigma"])
    plain = Parameters(**oracles.factored(with_covariance(values)))
    scale = sizes(Rows(*columns(spec, dataset)), plain.batched(), spec).response[0]
    for form in FORMS:
        found = twin_log_density(dataset, spec, values, form)
        assert (np.abs(found["response"] - expected) <= 1e-12 * scale).all()
        # Where nothing is extreme that is relative to the density itself.
        assert spread > 1 or difference(found["response"], expected) < 1e-12


def test_the_gradient_of_a_student_t_response_is_that_of_finite_differences() -> None:
    import jax
    from numpyro.infer.util import potential_energy, unconstrain_fn

    spec, dataset, values = student_t(12, 0.7, 4)
    model = build_twin(dataset, spec)
    at = unconstrain_fn(model, (), {}, free_values(spec, values))
    at = jax.tree.map(jax.numpy.asarray, at)
    energy = jax.jit(lambda point: potential_energy(model, (), {}, point))
    gradient = jax.grad(energy)(at)
    step = 1e-5
    for name in ("df", "noise_variance", "slope_xi", "intercept_xi"):
        found = np.asarray(gradient[name])
        for index in np.ndindex(found.shape):
            up, down = (
                energy(at | {name: at[name].at[index].add(sign * step)}) for sign in (1, -1)
            )
            # Third derivatives times step² are below 1e-8, roundings of 1e2 over step below 1e-8.
            np.testing.assert_allclose(found[index], (up - down) / (2 * step), rtol=1e-6, atol=1e-6)


def test_known_degrees_of_freedom_are_known_on_any_scale() -> None:
    spec, dataset, values = student_t(9, 0.5, 5)
    known = dataclasses.replace(
        spec, standardize=True, priors=Priors(df=Fixed(value=tuple(values["df"])))
    )
    found = twin_log_density(dataset, known, values)
    free = twin_log_density(dataset, dataclasses.replace(known, priors=Priors()), values)
    np.testing.assert_allclose(found["rows"], free["rows"], rtol=1e-14)
    prior = gamma(2.0, scale=10.0).logpdf(values["df"]).sum()
    np.testing.assert_allclose(free["prior"] - found["prior"], prior, rtol=1e-12)


def test_a_family_from_outside_brings_its_twin() -> None:
    class Mine(StudentTResponse):
        family = "mine"
        twin = "jointmix.validation.twin.student_t:StudentTTwin"

    class Without(StudentTResponse):
        family = "without"

    @dataclasses.dataclass
    class Holder:
        blocks: tuple[Block, ...]

    spec = student_t(5, 0.5, 6)[0]
    (twin,) = twins(Holder((Mine(spec),)))
    assert type(twin).__name__ == "StudentTTwin"
    with pytest.raises(SpecError, match=r"'without' has no independent .* of Without\."):
        twins(Holder((Without(spec),)))


def mirrored(direction: np.ndarray, xi: np.ndarray) -> np.ndarray:
    """The mirror image that exchanges e₁ and c, of each row."""
    normal = direction - np.eye(len(direction))[0]
    return xi - 2 * np.outer(xi @ normal, normal) / (normal @ normal)


def located(spec: ModelSpec, values: Values) -> np.ndarray:
    """ξ (component, location) of parameters."""
    parts = []
    for item in coordinates(spec):
        value = values[item.parameter]
        if item.column is not None:
            names = spec.features if item.parameter == "mean" else spec.predictors
            value = value[:, names.index(item.column)]
        parts.append((value - item.prior.loc) / item.prior.scale)
    return np.stack(parts, axis=1)


@cache
def ordered_case() -> tuple[ModelSpec, Dataset, pm.Model, np.ndarray]:
    name = "mixed location priors"
    spec, (dataset, model) = STRUCTURES[name], built(name)
    direction = direction_of(spec)
    assert direction is not None
    return spec, dataset, model, direction


def free_and_ordered(spec: ModelSpec, values: Values, direction: np.ndarray) -> tuple[Values, ...]:
    """Values of the sample sites, without and with the constraint, of inverse-gamma models."""
    xi = located(spec, values)
    eta = mirrored(direction, xi)
    d = len(spec.features)
    rest = {
        "weight": values["weight"],
        "feature_variance": values["sd"] ** 2,
        "noise_variance": values["sigma"] ** 2,
        "correlation_cholesky": np.linalg.cholesky(values["correlation"]),
    }
    blocks = {"mean_xi": xi[:, :d], "intercept_xi": xi[:, [d]], "slope_xi": xi[:, d + 1 :]}
    return rest | blocks, rest | {"place": eta[:, 0], "across": eta[:, 1:]}


def test_the_cone_restricts_the_prior_and_changes_nothing_else() -> None:
    from numpyro.infer.util import log_density, potential_energy, unconstrain_fn

    spec, dataset, _, direction = ordered_case()
    free_model = build_twin(dataset, spec)
    cone_model = build_twin(dataset, spec, direction=direction)
    for _, values in pymc_points("mixed location priors", 3, seed=2):
        free, ordered = free_and_ordered(spec, values, direction)
        parts = twin_log_density(dataset, spec, values)
        inside, trace = log_density(cone_model, (), {}, ordered)
        # The same density at the same parameters, which come back from the cone to rounding.
        np.testing.assert_allclose(inside, parts["prior"] + parts["likelihood"], rtol=1e-12)
        for name, value in values.items():
            np.testing.assert_allclose(trace[name]["value"], value, rtol=1e-12, atol=1e-13)
        potential = [
            potential_energy(model, (), {}, unconstrain_fn(model, (), {}, sites))
            for model, sites in ((free_model, free), (cone_model, ordered))
        ]
        stretch = np.log(np.diff(located(spec, values) @ direction)).sum()
        np.testing.assert_allclose(potential[0] - potential[1], stretch, rtol=0, atol=1e-11)


def test_the_gradient_inside_the_cone_is_the_pymc_models() -> None:
    import jax
    from numpyro.infer.util import potential_energy, unconstrain_fn

    spec, dataset, model, direction = ordered_case()
    cone = next(value for value in model.value_vars if value.name == "location_cone__")
    evaluate = pymc_function(model, [pytensor.grad(model.logp(), cone)])
    twin = build_twin(dataset, spec, direction=direction)
    gradient = jax.jit(jax.grad(lambda point: -potential_energy(twin, (), {}, point)))
    for point, values in pymc_points("mixed location priors", 3, seed=3):
        _, ordered = free_and_ordered(spec, values, direction)
        unconstrained = unconstrain_fn(twin, (), {}, ordered)
        # Logs of differences, which carry the rounding of the two terms.
        np.testing.assert_allclose(
            unconstrained["place"], point["location_cone__"][:, 0], rtol=0, atol=1e-12
        )
        found = gradient(unconstrained)
        both = np.concatenate([found["place"][:, None], found["across"]], axis=1)
        (expected,) = evaluate(*point.values())
        # Sums over 40 rows of terms of either sign, of the size of the largest entry.
        np.testing.assert_allclose(both, expected, rtol=0, atol=1e-11 * np.abs(expected).max())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("only a response", "enumerated"),
        pytest.param("four clusters, overlapping", "marginal", marks=more),
    ],
)
def test_nuts_samples_inside_the_cone(name: str, form: str) -> None:
    if form == "enumerated":
        pytest.importorskip("funsor")
    import jax
    from numpyro.infer import MCMC, NUTS

    spec, (dataset, model) = STRUCTURES[name], built(name)
    direction = direction_of(spec)
    kernel = NUTS(build_twin(dataset, spec, form, direction), max_tree_depth=4)
    mcmc = MCMC(kernel, num_warmup=20, num_samples=20, progress_bar=False)
    mcmc.run(jax.random.PRNGKey(3))
    draws = {key: np.asarray(value) for key, value in mcmc.get_samples().items()}
    for key in set(PARAMETERS) & set(model.named_vars):
        assert draws[key].shape == (20, *model[key].shape.eval())
        assert draws[key].dtype == np.float64
    for draw in range(20):
        xi = located(spec, {key: value[draw] for key, value in draws.items()})
        assert (np.diff(xi @ direction) > 0).all()


def test_what_cannot_be_built_is_refused() -> None:
    spec, dataset = bare(6, 2, 2, 1)
    with pytest.raises(SpecError, match="marginal, enumerated; got 'sum'"):
        build_twin(dataset, spec, "sum")
    for direction in (np.ones(3) / np.sqrt(3), np.ones(4)):
        with pytest.raises(SpecError, match=r"unit vector of shape \(4,\)"):
            build_twin(dataset, spec, direction=direction)
    name = "fixed mean, per cluster"
    with pytest.raises(SpecError, match="told apart by fixed values"):
        build_twin(built(name)[0], STRUCTURES[name], direction=np.array([1.0, 0.0]))


def test_values_that_the_model_cannot_have_are_refused() -> None:
    spec, dataset = bare(6, 2, 2, 1)
    values = random_values(spec, 1)
    diagonal, tied = (
        dataclasses.replace(spec, covariance=covariance) for covariance in ("diagonal", "tied")
    )
    for model, change, words in [
        (spec, {"mean": values["mean"][:, :1]}, r"'mean' with the last dims \(2, 2\); got \(2, 1"),
        (spec, {"noise": np.ones(2)}, "no parameter 'noise'"),
        (spec, {"weight": np.ones(2)}, "weights' sum must be one; got 2"),
        (spec, {"correlation": 2 * values["correlation"]}, "diagonal must be one"),
        (diagonal, {}, "correlation cannot occur"),
        (tied, {}, "sd cannot occur"),
    ]:
        with pytest.raises(SpecError, match=words):
            twin_log_density(dataset, model, values | change)
    without = {key: value for key, value in values.items() if key != "sigma"}
    with pytest.raises(SpecError, match=r"'sigma'.* got nothing"):
        twin_log_density(dataset, spec, without)


@pytest.mark.parametrize("package", ["jax", "numpyro", "funsor"])
def test_a_missing_package_is_named(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    spec, dataset = bare(6, 1, 2, 1)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=rf"{package}: pip install 'jointmix\[jax\]'\.$"):
        build_twin(dataset, spec, "enumerated")


def test_importing_it_loads_no_jax() -> None:
    code = (
        "import sys, jointmix.validation.twin; print({'jax', 'numpyro', 'pymc'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "set()"


def test_it_is_written_independently() -> None:
    """No twin reads a density, a graph or compiled rows of the package."""
    allowed = {
        "base.errors", "base.schema", "families.limits", "families.parameters",
        "families.priors.priors", "families.protocol", "families.rows", "model.dataset",
        "model.location", "model.scaling", "model.spec",
    }  # fmt: skip
    # Where densities are cut off are numbers, with no code that could be read.
    public = {name: x for name, x in vars(limits).items() if not name.startswith("_")}
    assert public
    assert all(type(value) is float for value in public.values())
    assert limits.__file__ is not None
    assert "import" not in Path(limits.__file__).read_text(encoding="utf-8")
    folder = Path(jointmix.validation.twin.__file__).parent
    families = {path.stem for path in folder.glob("*.py")} & {
        "mvnormal",
        "mvt",
        *response_families(),
    }
    # A Bernoulli response is a binomial one of one trial.
    assert families == {"mvnormal", "mvt", *response_families()} - {"bernoulli"}
    for path in sorted(folder.glob("*.py")):
        source = path.read_text(encoding="utf-8")
        found = set(re.findall(r"^\s*from jointmix\.(\S+) import", source, flags=re.MULTILINE))
        own = {name.removeprefix("validation.twin.") for name in found if "validation" in name}
        assert found - {f"validation.twin.{name}" for name in own} <= allowed, path.name
        # One family does not read another either.
        assert not own & families, path.name
