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
    groups,
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
    data,
    model,
    prior,
    computation,
    convergence,
    clusters,
    assignment,
    groups,
    predictive,
    scores,
    sensitivity,
    agreement,
    calibration,
    reproduce,
)
