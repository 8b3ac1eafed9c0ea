"""Do the rows depart from the model within clusters, by more than chance?"""

import numpy as np
import xarray as xr

from jointmix.checks.finding import Finding, skipped
from jointmix.families import numeric_families
from jointmix.model.spec import ModelSpec
from jointmix.posterior.draws import fitted_spec
from jointmix.posterior.misfit import Deviation, Kind, deviations
from jointmix.tables.issues import quoted

CODE = "misfit"
SUBJECT = "columns"
SOURCE = "Neyman's smooth tests, posterior predictive (Meng 1994); Bonferroni over all tests"
LEAST_CHANCE = 0.01
_MOST_NAMED = 3

#: What a departure means, with the columns' names to be put in, and what to try.
_WORDS: dict[Kind, tuple[str, str]] = {
    "shape": (
        "{0} is not spread within clusters as the model has it (in width, skewness or tails)",
        "Look at the distribution of {0}: transform it, or take more clusters.",
    ),
    "correlated": (
        "{0} and {1} are correlated within clusters beyond what the covariance allows",
        'Fit with covariance="full".',
    ),
    "bent": (
        "{0} bends over {1} within clusters",
        "Transform {0} or {1}, take more clusters, or leave out a column that is a function of "
        "others.",
    ),
    "unused": (
        "{0} changes with {1} within clusters, which is no predictor",
        "Add {1} to the predictors.",
    ),
    "curved": (
        "{0} bends over {1} within clusters",
        "Add the square of {1} to the predictors, or take more clusters.",
    ),
    "uneven": (
        "the noise of {0} changes with {1} within clusters",
        "Transform {0}, by its logarithm perhaps, or take more clusters.",
    ),
    "interaction": (
        "the slope of {0} on {1} changes with {2} within clusters",
        "Add the product of {1} and {2} to the predictors, or take more clusters.",
    ),
    "spread": (
        "counts of {0} are spread about their mean otherwise than the model has it",
        "Look at the distribution of {0}.",
    ),
    "together": (
        "{0} and {1} depend on each other within clusters",
        "Take more clusters, or make one column of {0} and {1}.",
    ),
    "follows": (
        "{0} depends on {1} within clusters",
        "Take more clusters, or make {0} a response, with {1} among its predictors.",
    ),
}


#: Of a numeric feature that is Gaussian.
_HEAVY = (
    "Look at the distribution of {0}: transform it, take more clusters or, where rows lie far out, "
    'make the numeric features student_t (feature_family="student_t").'
)


def check(tree: xr.DataTree) -> tuple[Finding, ...]:
    """Judge by the least of the tests' chances, adjusted for their number."""
    found = deviations(tree)
    if not found:
        return (skipped(CODE, SUBJECT, "no cluster has 20 rows with residuals to test", SOURCE),)
    adjusted = np.minimum(1.0, np.array([each.p_value for each in found]) * len(found))
    beyond = [each for each, p in zip(found, adjusted, strict=True) if p < LEAST_CHANCE]
    return (
        Finding(
            code=CODE,
            subject=SUBJECT,
            status="caution" if beyond else "ok",
            value=float(adjusted[0]),
            threshold=LEAST_CHANCE,
            message=_message(beyond, len(found)),
            remedy=_remedy(beyond[0], fitted_spec(tree)) if beyond else "",
            source=SOURCE,
        ),
    )


def _message(beyond: list[Deviation], n_tests: int) -> str:
    if not beyond:
        return f"Within clusters no column departs from the model beyond chance ({n_tests} tests)."
    said = "; ".join(_put(_WORDS[each.kind][0], each) for each in beyond[:_MOST_NAMED])
    more = len(beyond) - _MOST_NAMED
    also = f"; and {more} more departures" if more > 1 else "; and one more" if more == 1 else ""
    return f"The rows depart from the model: {said}{also}."


def _remedy(worst: Deviation, spec: ModelSpec) -> str:
    if worst.kind in ("shape", "spread"):
        for block in spec.blocks:
            if block.columns == worst.columns and block.columns[0] not in spec.features:
                return _put(block.checks.shape_remedy, worst)
    usual = spec.feature_family == numeric_families()[0]
    if worst.kind == "shape" and worst.columns[0] in spec.features and usual:
        return _put(_HEAVY, worst)
    return _put(_WORDS[worst.kind][1], worst)


def _put(words: str, each: Deviation) -> str:
    return words.format(*(quoted(name) for name in each.columns))
