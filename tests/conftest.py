"""One table, one specification for every structure, and the real fits that tests share."""

import gc
import os
import shutil
import tempfile
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pymc as pm
import pytensor
import pytest
import xarray as xr
from hypothesis import settings

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
from jointmix.fitting.workflow import fit
from jointmix.kernel.fused import build_model
from jointmix.model.dataset import Dataset, make_dataset
from jointmix.model.location import coordinates
from jointmix.model.settings import SamplerSpec
from jointmix.model.simulate import four_clusters, simulate
from jointmix.model.spec import ModelSpec

# The same examples in every run, so that a change alone can break a test; compiled code and a busy
# machine make times meaningless. `--hypothesis-profile thorough` looks further.
settings.register_profile("usual", deadline=None, derandomize=True)
settings.register_profile("thorough", deadline=None, max_examples=1000)
settings.load_profile("usual")
# Where a variable was made is looked up in the sources for each of a graph, a tenth of its making.
pytensor.config.traceback__limit = 0

#: More tables, seeds or structures of what a test has without it.
more = pytest.mark.thorough


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--thorough", action="store_true",
        help="statistical tests over all tables, seeds and structures that the README speaks of",
    )  # fmt: skip


def pytest_collection_finish() -> None:
    """Look for garbage less often: graphs of PyTensor and JAX are many objects that stay."""
    gc.set_threshold(50_000, 20, 100)
    gc.collect()
    gc.freeze()


def pytest_configure(config: pytest.Config) -> None:
    # What loops over tables asks while it is collected; see `how_many`.
    os.environ[_THOROUGH] = str(int(config.getoption("--thorough")))
    if "PYTEST_XDIST_WORKER" in os.environ or _PROGRAMS in os.environ:
        return
    # What JAX compiles for one test another, of whatever worker, need not compile again.
    folder = tempfile.mkdtemp(prefix="jax_programs_")
    os.environ |= {_PROGRAMS: folder, "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--thorough"):
        left_out = [item for item in items if item.get_closest_marker("thorough")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not item.get_closest_marker("thorough")]


_PROGRAMS = "JAX_COMPILATION_CACHE_DIR"
_THOROUGH = "JOINTMIX_TESTS_THOROUGH"


def how_many(usually: int, thoroughly: int) -> int:
    """Tables, or seeds, of a test: `thoroughly` with --thorough."""
    return thoroughly if os.environ[_THOROUGH] == "1" else usually


@pytest.fixture
def little_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cross-checks without PyMC on Numba, which takes a minute or two to compile a family.

    Some structures and families are checked with it on every run; with --thorough all are.
    """
    if how_many(0, 1):
        return
    from jointmix.validation.agreement import implementations

    own = implementations.pymc_side

    def cheap(problem: Any, linker: str) -> Any:
        return None if linker == "numba" else own(problem, linker)

    monkeypatch.setattr(implementations, "pymc_side", cheap)


#: Parameters and the dims they have besides chain, draw and cluster (or component).
PARAMETERS: dict[str, tuple[str, ...]] = {
    "weight": (),
    "mean": ("feature",),
    "sd": ("feature",),
    "correlation": ("feature", "feature_bis"),
    "intercept": (),
    "slope": ("predictor",),
    "sigma": (),
}

PENGUIN_FEATURES = ("bill_length_mm", "bill_depth_mm", "flipper_length_mm")

_MATRIX = ((2.0, 0.6), (0.6, 1.0))
_OTHER_MATRIX = ((1.0, -0.3), (-0.3, 4.0))
_SLOPES = ((1.0, -2.0), (0.5, 3.0))


def _spec(n_clusters: int, features: str, predictors: str, **options: Any) -> ModelSpec:
    """Features and predictors are one letter each; the response is y unless it is given."""
    options = {"response": "y"} | options
    return ModelSpec(
        n_clusters=n_clusters, features=tuple(features), predictors=tuple(predictors), **options
    )


#: Every structure the model can have: clusters, roles, covariances, noises, fixed parts, priors.
STRUCTURES: dict[str, ModelSpec] = {
    "one cluster": _spec(1, "ab", "ab"),
    "one cluster, one feature": _spec(1, "a", "a"),
    "one cluster, other predictors": _spec(1, "ab", "pq"),
    "one cluster, no features": _spec(1, "", "pq"),
    "one cluster, no response": _spec(1, "abc", "", response=None),
    "one cluster, shared and tied": _spec(1, "ab", "a", covariance="tied", noise="shared"),
    "one feature": _spec(2, "a", "a"),
    "predictors in another order": _spec(2, "ab", "ba"),
    "four clusters, overlapping": _spec(4, "abc", "pa"),
    "four features": _spec(2, "abcd", "dpb", priors=Priors(correlation=LKJ(eta=2.5))),
    "disjoint": _spec(2, "ab", "pq"),
    "no predictors": _spec(2, "ab", ""),
    "no response": _spec(4, "ab", "", response=None),
    "no features": _spec(2, "", "pq"),
    "only a response": _spec(2, "", ""),
    "diagonal": _spec(2, "abc", "ab", covariance="diagonal"),
    "spherical": _spec(2, "abc", "ab", covariance="spherical"),
    "tied": _spec(2, "abc", "ap", covariance="tied"),
    "tied, one feature": _spec(2, "a", "a", covariance="tied"),
    "fixed covariance, scalar": _spec(
        2, "ab", "ab", covariance="fixed", priors=Priors(covariance=Fixed(value=1.5))
    ),
    "fixed covariance, vector": _spec(
        2, "ab", "a", covariance="fixed", priors=Priors(covariance=Fixed(value=(1.5, 0.5)))
    ),
    "fixed covariance, matrix": _spec(
        2, "ab", "pa", covariance="fixed", priors=Priors(covariance=Fixed(value=_MATRIX))
    ),
    "fixed covariance, per cluster": _spec(
        2,
        "ab",
        "ab",
        covariance="fixed",
        priors=Priors(covariance=Fixed(value=(_MATRIX, _OTHER_MATRIX))),
    ),
    "shared noise": _spec(4, "ab", "ab", noise="shared"),
    "fixed noise": _spec(2, "ab", "ab", noise="fixed", priors=Priors(sigma=Fixed(value=0.7))),
    "fixed noise, per cluster": _spec(
        2, "a", "ap", noise="fixed", priors=Priors(sigma=Fixed(value=(0.5, 1.5)))
    ),
    "no intercept": _spec(2, "ab", "pa", intercept=False),
    "no intercept, one cluster": _spec(1, "ab", "ab", intercept=False),
    "fixed intercept": _spec(2, "ab", "ab", priors=Priors(intercept=Fixed(value=3.0))),
    "fixed intercept, per cluster": _spec(
        2, "a", "a", priors=Priors(intercept=Fixed(value=(1.0, 3.0)))
    ),
    "fixed mean": _spec(2, "ab", "ab", priors=Priors(mean=Fixed(value=(4.0, -1.0)))),
    "fixed mean, per cluster": _spec(
        2, "ab", "b", priors=Priors(mean=Fixed(value=((4.0, -1.0), (6.0, 0.0))))
    ),
    "fixed slope": _spec(2, "ab", "pq", priors=Priors(slope=Fixed(value=(1.0, -0.5)))),
    "fixed slope, per cluster": _spec(2, "ab", "ab", priors=Priors(slope=Fixed(value=_SLOPES))),
    "fixed weight": _spec(2, "ab", "ab", priors=Priors(weight=Fixed(value=(0.3, 0.7)))),
    "all locations fixed": _spec(
        2,
        "ab",
        "ab",
        priors=Priors(
            mean=Fixed(value=(4.0, -1.0)),
            slope=Fixed(value=(1.0, 2.0)),
            intercept=Fixed(value=0.5),
        ),
    ),
    "Student-t": _spec(
        2,
        "ab",
        "ab",
        priors=Priors(
            mean=StudentT(df=5, loc=0.2, scale=2),
            intercept=StudentT(df=5, scale=1.5),
            slope=StudentT(df=5, loc=-0.3, scale=3),
        ),
    ),
    "mixed location priors": _spec(
        2,
        "ab",
        "ab",
        priors=Priors(
            mean=Normal(loc=0.4, scale=1.2),
            intercept=StudentT(df=3, loc=0.1, scale=2),
            slope=StudentT(df=7, loc=0.5, scale=0.8),
            weight=Dirichlet(concentration=0.7),
        ),
    ),
    "half-normal": _spec(
        2, "ab", "ab", priors=Priors(sd=HalfNormal(scale=0.8), sigma=HalfNormal(scale=1.3))
    ),
    "half-t": _spec(
        2,
        "ab",
        "ab",
        priors=Priors(sd=HalfStudentT(df=3, scale=0.8), sigma=HalfStudentT(df=1, scale=1.3)),
    ),
    "log-normal": _spec(
        2,
        "ab",
        "ab",
        priors=Priors(sd=LogNormal(loc=-0.5, scale=0.7), sigma=LogNormal(loc=0.1, scale=1.2)),
    ),
    "gamma": _spec(
        2, "ab", "ab", priors=Priors(sd=Gamma(shape=3, rate=2), sigma=Gamma(shape=1.5, rate=4))
    ),
    "inverse gamma": _spec(
        2,
        "ab",
        "ab",
        priors=Priors(sd=InverseGamma(shape=3, scale=2), sigma=InverseGamma(shape=2, scale=0.3)),
    ),
    "on the users' scale": _spec(2, "ab", "pa", standardize=False),
    "on the users' scale, spherical": _spec(
        2, "ab", "ab", standardize=False, covariance="spherical", intercept=False
    ),
}


def structures(*usual: str) -> list[Any]:
    """All structures as parameters of a test, slow but for the ``usual`` ones."""
    return [
        name if name in usual else pytest.param(name, marks=pytest.mark.slow) for name in STRUCTURES
    ]


def table(n: int = 40, seed: int = 5) -> pd.DataFrame:
    """Two clusters in columns with units of their own: features a-d, predictors p and q, y."""
    rng = np.random.default_rng(seed)
    z = rng.integers(0, 2, n)
    columns = {
        "a": 5 + 2 * z + 0.8 * rng.normal(size=n),
        "b": -0.5 - 1.5 * z + 0.6 * rng.normal(size=n),
        "c": 30 + 20 * z + 9 * rng.normal(size=n),
        "d": 0.02 * z + 0.01 * rng.normal(size=n),
        "p": 2 + 3 * rng.normal(size=n),
        "q": 0.4 * rng.normal(size=n) - 1,
    }
    slope = np.where(z == 0, 1.0, -0.5)
    noise = 0.6 * rng.normal(size=n)
    columns["y"] = 3 - 2 * z + slope * columns["a"] + 0.5 * columns["p"] - columns["q"] + noise
    return pd.DataFrame(columns)


def direction_of(spec: ModelSpec) -> np.ndarray | None:
    """A direction with all coordinates different from zero, where the model can be ordered."""
    size = len(coordinates(spec))
    if size == 0 or spec.n_clusters == 1 or not spec.exchangeable:
        return None
    direction = np.cos(1 + np.arange(size))
    return direction / np.linalg.norm(direction)


@cache
def built(name: str) -> tuple[Dataset, pm.Model]:
    """The table as a structure's dataset, and its model, ordered where it can be."""
    spec = STRUCTURES[name]
    dataset = make_dataset(table(), spec)
    return dataset, build_model(dataset, spec, direction_of(spec))


@pytest.fixture(scope="session")
def penguins() -> pd.DataFrame:
    """The penguins whose four measurements are known."""
    from palmerpenguins import load_penguins

    return load_penguins().dropna(subset=[*PENGUIN_FEATURES, "body_mass_g"])


@pytest.fixture(scope="session")
def penguin_spec() -> ModelSpec:
    """Three clusters of bills and flippers, body mass regressed on them."""
    return ModelSpec(
        n_clusters=3,
        features=PENGUIN_FEATURES,
        predictors=PENGUIN_FEATURES,
        response="body_mass_g",
        sampler=SamplerSpec(sampler="nutpie", draws=300, tune=300),
    )


@pytest.fixture(scope="session")
def _penguin_fit(penguins: pd.DataFrame, penguin_spec: ModelSpec) -> xr.DataTree:
    return fit(penguins, penguin_spec, seed=1)


@pytest.fixture
def penguin_fit(_penguin_fit: xr.DataTree) -> xr.DataTree:
    """A real fit of the penguins; a copy, so that a test may change it."""
    return _penguin_fit.copy(deep=True)


@pytest.fixture(scope="session")
def _four_cluster_fit() -> xr.DataTree:
    truth = four_clusters()
    spec = ModelSpec(
        n_clusters=4,
        features=truth.features,
        predictors=truth.predictors,
        response=truth.response,
        sampler=SamplerSpec(draws=300, tune=300),
    )
    return fit(simulate(truth, 400, seed=3), spec, seed=3)


@pytest.fixture
def four_cluster_fit(_four_cluster_fit: xr.DataTree) -> xr.DataTree:
    """A real fit of 400 rows of the four-cluster example; a copy."""
    return _four_cluster_fit.copy(deep=True)
