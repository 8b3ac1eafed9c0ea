"""PyMC's and NumPyro's posteriors agree on data sets of several structures."""

from typing import Any

import numpy as np
import pytest
from conftest import more

import jointmix as jm
from jointmix.fitting.clock import Clock
from jointmix.fitting.stages import prepare
from jointmix.model.simulate import simulate
from jointmix.validation.agreement import use_double_precision
from jointmix.validation.agreement.both import sample_both
from jointmix.validation.agreement.certificate import PosteriorAgreement
from jointmix.validation.agreement.problem import Problem

pytest.importorskip("funsor")
# On every run test_certificate compares the two posteriors of one table.
pytestmark = [pytest.mark.slow, more]

#: Clusters, features and rows of each data set, and what its model has besides.
CASES: dict[str, tuple[int, int, int, dict[str, Any]]] = {
    "two clusters, Student-t": (2, 1, 150, {"family": "student_t"}),
    "four clusters": (4, 2, 300, {}),
    "tied, shared noise": (3, 2, 240, {"covariance": "tied", "noise": "shared"}),
    "spherical, half-t": (
        2, 3, 200,
        {"covariance": "spherical", "priors": jm.Priors(sigma=jm.HalfStudentT(df=3, scale=1.0))},
    ),
    "one cluster": (1, 3, 120, {}),
}  # fmt: skip

#: Of each of four chains.
DRAWS = 500


def compared(name: str, seed: int) -> PosteriorAgreement:
    """Both posteriors of a data set; what their densities are is tested for every structure."""
    k, d, n, options = CASES[name]
    truth = jm.four_clusters(k, d)
    sampler = jm.SamplerSpec(draws=DRAWS, tune=DRAWS, chains=4)
    columns = {
        "features": truth.features, "predictors": truth.predictors, "response": truth.response,
    }  # fmt: skip
    spec = jm.ModelSpec(n_clusters=k, sampler=sampler, **(columns | options))
    prepared = prepare(simulate(truth, n, seed), spec, seed, Clock(None))
    problem = Problem(prepared.dataset, prepared.start.direction)
    return sample_both(prepared, None, problem, None, None, None, seed, lambda *_: None)


def test_both_posteriors_agree() -> None:
    use_double_precision()
    rms = []
    for seed, name in enumerate(CASES, start=21):
        found = compared(name, seed)
        # One certificate in a hundred exceeds its bound by chance, given exact errors.
        assert found.agrees, (name, found)
        assert [run.draws for run in found.runs] == [4 * DRAWS, 4 * DRAWS]
        assert all(run.ess_per_second > 0 for run in found.runs)
        rms.append(found.rms)
    # Four summaries of some 100 parameters: a standard error of 0.06; of some 50, of 0.09.
    assert 0.7 < float(np.sqrt(np.mean(np.square(rms)))) < 1.3
