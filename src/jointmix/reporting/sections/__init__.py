"""The report's sections in their order, each a function from a fitted view to data."""

from types import ModuleType

from jointmix.reporting.sections import (
    agreement,
    assignment,
    clusters,
    convergence,
    data,
    model,
    reproduce,
    verdict,
)

SECTIONS: tuple[ModuleType, ...] = (
    verdict,
    data,
    model,
    convergence,
    clusters,
    assignment,
    agreement,
    reproduce,
)
