"""Draws from priors: each family against SciPy, whole models against PyMC's own draws."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pymc as pm
import pytest
from conftest import STRUCTURES, table
from pytensor.compile.mode import Mode
from scipy import stats

from jointmix.families.priors.drawing import drawn
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
from jointmix.kernel.fused import build_model
from jointmix.model.dataset import make_dataset
from jointmix.model.prior_draws import prior_draws

SAVED = Path(__file__).parent / "saved" / "response.nc"
#: A false alarm of one comparison in a million.
ALARM = 1e-6
FAMILIES = [
    (Normal(loc=1.0, scale=0.5), stats.norm(1.0, 0.5)),
    (StudentT(df=3.0, loc=-1.0, scale=2.0), stats.t(3.0, -1.0, 2.0)),
    (InverseGamma(shape=3.0, scale=0.2), stats.invgamma(3.0, scale=0.2)),
    (HalfNormal(scale=0.7), stats.halfnorm(scale=0.7)),
    (HalfStudentT(df=2.0, scale=0.3), stats.foldcauchy),
    (LogNormal(loc=-0.5, scale=0.4), stats.lognorm(0.4, scale=np.exp(-0.5))),
    (Gamma(shape=2.5, rate=4.0), stats.gamma(2.5, scale=0.25)),
]


@pytest.mark.parametrize(("prior", "known"), FAMILIES, ids=lambda one: type(one).__name__)
def test_single_values_are_scipys(prior: object, known: object) -> None:
    found = drawn(prior, (400, 5), np.random.default_rng(3))
    assert found.shape == (400, 5)
    if isinstance(prior, HalfStudentT):
        # |t| ≤ x as often as −x ≤ t ≤ x.
        at = stats.t(prior.df, scale=prior.scale).cdf
        assert stats.kstest(found.ravel(), lambda x: 2 * at(x) - 1).pvalue > ALARM
    else:
        assert stats.kstest(found.ravel(), known.cdf).pvalue > ALARM
    np.testing.assert_array_equal(found, drawn(prior, (400, 5), np.random.default_rng(3)))


def test_weights_are_beta_one_by_one() -> None:
    found = drawn(Dirichlet(concentration=0.8), (600, 2, 4), np.random.default_rng(1))
    np.testing.assert_allclose(found.sum(-1), 1, rtol=1e-14)
    for level in range(4):
        values = found[..., level].ravel()
        assert stats.kstest(values, stats.beta(0.8, 2.4).cdf).pvalue > ALARM


@pytest.mark.parametrize(("eta", "size"), [(1.0, 2), (2.5, 4)])
def test_correlations_have_the_marginals_and_the_determinant_of_lkj(eta: float, size: int) -> None:
    found = drawn(LKJ(eta=eta), (1500, size, size), np.random.default_rng(2))
    np.testing.assert_array_equal(np.diagonal(found, axis1=1, axis2=2), 1.0)
    np.testing.assert_array_equal(found, np.swapaxes(found, 1, 2))
    # Every entry alike: (1 + r)/2 ~ Beta(a, a), a = η + D/2 − 1 (Lewandowski et al. 2009).
    a = eta + size / 2 - 1
    for i, j in zip(*np.tril_indices(size, -1), strict=True):
        assert stats.kstest((1 + found[:, i, j]) / 2, stats.beta(a, a).cdf).pvalue > ALARM
    # det R = ∏_j ∏_i (1 − p_ij²), of independent 1 − p² with E = 2a_j / (2a_j + 1).
    column = np.tril_indices(size, -1)[1]
    of_pair = eta + (size - 2 - column) / 2
    det = np.linalg.det(found)
    mcse = det.std() / np.sqrt(len(det))
    assert abs(det.mean() - np.prod(2 * of_pair / (2 * of_pair + 1))) < 5 * mcse


def test_what_has_no_distribution_is_refused() -> None:
    with pytest.raises(TypeError, match="no prior"):
        drawn(Fixed(value=1.0), (2,), np.random.default_rng(1))


MODELS = {
    **STRUCTURES,
    "student_t": replace(STRUCTURES["shared noise"], family="student_t"),
    "t priors": replace(
        STRUCTURES["disjoint"],
        priors=Priors(slope=StudentT(df=5.0), sd=HalfStudentT(), sigma=LogNormal()),
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_models_are_drawn_as_pymc_draws_them(name: str) -> None:
    dataset = make_dataset(table(), MODELS[name])
    found = prior_draws(dataset, 400, 5)
    spec, model = dataset.spec, build_model(dataset, dataset.spec)
    # Compiling would take longer than drawing.
    plain = Mode(linker="py", optimizer="fast_compile")
    known = pm.draw([model[each] for each in spec.parameters], 400, random_seed=1, mode=plain)
    assert list(found) == list(spec.parameters)
    for parameter, expected in zip(spec.parameters, known, strict=True):
        values = found[parameter]
        assert values.shape == expected.shape, parameter
        for entry in np.ndindex(values.shape[1:]):
            own, other = values[:, *entry], expected[:, *entry]
            if np.ptp(other) < 1e-9:
                np.testing.assert_allclose(own, other, rtol=1e-12, atol=1e-12)
            else:
                assert stats.ks_2samp(own, other).pvalue > ALARM, (parameter, entry)
                assert np.ptp(own) > 0
    again = prior_draws(dataset, 400, 5)
    assert all(np.array_equal(again[each], found[each]) for each in found)


def test_a_report_of_a_saved_fit_loads_no_pymc(tmp_path: Path) -> None:
    code = (
        "import sys, jointmix as jm; jm.report(jm.load(sys.argv[1]), sys.argv[2]); "
        "print([name for name in ('pymc', 'pytensor') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, SAVED, tmp_path / "report.html"],
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    assert done.stdout.strip() == "[]"
    assert "drawn from the prior" in (tmp_path / "report.html").read_text(encoding="utf-8")
