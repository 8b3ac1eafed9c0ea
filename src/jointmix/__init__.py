"""Bayesian joint mixtures of covariates and response, fitted, identified and reported.

p(x, y) = Σ_k π_k N(x | μ_k, Σ_k) N(y | b_k + u'θ_k, σ_k²)
"""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    __version__: str

    from jointmix.base.codes import Reference, explain
    from jointmix.base.errors import JointmixError
    from jointmix.checks import Diagnosis, diagnose
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
    from jointmix.fitting.crossvalidation import kfold, reloo
    from jointmix.fitting.identification import identify, raw_draws
    from jointmix.fitting.inspection import Inspection, check
    from jointmix.fitting.recipe import Recipe, read_recipe, write_recipe
    from jointmix.fitting.regressor import JointMixtureRegressor
    from jointmix.fitting.report_spec import ReportSpec
    from jointmix.fitting.selection import (
        Comparison,
        compare,
        occupied_clusters,
        sparse,
    )
    from jointmix.fitting.side_by_side import Side, diff
    from jointmix.fitting.workflow import fit, recover
    from jointmix.kernel.fused import build_model
    from jointmix.model.settings import SamplerSpec
    from jointmix.model.simulate import four_clusters, simulate
    from jointmix.model.spec import ModelSpec
    from jointmix.model.truth import Truth
    from jointmix.modes.em import fit_em
    from jointmix.plots.assignment import plot_assignment
    from jointmix.plots.calibrated import plot_calibration
    from jointmix.plots.clusters import plot_clusters
    from jointmix.plots.compared import plot_comparison
    from jointmix.plots.optima import plot_modes
    from jointmix.plots.predicted import plot_prediction
    from jointmix.plots.profiles import plot_profiles
    from jointmix.plots.regressions import plot_regressions
    from jointmix.posterior.allocations import (
        allocation_draws,
        coclustering,
        responsibilities,
    )
    from jointmix.posterior.association import association
    from jointmix.posterior.densities import log_density, predictive_density
    from jointmix.posterior.differences import contrasts, r_squared
    from jointmix.posterior.evidence import Evidence, log_evidence
    from jointmix.posterior.frames import assign
    from jointmix.posterior.imputation import impute
    from jointmix.posterior.known_groups import CrossTab, crosstab, with_groups
    from jointmix.posterior.naming import with_names
    from jointmix.posterior.partitions import partition
    from jointmix.posterior.pointwise import with_log_likelihood
    from jointmix.posterior.prediction import predict
    from jointmix.posterior.predictive_checks import predictive_checks
    from jointmix.posterior.replication import predictive_draws, prior_predictive, replicate
    from jointmix.posterior.saved import load
    from jointmix.posterior.scores import Scores, loo
    from jointmix.posterior.sensitivity import sensitivity
    from jointmix.posterior.summaries import summary
    from jointmix.posterior.term_contrasts import term_contrasts
    from jointmix.posterior.wide import to_frame
    from jointmix.reporting import report
    from jointmix.sampling import Control
    from jointmix.storage.trees import save
    from jointmix.tables.issues import Issue
    from jointmix.validation.agreement import Certificate, crosscheck
    from jointmix.validation.calibration import Calibration, calibrate

__all__ = [
    "LKJ",
    "Calibration",
    "Certificate",
    "Comparison",
    "Control",
    "CrossTab",
    "Diagnosis",
    "Dirichlet",
    "Evidence",
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
    "Reference",
    "ReportSpec",
    "SamplerSpec",
    "Scores",
    "Side",
    "StudentT",
    "Truth",
    "allocation_draws",
    "assign",
    "association",
    "build_model",
    "calibrate",
    "check",
    "coclustering",
    "compare",
    "contrasts",
    "crosscheck",
    "crosstab",
    "diagnose",
    "diff",
    "explain",
    "fit",
    "fit_em",
    "four_clusters",
    "identify",
    "impute",
    "kfold",
    "load",
    "log_density",
    "log_evidence",
    "loo",
    "occupied_clusters",
    "partition",
    "plot_assignment",
    "plot_calibration",
    "plot_clusters",
    "plot_comparison",
    "plot_modes",
    "plot_prediction",
    "plot_profiles",
    "plot_regressions",
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
    "simulate",
    "sparse",
    "summary",
    "term_contrasts",
    "to_frame",
    "with_groups",
    "with_log_likelihood",
    "with_names",
    "write_recipe",
]

# Imported on first use: `jointmix --help` must not wait for PyMC.
_HOME = {
    "validation.agreement": ("Certificate", "crosscheck"),
    "posterior.allocations": ("allocation_draws", "coclustering", "responsibilities"),
    "posterior.partitions": ("partition",),
    "validation.calibration": ("Calibration", "calibrate"),
    "base.codes": ("Reference", "explain"),
    "checks": ("Diagnosis", "diagnose"),
    "fitting.selection": ("Comparison", "compare", "occupied_clusters", "sparse"),
    "fitting.crossvalidation": ("kfold", "reloo"),
    "posterior.association": ("association",),
    "posterior.densities": ("log_density", "predictive_density"),
    "posterior.differences": ("contrasts", "r_squared"),
    "kernel.fused": ("build_model",),
    "modes.em": ("fit_em",),
    "fitting.identification": ("identify", "raw_draws"),
    "plots.clusters": ("plot_clusters",),
    "plots.regressions": ("plot_regressions",),
    "plots.assignment": ("plot_assignment",),
    "plots.predicted": ("plot_prediction",),
    "plots.calibrated": ("plot_calibration",),
    "plots.optima": ("plot_modes",),
    "plots.compared": ("plot_comparison",),
    "plots.profiles": ("plot_profiles",),
    "posterior.naming": ("with_names",),
    "base.errors": ("JointmixError",),
    "fitting.inspection": ("Inspection", "check"),
    "tables.issues": ("Issue",),
    "posterior.sensitivity": ("sensitivity",),
    "posterior.frames": ("assign",),
    "posterior.wide": ("to_frame",),
    "posterior.known_groups": ("CrossTab", "crosstab", "with_groups"),
    "posterior.pointwise": ("with_log_likelihood",),
    "posterior.evidence": ("Evidence", "log_evidence"),
    "posterior.saved": ("load",),
    "posterior.prediction": ("predict",),
    "families.priors.priors": (
        *("LKJ", "Dirichlet", "Fixed", "Gamma", "HalfNormal", "HalfStudentT"),
        *("InverseGamma", "LogNormal", "Normal", "Priors", "StudentT"),
    ),
    "fitting.recipe": ("Recipe", "read_recipe", "write_recipe"),
    "fitting.report_spec": ("ReportSpec",),
    "fitting.regressor": ("JointMixtureRegressor",),
    "posterior.imputation": ("impute",),
    "posterior.predictive_checks": ("predictive_checks",),
    "posterior.replication": ("predictive_draws", "prior_predictive", "replicate"),
    "reporting": ("report",),
    "sampling": ("Control",),
    "posterior.scores": ("Scores", "loo"),
    "model.simulate": ("four_clusters", "simulate"),
    "model.truth": ("Truth",),
    "model.settings": ("SamplerSpec",),
    "model.spec": ("ModelSpec",),
    "storage.trees": ("save",),
    "posterior.summaries": ("summary",),
    "posterior.term_contrasts": ("term_contrasts",),
    "fitting.side_by_side": ("Side", "diff"),
    "fitting.workflow": ("fit", "recover"),
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}


def __getattr__(name: str) -> object:
    if name == "__version__":
        return version("jointmix")
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'jointmix' has no attribute {name!r}")
    return getattr(import_module(f"jointmix.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
