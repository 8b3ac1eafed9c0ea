"""The report's sections in their order, each a function from a fitted view to data."""

from types import ModuleType

from jointmix.reporting.sections import (
    agreement,
    assignment,
    calibration,
    clusters,
    computation,
    convergence,
    data,
    estimates,
    groups,
    methods,
    model,
    predictive,
    prior,
    reproduce,
    scores,
    sensitivity,
    verdict,
)

SECTIONS: tuple[ModuleType, ...] = (
    verdict,
    clusters,
    assignment,
    groups,
    predictive,
    scores,
    estimates,
    data,
    model,
    prior,
    sensitivity,
    convergence,
    computation,
    agreement,
    calibration,
    methods,
    reproduce,
)
