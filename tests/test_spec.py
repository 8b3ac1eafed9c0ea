"""A specification cannot be wrong once it exists: each contradiction is refused with its remedy."""

import re

import numpy as np
import pytest

from jointmix.base.errors import SpecError
from jointmix.families.priors.priors import (
    LKJ,
    Dirichlet,
    Fixed,
    Gamma,
    HalfNormal,
    HalfStudentT,
    InverseGamma,
    LogNormal,
    Normal,
    Priors,
    StudentT,
)
from jointmix.model.settings import SamplerSpec
from jointmix.model.spec import ModelSpec

USUAL = {"n_clusters": 2, "features": ["a", "b"], "predictors": ["a", "p"], "response": "y"}

CONTRADICTIONS = {
    "no clusters": ({"n_clusters": 0}, "n_clusters must be a whole number, at least 1; got 0."),
    "half a cluster": ({"n_clusters": 1.5}, "n_clusters must be a whole number, at least 1"),
    "true clusters": ({"n_clusters": True}, "n_clusters must be a whole number, at least 1"),
    "one name": ({"features": "ab"}, "features must be a list of column names; got 'ab'."),
    "a number": ({"features": 3}, "features must be a list of column names; got 3."),
    "numbered": ({"features": [0, 1]}, "features must hold column names as text; got 0."),
    "empty name": ({"predictors": [""]}, "predictors must hold column names as text; got ''."),
    "NUL": ({"features": ["a\0"]}, "features must hold column names as text; got 'a\\x00'."),
    "surrogate": ({"features": ["\ud800"]}, "features must hold column names as text"),
    "twice": ({"features": ["a", "b", "a"]}, "features names the column 'a' more than once."),
    "response a list": ({"response": ["y"]}, "response must be one column name; got ['y']."),
    "nothing": (
        {"features": [], "predictors": [], "response": None},
        "A model needs features, a response, or both; got neither.",
    ),
    "family alone": (
        {"predictors": [], "response": None, "family": "student_t"},
        "family is that of the response; got family='student_t' and response=None.",
    ),
    "df of a normal": (
        {"priors": Priors(df=Gamma(shape=3.0, rate=0.1))},
        "A normal response has no df; leave out its prior, or take another family.",
    ),
    "predictors alone": ({"response": None}, "Predictors need a response; got response=None."),
    "response a feature": (
        {"response": "a"},
        "The response 'a' cannot also be a feature or predictor.",
    ),
    "response a predictor": (
        {"response": "p"},
        "The response 'p' cannot also be a feature or predictor.",
    ),
    "no line": (
        {"predictors": [], "intercept": False},
        "A response needs predictors or an intercept; got neither.",
    ),
    "covariance": (
        {"covariance": "round"},
        "covariance must be one of full, diagonal, spherical, tied, fixed; got 'round'.",
    ),
    "noise": ({"noise": None}, "noise must be one of cluster, shared, fixed; got None."),
    "missing": ({"missing": "skip"}, "missing must be one of error, drop, model; got 'skip'."),
    "intercept": ({"intercept": 1}, "intercept must be true or false; got 1."),
    "standardize": ({"standardize": "no"}, "standardize must be true or false; got 'no'."),
    "priors": ({"priors": {}}, "priors must be a Priors object; got {}."),
    "sampler": ({"sampler": 5}, "sampler must be a SamplerSpec object; got 5."),
    "fixed without value": (
        {"covariance": "fixed"},
        "covariance='fixed' and a Fixed prior of covariance go together; got covariance='fixed' "
        "and the prior None.",
    ),
    "value without fixed": (
        {"priors": Priors(sigma=Fixed(value=1))},
        "noise='fixed' and a Fixed prior of sigma go together; got noise='cluster'",
    ),
    "intercept twice": (
        {"intercept": False, "priors": Priors(intercept=Fixed(value=1))},
        "intercept=False already fixes the intercept; leave out its prior.",
    ),
    "shape of weight": (
        {"priors": Priors(weight=Fixed(value=1))},
        "The fixed weight must have one of the shapes [(2,)]; got ().",
    ),
    "shape of mean": (
        {"priors": Priors(mean=Fixed(value=[1, 2, 3]))},
        "The fixed mean must have one of the shapes [(), (2,), (2, 2)]; got (3,).",
    ),
    "weight zero": (
        {"priors": Priors(weight=Fixed(value=[0, 1]))},
        "Fixed weights must be > 0 and sum to 1; got [0.0, 1.0].",
    ),
    "weight sum": (
        {"priors": Priors(weight=Fixed(value=[0.5, 0.51]))},
        "Fixed weights must be > 0 and sum to 1; got [0.5, 0.51].",
    ),
    "sigma zero": (
        {"noise": "fixed", "priors": Priors(sigma=Fixed(value=[1, 0]))},
        "The fixed sigma must be > 0; got [1.0, 0.0].",
    ),
    "asymmetric": (
        {"covariance": "fixed", "priors": Priors(covariance=Fixed(value=[[1, 0.5], [0, 1]]))},
        "The fixed covariance must be symmetric and positive definite.",
    ),
    "indefinite": (
        {"covariance": "fixed", "priors": Priors(covariance=Fixed(value=[[1, 2], [2, 1]]))},
        "The fixed covariance must be symmetric and positive definite.",
    ),
    "unknown ordering": ({"ordering": "mean[z]"}, "of a column the model has; got 'mean[z]'."),
    "ordering without column": ({"ordering": "slope"}, "a column the model has; got 'slope'."),
    "ordering with a column": ({"ordering": "weight[a]"}, "the model has; got 'weight[a]'."),
    "ordering of no name": ({"ordering": "]["}, "the model has; got ']['."),
    "ordering by no intercept": ({"ordering": "intercept", "intercept": False}, "'intercept'."),
    "ordering of what is told apart": (
        {"ordering": "sigma", "priors": Priors(weight=Fixed(value=[0.4, 0.6]))},
        "Clusters told apart by fixed values have no ordering; use 'none'.",
    ),
}


@pytest.mark.parametrize(("changes", "words"), CONTRADICTIONS.values(), ids=CONTRADICTIONS.keys())
def test_contradictions_are_refused(changes: dict[str, object], words: str) -> None:
    with pytest.raises(SpecError, match=re.escape(words)) as caught:
        ModelSpec(**(USUAL | changes))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"draws": 3}, "draws must be a whole number, at least 4; got 3."),
        ({"tune": 0}, "tune must be a whole number, at least 1; got 0."),
        ({"chains": 2.0}, "chains must be a whole number, at least 1; got 2.0."),
        ({"scouts": -1}, "scouts must be a whole number, at least 0; got -1."),
        ({"cores": 0}, "cores must be a whole number, at least 1; got 0."),
        (
            {"sampler": "stan"},
            "sampler must be one of auto, nutpie, numpyro, blackjax, pymc, independence, laplace",
        ),
        ({"backend": "gpu"}, "backend must be one of auto, kernel, numba, jax; got 'gpu'."),
        ({"adaptation": "dense"}, "adaptation must be one of auto, laplace, low_rank, diag"),
        ({"chain_method": "x"}, "chain_method must be one of vectorized, parallel; got 'x'."),
        (
            {"adaptation": "laplace", "sampler": "pymc"},
            "adaptation='laplace' needs the sampler 'nutpie' on the kernel; got sampler='pymc' "
            "and backend='auto'.",
        ),
        ({"adaptation": "laplace", "backend": "jax"}, "got sampler='auto' and backend='jax'."),
        (
            {"sampler": "pymc", "backend": "jax"},
            "The sampler 'pymc' runs on numba; got backend='jax'.",
        ),
        ({"target_accept": 1}, "target_accept must lie in (0, 1); got 1."),
        ({"target_accept": 0.0}, "target_accept must lie in (0, 1); got 0.0."),
        ({"target_accept": "0.9"}, "target_accept must lie in (0, 1); got '0.9'."),
        ({"target_accept": float("nan")}, "target_accept must lie in (0, 1); got nan."),
    ],
    ids=str,
)
def test_samplers_that_cannot_be_are_refused(options: dict[str, object], words: str) -> None:
    with pytest.raises(SpecError, match=re.escape(words)):
        SamplerSpec(**options)


def test_whole_numbers_of_numpy_become_pythons() -> None:
    spec = ModelSpec(n_clusters=np.int64(3), features=("a",), sampler=SamplerSpec(cores=np.int8(2)))
    assert (type(spec.n_clusters), spec.n_clusters) == (int, 3)
    assert (type(spec.sampler.cores), spec.sampler.cores) == (int, 2)
    assert ModelSpec(n_clusters=1, features=["a"], predictors=None).predictors == ()


POSITIVE = [
    *((Normal, "scale"), (StudentT, "df"), (StudentT, "scale"), (InverseGamma, "shape")),
    *((InverseGamma, "scale"), (HalfNormal, "scale"), (HalfStudentT, "df")),
    *((HalfStudentT, "scale"), (LogNormal, "scale"), (Gamma, "shape"), (Gamma, "rate")),
    *((LKJ, "eta"), (Dirichlet, "concentration")),
]


@pytest.mark.parametrize(("family", "name"), POSITIVE)
@pytest.mark.parametrize("value", [0, -1.0, float("inf"), float("nan"), True, "1", None])
def test_scales_of_priors_are_positive(family: type, name: str, value: object) -> None:
    words = f"{family.__name__} needs {name} > 0 and finite, got {name}={value!r}."
    with pytest.raises(SpecError, match=re.escape(words)):
        family(**{name: value})


@pytest.mark.parametrize("family", [Normal, StudentT, LogNormal])
@pytest.mark.parametrize("value", [float("-inf"), float("nan"), False, "0"])
def test_centres_of_priors_are_finite(family: type, value: object) -> None:
    words = f"{family.__name__} needs a finite loc, got loc={value!r}."
    with pytest.raises(SpecError, match=re.escape(words)):
        family(loc=value)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ([], "Fixed needs finite numbers in a rectangular array, got []."),
        ([1, float("nan")], "Fixed needs finite numbers"),
        (["a"], "Fixed needs finite numbers"),
        (True, "Fixed needs finite numbers"),
        ([[1], [1, 2]], "Fixed needs a rectangular array, got [[1], [1, 2]]."),
    ],
)
def test_known_values_are_rectangular_and_finite(value: object, words: str) -> None:
    with pytest.raises(SpecError, match=re.escape(words)):
        Fixed(value=value)


@pytest.mark.parametrize(
    ("name", "prior", "allowed"),
    [
        ("weight", Normal(), "Dirichlet, Fixed"),
        ("mean", HalfNormal(), "Normal, StudentT, Fixed"),
        ("sd", Fixed(value=1), "InverseGamma, HalfNormal, HalfStudentT, LogNormal, Gamma"),
        ("correlation", None, "LKJ"),
        ("covariance", LKJ(), "Fixed"),
        ("slope", 3.0, "Normal, StudentT, Fixed"),
    ],
)
def test_priors_of_another_family_are_refused(name: str, prior: object, allowed: str) -> None:
    words = f"The prior of {name} must be one of {allowed}; got {prior!r}."
    with pytest.raises(SpecError, match=re.escape(words)):
        Priors(**{name: prior})


def test_a_fixed_covariance_takes_its_whole_shape() -> None:
    def of(value: object) -> np.ndarray:
        priors = Priors(covariance=Fixed(value=value))
        return ModelSpec(**(USUAL | {"covariance": "fixed", "priors": priors})).fixed_covariance()

    np.testing.assert_array_equal(of(3), [3 * np.eye(2)] * 2)
    np.testing.assert_array_equal(of([3, 5]), [np.diag([3, 5])] * 2)
    np.testing.assert_array_equal(of([[3, 1], [1, 5]]), [[[3, 1], [1, 5]]] * 2)
    each = [[[3, 1], [1, 5]], [[1, 0], [0, 2]]]
    np.testing.assert_array_equal(of(each), each)
    with pytest.raises(SpecError, match="The model has no fixed covariance"):
        ModelSpec(**USUAL).fixed_covariance()


@pytest.mark.parametrize(
    ("priors", "exchangeable"),
    [
        (Priors(), True),
        (Priors(weight=Fixed(value=[0.5, 0.5])), True),
        (Priors(weight=Fixed(value=[0.4, 0.6])), False),
        (Priors(mean=Fixed(value=[1, 2])), True),
        (Priors(mean=Fixed(value=[[1, 2], [1, 2]])), True),
        (Priors(mean=Fixed(value=[[1, 2], [1, 3]])), False),
        (Priors(slope=Fixed(value=[[0, 0], [0, 1]])), False),
    ],
)
def test_clusters_are_exchangeable_unless_fixed_values_differ(
    priors: Priors, exchangeable: bool
) -> None:
    assert ModelSpec(**USUAL, priors=priors).exchangeable is exchangeable
    assert ModelSpec(n_clusters=1, features=["a"]).exchangeable


def test_columns_come_once_each_features_first() -> None:
    assert ModelSpec(**USUAL).columns == ("a", "b", "p", "y")
    assert ModelSpec(n_clusters=1, features=["b", "a"]).columns == ("b", "a")
