"""Levels and counts as features: implementations agree, and mistakes with them are named."""

import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from conftest import direction_of, more
from scipy.stats import dirichlet, lognorm, norm, poisson
from test_agreement import failures, points_of, without_numba

import jointmix as jm
from jointmix.base.errors import SpecError
from jointmix.families.priors.priors import Dirichlet, LogNormal, Priors
from jointmix.kernel.problem import free_parameters
from jointmix.model.dataset import Dataset, make_dataset
from jointmix.model.graph import mixture_model
from jointmix.validation.agreement.comparison import Comparison, Difference
from jointmix.validation.agreement.implementations import YOURS, explain
from jointmix.validation.agreement.numpyro_side import numpyro_side
from jointmix.validation.agreement.plain_sides import kernel_side, numpy_side, scipy_side
from jointmix.validation.agreement.problem import Problem, random_points
from jointmix.validation.agreement.sites import unconstrained
from jointmix.validation.agreement.structure import inspect
from jointmix.validation.twin import Form, build_twin, twin_log_density

pytest.importorskip("funsor")

LEVELS = ("high", "low", "mid")
FEATURES = {"a": "normal", "word": "categorical", "smokes": "bernoulli", "visits": "poisson"}
PRIORS = Priors(probability=Dirichlet(concentration=1.7), rate=LogNormal(loc=0.4, scale=0.8))


def table_of(n: int = 60) -> pd.DataFrame:
    rng = np.random.default_rng(7)
    z = rng.integers(3, size=n)
    a = rng.normal(size=n) + z
    return pd.DataFrame(
        {"a": a, "word": np.array(LEVELS)[np.where(rng.random(n) < 0.7, z, 2)],
         "smokes": rng.random(n) < 0.3 + 0.2 * z, "visits": rng.poisson(1.0 + 2 * z),
         "y": a + 0.5 * rng.normal(size=n)}
    )  # fmt: skip


def problem_of(ordered: bool = False, n: int = 60, **options: object) -> Problem:
    given: dict = {"n_clusters": 3, "features": FEATURES, "predictors": ["a"], "response": "y",
                   "priors": PRIORS, "standardize": False, **options}  # fmt: skip
    dataset = make_dataset(table_of(n), jm.ModelSpec(**given))
    return Problem(dataset, direction_of(dataset.spec) if ordered else None)


#: What models have beside levels and counts.
STRUCTURES: dict[str, dict] = {
    "everything": {"standardize": True},
    "everything, by PyMC too": {"covariance": "tied"},
    "levels and counts alone": {
        "features": {"word": "categorical", "visits": "poisson"},
        "predictors": [], "response": None,
    },
    "one cluster": {"n_clusters": 1},
    "counts about a line": {"features": {"visits": "poisson"}},
    "counts about a link": {"features": {"visits": "poisson"}, "response": "smokes_0",
                            "family": "bernoulli"},
}  # fmt: skip


#: Those with terms, or terms in places, that no other has.
OWN = ("everything, by PyMC too",)
ALIKE = [pytest.mark.slow, more]


def dataset_of(name: str) -> Dataset:
    given: dict = {"n_clusters": 3, "features": FEATURES, "predictors": ["a"], "response": "y",
                   "priors": PRIORS, **STRUCTURES[name]}  # fmt: skip
    if "word" not in given["features"]:
        # No feature has levels.
        given["priors"] = replace(PRIORS, probability=jm.Priors().probability)
    table = table_of()
    return make_dataset(table.assign(smokes_0=table["smokes"] * 1.0), jm.ModelSpec(**given))


@pytest.mark.parametrize("name", STRUCTURES)
def test_free_values_stand_in_the_order_of_pymc(name: str) -> None:
    dataset = dataset_of(name)
    variables = mixture_model(dataset, None).free_RVs
    assert [each.name for each in free_parameters(dataset.spec)] == [v.name for v in variables]


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if i == 0 else [pytest.mark.slow] if name in OWN else ALIKE)
        for i, name in enumerate(STRUCTURES)
    ],
)
def test_all_implementations_agree_at_random_and_extreme_points(name: str) -> None:
    dataset = dataset_of(name)
    problem = Problem(dataset, direction_of(dataset.spec) if "everything" in name else None)
    # Users' models below are enumerated too; JAX takes a minute to compile PyMC's.
    usual = name == "everything"
    forms: tuple[Form, ...] = ("marginal",) if usual else ("marginal", "enumerated")
    comparison = Comparison(problem, without_numba(problem, forms, pymc=not usual))
    differences = comparison.run(points_of(problem, 150, seed=11))
    assert failures(differences) == []
    own = {f"x[{one.column}]" for one in dataset.spec.discrete}
    assert own | {"prior", "gradient", "rows", "features"} <= {item.term for item in differences}


def test_densities_are_those_of_scipy_at_given_parameters() -> None:
    problem = problem_of(n_clusters=2, features={k: FEATURES[k] for k in ("a", "word", "visits")})
    p = np.array([[0.2, 0.5, 0.3], [0.6, 0.3, 0.1]])
    rate, weight, mean, sd = np.array([1.5, 4.0]), np.array([0.4, 0.6]), [[0.0], [1.0]], [[1.0]] * 2
    values = {
        "weight": weight, "mean": np.array(mean), "sd": np.array(sd),
        "correlation": np.ones((2, 1, 1)), "intercept": np.zeros(2), "slope": np.ones((2, 1)),
        "sigma": np.array([0.5, 0.7]), "probability_word": p, "rate_visits": rate,
    }  # fmt: skip
    table = table_of()
    codes = np.array([LEVELS.index(word) for word in table["word"]])
    word, visits = np.log(p.T[codes]), poisson.logpmf(table["visits"].to_numpy()[:, None], rate)
    x = norm.logpdf(table["a"].to_numpy()[:, None], [0.0, 1.0], 1.0)
    for form in ("marginal", "enumerated"):
        found = twin_log_density(problem.dataset, problem.spec, values, form)
        np.testing.assert_allclose(found["x[word]"], word, rtol=1e-13)
        np.testing.assert_allclose(found["x[visits]"], visits, rtol=1e-13)
        np.testing.assert_allclose(found["features"], x + word + visits, rtol=1e-13)
    # The priors of p and of the rate alone change where these do.
    other = values | {"probability_word": p[::-1, ::-1], "rate_visits": rate * 2}
    moved = twin_log_density(problem.dataset, problem.spec, other)["prior"]
    right = sum(
        sign
        * (sum(dirichlet.logpdf(own, [1.7] * 3) for own in given["probability_word"])
           + lognorm.logpdf(given["rate_visits"], 0.8, scale=np.exp(0.4)).sum())
        for sign, given in ((1, values), (-1, other))
    )  # fmt: skip
    own = twin_log_density(problem.dataset, problem.spec, values)["prior"] - moved
    np.testing.assert_allclose(own, right, rtol=1e-12)
    with pytest.raises(SpecError, match="sum of probability_word"):
        twin_log_density(problem.dataset, problem.spec, values | {"probability_word": p * 2})


#: Mistake → what is said of it, and the term in which it shows in a model with sites.
MISTAKES = {
    "levels": (r"levels of word are in another order: .*\[2, 1, 0\]", "x[word]"),
    "missing": (r"term of x\[visits\] is missing", "features"),
    "components": (r"expected visits belongs to other components", "x[visits]"),
    "factorial": (r"log n! is missing from the term of visits", "x[visits]"),
    "concentration": (r"of each level of word has .*concentration, 1 for 1\.7", "prior"),
    "rate prior": (r"expected visits has twice the scale, 1\.6 for 0\.8", "prior"),
    "twice": (r"The term of x\[word\] counts twice", "x[word]"),
    "beta": (r"probability of each level of smokes has .*concentration", "prior"),
}  # fmt: skip


def users_model(problem: Problem, mistake: str, enumerated: bool) -> Callable[[], None]:
    """The model on the columns' own scale, smokers by a Bernoulli variable with a beta prior."""
    import jax.numpy as jnp
    import numpyro
    import numpyro.distributions as dist
    from jax.scipy.special import gammaln, logsumexp

    table, priors, k = table_of(len(problem.rows.y)), problem.spec.priors, 3
    code = np.array([LEVELS.index(word) for word in table["word"]])
    a, y, smokes, visits = (table[name].to_numpy(float) for name in ("a", "y", "smokes", "visits"))
    concentration = 1.0 if mistake == "concentration" else 1.7

    def parameters() -> dict:
        weight = numpyro.sample("weight", dist.Dirichlet(jnp.full(k, priors.weight.concentration)))
        with numpyro.plate("components", k):
            mean = numpyro.sample("mean", dist.Normal(0, priors.mean.scale))
            variance = numpyro.sample(
                "variance", dist.InverseGamma(priors.sd.shape, priors.sd.scale)
            )
            intercept = numpyro.sample("intercept", dist.Normal(0, priors.intercept.scale))
            slope = numpyro.sample("slope", dist.Normal(0, priors.slope.scale))
            noise = numpyro.sample(
                "noise", dist.InverseGamma(priors.sigma.shape, priors.sigma.scale)
            )
            p = numpyro.sample("p", dist.Dirichlet(jnp.full(3, concentration)))
            beta = dist.Beta(1.0, 1.0) if mistake == "beta" else dist.Beta(1.7, 1.7)
            smoker = numpyro.sample("smoker", beta)
            scale = 1.6 if mistake == "rate prior" else 0.8
            rate = numpyro.sample("rate", dist.LogNormal(0.4, scale))
        if mistake == "levels":
            p = p[:, ::-1]
        if mistake == "components":
            rate = jnp.roll(rate, 1)
        return {
            "weight": weight, "mean": mean, "sd": jnp.sqrt(variance), "b": intercept,
            "slope": slope, "sigma": jnp.sqrt(noise), "p": p, "smoker": smoker, "rate": rate,
        }  # fmt: skip

    def sites(own: dict, shape: Callable) -> dict:
        found = {
            "obs_a": (dist.Normal(own["mean"], own["sd"]), a),
            "obs_word": (dist.Categorical(own["p"]), code),
            "obs_smokes": (dist.Bernoulli(own["smoker"]), smokes),
            "obs_visits": (dist.Poisson(own["rate"]), visits),
            "obs_y": (dist.Normal(own["b"] + own["slope"] * shape(a), own["sigma"]), y),
        }
        return {site: own for site, own in found.items()
                if (mistake, site) != ("missing", "obs_visits")}  # fmt: skip

    def with_sites() -> None:
        own = parameters()
        with numpyro.plate("data", len(y)):
            z = numpyro.sample(
                "z", dist.Categorical(own["weight"]), infer={"enumerate": "parallel"}
            )
            mine = {name: value[z] for name, value in own.items()}
            for site, (family, value) in sites(mine, lambda column: column).items():
                twice = 2.0 if (mistake, site) == ("twice", "obs_word") else 1.0
                with numpyro.handlers.scale(scale=twice):
                    numpyro.sample(site, family, obs=value)

    def summed() -> None:
        own = parameters()
        terms = {
            site: family.log_prob(value[:, None])
            for site, (family, value) in sites(own, lambda column: column[:, None]).items()
        }
        if mistake == "twice":
            terms["obs_word"] = 2 * terms["obs_word"]
        if mistake == "factorial":
            terms["obs_visits"] = terms["obs_visits"] + gammaln(visits + 1)[:, None]
        numpyro.factor("rows", logsumexp(jnp.log(own["weight"]) + sum(terms.values()), axis=1))

    return with_sites if enumerated else summed


def names_of(mistake: str, enumerated: bool) -> dict[str, str]:
    names = {
        "noise_variance": "noise", "rate_visits": "rate", "probability_word": "p",
        "probability_smokes[True]": "smoker",
    }  # fmt: skip
    if enumerated:
        names |= {"x[a]": "obs_a", "x[word]": "obs_word", "x[smokes]": "obs_smokes", "y": "obs_y"}
        names |= {} if mistake == "missing" else {"x[visits]": "obs_visits"}
    return names


def judged(mistake: str, enumerated: bool) -> tuple[list[Difference], list[str]]:
    problem = problem_of(n=20)
    model, names = users_model(problem, mistake, enumerated), names_of(mistake, enumerated)
    sides = [kernel_side(problem), numpy_side(problem), scipy_side(problem)]
    # A mistake shows in the density, whose gradient would take half the time.
    sides.append(numpyro_side(problem, YOURS, model, names, gradient=not mistake))
    q = random_points(problem, np.zeros(problem.dim), 12, seed=5)
    differences = Comparison(problem, sides).run(q)
    return differences, explain(problem, sides, differences, q[:6])


@pytest.mark.parametrize("enumerated", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_right_model_of_a_user_agrees(enumerated: bool) -> None:
    differences, findings = judged("", enumerated)
    assert failures(differences) == []
    assert findings == []
    terms = {item.term for item in differences if YOURS in (item.left, item.right)}
    assert not enumerated or {"x[word]", "x[smokes]", "x[visits]"} <= terms


@pytest.mark.parametrize(
    ("mistake", "enumerated"),
    [("levels", False), ("missing", True),
     *(pytest.param(name, told, marks=ALIKE if told else [pytest.mark.slow])
       for name in MISTAKES for told in (0, 1)
       if (name, told) not in (("levels", 0), ("missing", 1), ("factorial", 1)))],
)  # fmt: skip
def test_a_mistake_is_caught_and_named(mistake: str, enumerated: bool) -> None:
    words, term = MISTAKES[mistake]
    differences, findings = judged(mistake, enumerated)
    failed = {item.term for item in failures(differences)}
    assert (term if enumerated or term == "prior" else "rows") in failed
    text = " ".join(findings)
    assert re.search(words, text), findings
    assert len(findings) == 2


def test_draws_come_back_as_unconstrained_values() -> None:
    """Of a simplex, and of the share of one of two levels."""
    problem = problem_of(n=20)
    structure = inspect(problem, users_model(problem, "", True), names_of("", True))
    q = random_points(problem, np.zeros(problem.dim), 5, seed=8)
    values = [structure.chart.values(point) for point in q]
    samples = {site: np.stack([np.asarray(one[site]) for one in values]) for site in values[0]}
    np.testing.assert_allclose(unconstrained(structure.chart, samples), q, rtol=1e-12, atol=1e-12)


def test_a_feature_without_a_site_is_asked_for() -> None:
    problem = problem_of(n=20)
    names = {own: site for own, site in names_of("", True).items() if own != "x[word]"}
    with pytest.raises(SpecError, match=re.escape("which observed site holds x[word]")):
        inspect(problem, users_model(problem, "", True), names)


def test_the_package_s_own_names_need_no_map() -> None:
    problem = problem_of(n=20)
    structure = inspect(problem, build_twin(problem.dataset, problem.spec, "enumerated"))
    held = {"x": "x", "x[word]": "x[word]", "x[smokes]": "x[smokes]", "x[visits]": "x[visits]"}
    assert structure.rows.held == held | {"y": "y"}
    assert structure.rows.beside == ()
