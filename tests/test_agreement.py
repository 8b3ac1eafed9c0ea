"""Implementations agree at all points, and each planted mistake is caught and located."""

import dataclasses
import json
import re
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import STRUCTURES, built, direction_of, more, structures, table
from numpyro_users import ENUMERATED, MARGINAL, NAMES, names_for, users_model
from scipy.stats import norm, t
from test_numpyro_twin import bare as bare_rows

import jointmix
from jointmix.base.errors import MissingExtraError, SpecError
from jointmix.families.priors.priors import LKJ, Fixed, Priors
from jointmix.model.dataset import Dataset, make_dataset
from jointmix.model.spec import ModelSpec
from jointmix.sampling.target import Target
from jointmix.validation.agreement import implementations
from jointmix.validation.agreement.chart import Chart
from jointmix.validation.agreement.comparison import Comparison, Difference, odd_ones
from jointmix.validation.agreement.implementations import (
    YOURS,
    explain,
    make_sides,
)
from jointmix.validation.agreement.mistakes import explain_shape
from jointmix.validation.agreement.numpyro_side import numpyro_side
from jointmix.validation.agreement.observed import ModelError
from jointmix.validation.agreement.plain_sides import (
    kernel_side,
    numpy_side,
    scipy_side,
    sklearn_side,
)
from jointmix.validation.agreement.problem import Problem, extreme_points, random_points
from jointmix.validation.agreement.pymc_sides import pymc_side
from jointmix.validation.agreement.sites import unconstrained
from jointmix.validation.agreement.structure import inspect
from jointmix.validation.agreement.terms import Side, Terms
from jointmix.validation.twin import Form, build_twin

pytest.importorskip("funsor")

#: What is compiled on every run.
USUAL = ("tied", "mixed location priors")


def problem_of(name: str) -> Problem:
    spec = STRUCTURES[name]
    return Problem(built(name)[0], direction_of(spec))


def bare(n: int, d: int, k: int, r: int) -> Problem:
    """A few rows on the users' scale, fewer than a fit would need; labels are free."""
    return Problem(bare_rows(n, d, k, r)[1], None)


def without_numba(
    problem: Problem, forms: tuple[Form, ...] = ("marginal", "enumerated"), pymc: bool = True
) -> list[Side]:
    sides = [kernel_side(problem), *([pymc_side(problem, "jax")] if pymc else [])]
    for form in forms:
        twin = build_twin(problem.dataset, problem.spec, form, problem.direction)
        sides.append(numpyro_side(problem, f"NumPyro {form}", twin))
    sides += [numpy_side(problem), scipy_side(problem)]
    mixture = sklearn_side(problem)
    return sides + ([] if mixture is None else [mixture])


def points_of(problem: Problem, n: int, seed: int) -> np.ndarray:
    center = 0.3 * np.random.default_rng(seed).normal(size=problem.dim)
    found = random_points(problem, center, n, seed)
    return np.concatenate([found, extreme_points(problem, center)])


def failures(differences: list[Difference]) -> list[Difference]:
    return [item for item in differences if not item.agrees]


#: What structures have one by one, several at a time.
TOGETHER = {
    "one cluster": STRUCTURES["one cluster, shared and tied"],
    "no response": STRUCTURES["no response"],
    "no features": STRUCTURES["no features"],
    "only a response": STRUCTURES["only a response"],
    "nothing to order": STRUCTURES["all locations fixed"],
    "four clusters, shared noise, Student-t locations": dataclasses.replace(
        STRUCTURES["four clusters, overlapping"],
        noise="shared",
        priors=dataclasses.replace(STRUCTURES["Student-t"].priors, correlation=LKJ(eta=2.5)),
    ),
    "diagonal, half-normal, half-t, fixed slopes": dataclasses.replace(
        STRUCTURES["fixed slope, per cluster"],
        covariance="diagonal",
        priors=dataclasses.replace(
            STRUCTURES["fixed slope, per cluster"].priors,
            sd=STRUCTURES["half-normal"].priors.sd,
            sigma=STRUCTURES["half-t"].priors.sigma,
        ),
    ),
    "spherical, log-normal, gamma, no intercept, on the users' scale": dataclasses.replace(
        STRUCTURES["on the users' scale, spherical"],
        priors=Priors(
            sd=STRUCTURES["log-normal"].priors.sd, sigma=STRUCTURES["gamma"].priors.sigma
        ),
    ),
    "fixed covariances, noises and weights": dataclasses.replace(
        STRUCTURES["fixed covariance, per cluster"],
        noise="fixed",
        priors=Priors(
            covariance=STRUCTURES["fixed covariance, per cluster"].priors.covariance,
            sigma=Fixed(value=(0.5, 1.5)),
            weight=Fixed(value=(0.3, 0.7)),
        ),
    ),
    "tied, fixed means and intercepts": dataclasses.replace(
        STRUCTURES["tied, one feature"],
        priors=Priors(mean=Fixed(value=((4.0,), (6.0,))), intercept=Fixed(value=(1.0, 3.0))),
    ),
}


@pytest.mark.parametrize(
    "name",
    [
        USUAL[0],
        *(pytest.param(name, marks=more) for name in USUAL[1:]),
        *(pytest.param(name, marks=pytest.mark.slow) for name in TOGETHER),
    ],
)
def test_all_implementations_agree_at_random_and_extreme_points(name: str) -> None:
    """The usual structures by PyMC, too, and by both forms of NumPyro's model.

    The forms differ in nothing else, and test_fused holds PyMC to the kernel over all structures.
    """
    usual = name in USUAL
    spec = STRUCTURES[name] if usual else TOGETHER[name]
    problem = Problem(make_dataset(table(), spec), direction_of(spec))
    forms: tuple[Form, ...] = ("marginal", "enumerated") if usual else ("marginal",)
    # A model without free locations cannot be ordered, and test_fused leaves it out.
    pymc = usual or name == "nothing to order"
    comparison = Comparison(problem, without_numba(problem, forms, pymc))
    differences = comparison.run(points_of(problem, 1000 if usual else 300, seed=11))
    assert failures(differences) == []
    terms = {item.term for item in differences}
    assert {"rows", "likelihood", "total"} <= terms
    assert not problem.dim or {"prior", "gradient"} <= terms
    # Extremes apart, NumPyro's own sum over components serves.
    assert not usual or comparison.underflows["NumPyro enumerated"] < 60


@pytest.mark.parametrize("name", structures("no features", "fixed mean, per cluster"))
def test_what_needs_no_compiling_agrees_for_every_structure(name: str) -> None:
    problem = problem_of(name)
    comparison = Comparison(problem, without_numba(problem, (), pymc=False))
    assert failures(comparison.run(points_of(problem, 300, seed=11))) == []


#: Structures with a Student-t response, whose df are free, or known and different.
STUDENT_T = {
    "free": (STRUCTURES["predictors in another order"], {}),
    "known": (STRUCTURES["shared noise"], {"df": Fixed(value=(3.0, 5.0, 30.0, 1.0))}),
    "no features": (STRUCTURES["no features"], {}),
}


def student_t(name: str) -> Problem:
    spec, known = STUDENT_T[name]
    spec = dataclasses.replace(spec, family="student_t", priors=Priors(**known))
    return Problem(make_dataset(table(), spec), direction_of(spec))


def without_compiling(problem: Problem) -> list[Side]:
    """Those that need neither Numba nor PyMC."""
    twin = build_twin(problem.dataset, problem.spec, "enumerated", problem.direction)
    sides = [numpyro_side(problem, "NumPyro enumerated", twin)]
    return [*sides, numpy_side(problem), scipy_side(problem)]


@pytest.mark.parametrize("name", ["free", pytest.param("known", marks=more),
                                  pytest.param("no features", marks=more)])  # fmt: skip
def test_a_student_t_response_agrees_at_random_and_extreme_points(name: str) -> None:
    problem = student_t(name)
    sides = without_compiling(problem)
    twin = build_twin(problem.dataset, problem.spec, "marginal", problem.direction)
    sides.append(numpyro_side(problem, "NumPyro marginal", twin))
    differences = Comparison(problem, sides).run(points_of(problem, 300, seed=13))
    assert failures(differences) == []
    assert {"prior", "response", "rows", "gradient"} <= {item.term for item in differences}
    assert ("df" in problem.slices) == (name != "known")
    # Not a Gaussian mixture.
    assert sklearn_side(problem) is None


def test_the_gradient_of_a_student_t_model_is_that_of_finite_differences() -> None:
    problem = student_t("free")
    q = points_of(problem, 1, seed=14)[0]
    step = 1e-5 * np.concatenate([np.eye(problem.dim), -np.eye(problem.dim)])
    up, down = np.split(scipy_side(problem).evaluate(q + step).total, 2)
    twin = build_twin(problem.dataset, problem.spec, "marginal", problem.direction)
    found = numpyro_side(problem, "NumPyro", twin).evaluate(q[None]).gradient[0]
    # Roundings of 1e3 over step, and third derivatives times step².
    np.testing.assert_allclose(found, (up - down) / 2e-5, rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize(
    ("mistake", "words"),
    [
        ("variance", "y is given the variance sigma² for a scale"),
        ("normal", "a normal distribution in place of Student's t"),
        ("other df", r"degrees of freedom belong to other components: .*\[1, 0\]"),
        ("sd", "sigma is taken for the standard deviation of y"),
        ("line", "The intercept is missing"),
    ],
)
def test_a_mistake_with_students_t_is_named(mistake: str, words: str) -> None:
    problem = student_t("free")

    def wrong(q: np.ndarray) -> Terms:
        """By SciPy, with one thing wrong."""
        p, rows, terms = problem.parameters(q), problem.rows, scipy_side(problem).evaluate(q)
        df, sigma, b = (p[name][:, None, :] for name in ("df", "sigma", "intercept"))
        line = rows.u @ np.swapaxes(p.slope, 1, 2) + (0 if mistake == "line" else b)
        if mistake == "variance":
            sigma = sigma**2
        if mistake == "sd":
            sigma = sigma * np.sqrt((df - 2) / df)
        if mistake == "other df":
            df = df[..., ::-1]
        family = norm(line, sigma) if mistake == "normal" else t(df, line, sigma)
        return dataclasses.replace(terms, response=family.logpdf(rows.y[:, None]), rows=None)

    center = np.zeros(problem.dim)
    where, _ = problem.slices["df"]
    center[where] = 1.5, 2.5
    q = center + 0.1 * np.random.default_rng(15).normal(size=(6, problem.dim))
    sides = [numpy_side(problem), scipy_side(problem), Side("wrong", wrong)]
    differences = Comparison(problem, sides).run(q)
    assert {item.term for item in failures(differences)} == {"response"}
    (finding,) = explain(problem, sides, differences, q)[1:]
    assert re.search(words, finding), finding


@pytest.mark.parametrize("name", structures(*STRUCTURES))
def test_parameters_are_those_of_the_kernel(name: str) -> None:
    problem = problem_of(name)
    target = Target(problem.dataset, SimpleNamespace(direction=problem.direction))
    q = 0.5 * np.random.default_rng(16).normal(size=(4, problem.dim))
    own, kernel = problem.parameters(q), target.parameters(q)
    if "cholesky" in own:
        kernel["cholesky"] = kernel["sd"][..., None] * np.linalg.cholesky(kernel["correlation"])
    for parameter in set(own) - {"correlation_cholesky"}:
        # A tenth of a million roundings: places inside the cone are sums of gaps of any size.
        np.testing.assert_allclose(
            own[parameter], kernel[parameter], rtol=1e-11, atol=1e-11, err_msg=parameter
        )


@pytest.mark.slow
@pytest.mark.parametrize("covariance", [pytest.param("full", marks=more), "tied"])
def test_eight_clusters_of_ten_features_agree(covariance: str) -> None:
    rng = np.random.default_rng(3)
    names = tuple(f"x{i}" for i in range(10))
    spec = ModelSpec(
        n_clusters=8, features=names, predictors=names[::-1], response="y",
        covariance=covariance, noise="shared" if covariance == "tied" else "cluster",
        priors=Priors(correlation=LKJ(eta=2.0)),
    )  # fmt: skip
    values = rng.normal(size=(120, 11)) @ rng.normal(size=(11, 11))
    dataset = Dataset(spec, values, np.arange(120), 120, {}, "")
    problem = Problem(dataset, direction_of(spec))
    # Up to 623 parameters: a point takes NumPyro 70 ms, of the structures above less than 0.1.
    # A term that is wrong at these sizes is wrong at every random point.
    differences = Comparison(problem, without_numba(problem)).run(points_of(problem, 40, 4))
    assert failures(differences) == []


@more
@pytest.mark.parametrize("name", ["four clusters, overlapping", "half-t"])
def test_numba_agrees_too(name: str) -> None:
    problem = problem_of(name)
    sides = [pymc_side(problem, "numba"), kernel_side(problem), scipy_side(problem)]
    assert failures(Comparison(problem, sides).run(points_of(problem, 1000, seed=12))) == []


def test_the_public_check_of_two_clusters() -> None:
    stages: list[str] = []
    spec = STRUCTURES["predictors in another order"]
    certificate = jointmix.crosscheck(
        table(), spec, points=30, posterior=False, seed=3,
        progress=lambda stage, *_: stages.append(stage),
    )  # fmt: skip
    assert certificate.passed
    assert certificate.findings == ()
    assert certificate.implementations == (
        "kernel", "PyMC on Numba", "PyMC on JAX", "NumPyro marginal", "NumPyro enumerated",
        "NumPy", "SciPy", "scikit-learn",
    )  # fmt: skip
    assert {item.term for item in certificate.differences} == {
        "prior", "likelihood", "total", "rows", "features", "response", "gradient",
    }  # fmt: skip
    found = json.loads(certificate.to_json())
    assert found["passed"] is True
    assert found["n_points"] == 30
    assert len(found["differences"]) == len(certificate.differences)
    assert certificate.lines()[0].startswith("AGREE: 8 implementations at 30 random and")
    assert {"data", "em", "compile", "points"} <= set(stages)


def judged(problem: Problem, mistake: str, enumerated: bool) -> tuple[list[Difference], list[str]]:
    """What a comparison of a user's model with three other implementations comes to.

    A mistake shows in the density, whose gradient would take half the time.
    """
    model = users_model(problem.spec, problem.dataset.values, mistake, enumerated)
    sides = [kernel_side(problem), numpy_side(problem), scipy_side(problem)]
    names = names_for(mistake, enumerated)
    sides.append(numpyro_side(problem, YOURS, model, names, gradient=not mistake))
    q = random_points(problem, np.zeros(problem.dim), 12, seed=5)
    differences = Comparison(problem, sides).run(q)
    return differences, explain(problem, sides, differences, q[:6])


#: The terms in which a mistake must show.
TERMS = {
    "missing Jacobian": "prior", "prior scale halved": "prior",
    "sd for variance": "features", "transposed Cholesky": "features",
    "weights not normalised": "rows", "weights shuffled": "rows",
}  # fmt: skip
QUICK = ("wrong axis", "missing Jacobian", "transposed Cholesky", "left out row")


@pytest.mark.parametrize("enumerated", [True, False])
def test_a_right_model_of_a_user_agrees(enumerated: bool) -> None:
    differences, findings = judged(bare(20, 2, 3, 2), "", enumerated)
    assert failures(differences) == []
    assert findings == []


@pytest.mark.parametrize(
    "mistake",
    [name if name in QUICK else pytest.param(name, marks=more) for name in ENUMERATED],
)
def test_a_mistake_under_enumeration_is_caught_and_located(mistake: str) -> None:
    # With as many rows as predictors the wrong axis passes without an error.
    problem = bare(2, 2, 3, 2) if mistake == "wrong axis" else bare(20, 2, 3, 2)
    differences, findings = judged(problem, mistake, True)
    wrong = failures(differences)
    assert odd_ones(differences) == [YOURS]
    assert all(YOURS in (item.left, item.right) for item in wrong)
    assert TERMS.get(mistake, "response") in {item.term for item in wrong}
    assert any(re.search(ENUMERATED[mistake], text) for text in findings), findings
    if mistake == "left out row":
        assert {item.row for item in wrong if item.term == "response"} == {7}


@pytest.mark.parametrize(
    "mistake",
    [name if name in QUICK else pytest.param(name, marks=more) for name in MARGINAL],
)
def test_a_mistake_in_a_summed_model_is_caught_and_located(mistake: str) -> None:
    differences, findings = judged(bare(20, 2, 3, 2), mistake, False)
    assert odd_ones(differences) == [YOURS]
    assert TERMS.get(mistake, "rows").replace("features", "rows") in {
        item.term for item in failures(differences)
    }
    assert any(re.search(MARGINAL[mistake], text) for text in findings), findings


@pytest.mark.parametrize(("n", "r"), [(2, 2), (20, 1)])
def test_the_wrong_axis_is_named_where_shapes_happen_to_fit(n: int, r: int) -> None:
    differences, findings = judged(bare(n, 2, 3, r), "wrong axis", True)
    assert odd_ones(differences) == [YOURS]
    assert any("summed over rows" in text and "axis=-1" in text for text in findings)


def test_the_wrong_axis_is_named_where_shapes_do_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    # What takes long to compile says nothing of it.
    monkeypatch.setattr(implementations, "pymc_side", lambda *_: None)
    monkeypatch.setattr(implementations, "forms_of", lambda _: ())
    problem = bare(20, 2, 3, 2)
    model = users_model(problem.spec, problem.dataset.values, "wrong axis")
    seconds: dict[str, float] = {}
    sides, findings = make_sides(problem, model, NAMES, lambda *_: None, seconds)
    assert YOURS not in [side.name for side in sides]
    assert "cannot be evaluated" in findings[0]
    assert "(3, 2)" in findings[0]
    assert "sum(axis=1)" in findings[1]
    assert explain_shape(problem, "shapes (3, 19) and (3, 20)") == (
        "The model has 19 rows, the table 20."
    )
    assert explain_shape(problem, "no shapes here") is None


def test_a_mistake_of_our_own_is_located_to_row_and_component() -> None:
    problem = problem_of("four clusters, overlapping")
    right = scipy_side(problem)

    def wrong(q: np.ndarray) -> Terms:
        terms = numpy_side(problem).evaluate(q)
        assert terms.response is not None
        terms.response[3, 11, 2] += 1e-6 * abs(terms.response[3, 11, 2]) + 1e-4
        return terms

    sides = [right, kernel_side(problem), Side("NumPy", wrong)]
    (item,) = failures(Comparison(problem, sides).run(points_of(problem, 5, seed=6)))
    assert (item.term, item.point, item.row, item.component) == ("response", 3, 11, 2)
    assert item.place == "point 3, row 11 (from 0), component 2"


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_no_number_never_agrees(value: float) -> None:
    problem = bare(6, 1, 2, 1)

    def wrong(q: np.ndarray) -> Terms:
        terms = kernel_side(problem).evaluate(q)
        assert terms.total is not None
        terms.total[1] = value
        return terms

    sides = [scipy_side(problem), Side("wrong", wrong)]
    (item,) = failures(Comparison(problem, sides).run(points_of(problem, 4, seed=7)))
    assert (item.term, item.point, item.size) == ("total", 1, np.inf)


@pytest.mark.parametrize("name", structures("tied", "mixed location priors"))
def test_sites_come_back_as_unconstrained_values(name: str) -> None:
    import jax

    problem = problem_of(name)
    if not problem.dim:
        pytest.skip("nothing is free")
    twin = build_twin(problem.dataset, problem.spec, "marginal", problem.direction)
    chart: Chart = inspect(problem, twin).chart
    q = 0.7 * np.random.default_rng(8).normal(size=(5, problem.dim))
    samples = {site: np.asarray(v) for site, v in jax.vmap(chart.values)(q).items()}
    # Logs of differences of places, and arctanh near one, lose a few digits.
    np.testing.assert_allclose(unconstrained(chart, samples), q, rtol=0, atol=1e-10)


def test_names_that_do_not_fit_are_refused() -> None:
    problem = bare(6, 2, 2, 1)
    model = users_model(problem.spec, problem.dataset.values)
    for names, words in [
        (NAMES | {"centre": "locs"}, "names has no quantity 'centre'"),
        ({k: v for k, v in NAMES.items() if k != "slope"}, "must say what the site 'thetas' holds"),
        ({k: v for k, v in NAMES.items() if k != "y"}, "which observed site holds y"),
        (NAMES | {"y": "obs"}, "observes no site 'obs'"),
        (
            {k: v for k, v in NAMES.items() if k not in ("mean", "slope")}
            | {"slope": "locs", "mean": "thetas"},
            r"'locs' has the shape \(2, 2\); slope has the shape \(2, 1\)",
        ),
    ]:
        with pytest.raises(SpecError, match=words):
            numpyro_side(problem, YOURS, model, names)
    with pytest.raises(SpecError, match=r"No site .* for the free correlation, location, sd"):
        Chart(problem, {"weight": ("w", (2,))}).check()


def test_a_model_that_fails_is_one_sentence() -> None:
    def model() -> None:
        raise ZeroDivisionError("by chance")

    with pytest.raises(ModelError, match=r"^ZeroDivisionError: by chance$"):
        numpyro_side(bare(6, 1, 2, 1), YOURS, model, NAMES)


def test_rows_on_another_scale_are_named() -> None:
    problem = bare(20, 2, 3, 2)
    spec = dataclasses.replace(problem.spec, standardize=True)
    values = 3 + 2 * problem.dataset.values
    scaled = Problem(dataclasses.replace(problem.dataset, spec=spec, values=values), None)
    for enumerated in (True, False):
        _, findings = judged(scaled, "", enumerated)
        assert "on the columns' own scale" in findings[-1]


def test_a_model_without_plates_or_rows_is_understood_or_named() -> None:
    import jax.numpy as jnp
    import numpyro
    import numpyro.distributions as dist

    problem = bare(12, 1, 2, 1)
    values, priors = problem.dataset.values, problem.spec.priors
    names = {"variance": "v", "noise_variance": "s"}

    def model(plated: bool) -> None:
        weight = numpyro.sample("weight", dist.Dirichlet(jnp.full(2, priors.weight.concentration)))
        mean = numpyro.sample("mean", dist.Normal(0, priors.mean.scale).expand([2]).to_event(1))
        b = dist.Normal(0, priors.intercept.scale).expand([2]).to_event(1)
        b = numpyro.sample("intercept", b)
        t = numpyro.sample("slope", dist.Normal(0, priors.slope.scale).expand([2]).to_event(1))
        sd = dist.InverseGamma(priors.sd.shape, priors.sd.scale).expand([2]).to_event(1)
        sd = jnp.sqrt(numpyro.sample("v", sd))
        sigma = dist.InverseGamma(priors.sigma.shape, priors.sigma.scale).expand([2]).to_event(1)
        sigma = jnp.sqrt(numpyro.sample("s", sigma))
        x, y = values[:, [0]], values[:, [2]]
        if plated:
            joint = jnp.log(weight) + dist.Normal(mean, sd).log_prob(x)
            joint += dist.Normal(b + values[:, [1]] * t, sigma).log_prob(y)
            numpyro.factor("rows", jnp.logaddexp(joint[:, 0], joint[:, 1]).sum())
        else:
            z = numpyro.sample("z", dist.Categorical(weight).expand([12]).to_event(1))
            numpyro.sample("x", dist.Normal(mean[z], sd[z]).to_event(1), obs=values[:, 0])
            numpyro.sample("y", dist.Normal(b[z], sigma[z]).to_event(1), obs=values[:, 2])

    whole = numpyro_side(problem, YOURS, lambda: model(True), names)
    sides = [kernel_side(problem), scipy_side(problem), whole]
    differences = Comparison(problem, sides).run(points_of(problem, 10, seed=9))
    assert failures(differences) == []
    assert {d.term for d in differences if YOURS in (d.left, d.right)} == {
        "prior", "likelihood", "total", "gradient",
    }  # fmt: skip
    with pytest.raises(ModelError, match="ValueError: "):
        numpyro_side(problem, YOURS, lambda: model(False), names)


def test_a_model_without_anything_free_is_compared_too() -> None:
    fixed = {"weight": (0.4, 0.6), "mean": (1.0,), "intercept": 0.5, "slope": (2.0,), "sigma": 1.0,
             "covariance": 1.5}  # fmt: skip
    spec = ModelSpec(
        n_clusters=2, features=("a",), predictors=("a",), response="y", standardize=False,
        covariance="fixed", noise="fixed",
        priors=Priors(**{name: Fixed(value=value) for name, value in fixed.items()}),
    )  # fmt: skip
    certificate = jointmix.crosscheck(table(), spec, points=2, posterior=False)
    assert certificate.passed
    assert certificate.dim == 0
    with pytest.raises(SpecError, match="nothing to sample"):
        jointmix.crosscheck(table(), spec, points=2)


def test_numbers_of_points_are_checked() -> None:
    with pytest.raises(SpecError, match="points must be at least 1; got 0"):
        jointmix.crosscheck(table(), STRUCTURES["one feature"], points=0)


@pytest.mark.parametrize("package", ["jax", "numpyro", "funsor"])
def test_a_missing_package_is_named(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=rf"{package}: pip install 'jointmix\[jax\]'\.$"):
        jointmix.crosscheck(table(), STRUCTURES["one feature"])
