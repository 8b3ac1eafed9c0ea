"""Bayesian joint mixtures of covariates and response, fitted, identified and reported.

p(x, y) = Σ_k π_k N(x | μ_k, Σ_k) N(y | b_k + u'θ_k, σ_k²)
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jointmix.agreement import Certificate, crosscheck
    from jointmix.allocations import (
        allocation_draws,
        coclustering,
        partition,
        responsibilities,
    )
    from jointmix.calibration import Calibration, calibrate
    from jointmix.checks import Diagnosis, diagnose
    from jointmix.crossvalidation import kfold, reloo
    from jointmix.differences import contrasts, r_squared
    from jointmix.em import fit_em
    from jointmix.errors import JointmixError
    from jointmix.inspection import Inspection, check
    from jointmix.issues import Issue
    from jointmix.labels import identify, raw_draws
    from jointmix.model import build_model
    from jointmix.power_scaling import sensitivity
    from jointmix.prediction import log_density, predict, predictive_density
    from jointmix.priors import (
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
    from jointmix.recipe import Recipe, ReportSpec, read_recipe, write_recipe
    from jointmix.regressor import JointMixtureRegressor
    from jointmix.replication import (
        predictive_checks,
        predictive_draws,
        prior_predictive,
        replicate,
    )
    from jointmix.reporting import report
    from jointmix.sampling import Control
    from jointmix.scores import Scores, loo
    from jointmix.selection import Comparison, compare, occupied_clusters, sparse
    from jointmix.simulate import Truth, four_clusters
    from jointmix.spec import ModelSpec, SamplerSpec
    from jointmix.storage import load, save
    from jointmix.summaries import summary
    from jointmix.workflow import fit, recover

__all__ = [
    "LKJ",
    "Calibration",
    "Certificate",
    "Comparison",
    "Control",
    "Diagnosis",
    "Dirichlet",
    "Fixed",
    "Gamma",
    "HalfNormal",
    "HalfStudentT",
    "Inspection",
    "InverseGamma",
    "Issue",
    "JointMixtureRegressor",
    "JointmixError",
    "LogNormal",
    "ModelSpec",
    "Normal",
    "Priors",
    "Recipe",
    "ReportSpec",
    "SamplerSpec",
    "Scores",
    "StudentT",
    "Truth",
    "allocation_draws",
    "build_model",
    "calibrate",
    "check",
    "coclustering",
    "compare",
    "contrasts",
    "crosscheck",
    "diagnose",
    "fit",
    "fit_em",
    "four_clusters",
    "identify",
    "kfold",
    "load",
    "log_density",
    "loo",
    "occupied_clusters",
    "partition",
    "predict",
    "predictive_checks",
    "predictive_density",
    "predictive_draws",
    "prior_predictive",
    "r_squared",
    "raw_draws",
    "read_recipe",
    "recover",
    "reloo",
    "replicate",
    "report",
    "responsibilities",
    "save",
    "sensitivity",
    "sparse",
    "summary",
    "write_recipe",
]

# Imported on first use: `jointmix --help` must not wait for PyMC.
_HOME = {
    "agreement": ("Certificate", "crosscheck"),
    "allocations": ("allocation_draws", "coclustering", "partition", "responsibilities"),
    "calibration": ("Calibration", "calibrate"),
    "checks": ("Diagnosis", "diagnose"),
    "selection": ("Comparison", "compare", "occupied_clusters", "sparse"),
    "crossvalidation": ("kfold", "reloo"),
    "differences": ("contrasts", "r_squared"),
    "em": ("fit_em",),
    "labels": ("identify", "raw_draws"),
    "errors": ("JointmixError",),
    "inspection": ("Inspection", "check"),
    "issues": ("Issue",),
    "model": ("build_model",),
    "power_scaling": ("sensitivity",),
    "prediction": ("log_density", "predict", "predictive_density"),
    "priors": (
        *("LKJ", "Dirichlet", "Fixed", "Gamma", "HalfNormal", "HalfStudentT"),
        *("InverseGamma", "LogNormal", "Normal", "Priors", "StudentT"),
    ),
    "recipe": ("Recipe", "ReportSpec", "read_recipe", "write_recipe"),
    "regressor": ("JointMixtureRegressor",),
    "replication": (
        *("predictive_checks", "predictive_draws"),
        *("prior_predictive", "replicate"),
    ),
    "reporting": ("report",),
    "sampling": ("Control",),
    "scores": ("Scores", "loo"),
    "simulate": ("Truth", "four_clusters"),
    "spec": ("ModelSpec", "SamplerSpec"),
    "storage": ("load", "save"),
    "summaries": ("summary",),
    "workflow": ("fit", "recover"),
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}


def __getattr__(name: str) -> object:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'jointmix' has no attribute {name!r}")
    return getattr(import_module(f"jointmix.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
