"""A model said in place: a formula, and the other fields of a specification beside it."""

import difflib
from collections.abc import Mapping
from typing import TypedDict, Unpack

from jointmix.base.arguments import shown
from jointmix.base.errors import SpecError
from jointmix.families.priors.priors import Priors
from jointmix.model.settings import SamplerSpec
from jointmix.model.spec import ModelSpec, require_spec


class ModelFields(TypedDict, total=False):
    """Fields of `ModelSpec` that may stand beside a formula."""

    n_clusters: int
    features: tuple[str, ...] | list[str] | Mapping[str, str]
    offset: str | None
    covariance: str
    noise: str
    family: str
    feature_family: str
    tails: str
    link: str | None
    intercept: bool
    standardize: bool
    ordering: str
    missing: str
    priors: Priors
    sampler: SamplerSpec


def as_spec(spec: ModelSpec | str, **model: Unpack[ModelFields]) -> ModelSpec:
    """The model itself, or that of a formula and the fields beside it.

    Raises
    ------
    SpecError
        If fields stand beside a specification, one is unknown, or the number of clusters is not
        among those beside a formula.
    """
    if not isinstance(spec, str):
        if model:
            names = ", ".join(model)
            raise SpecError(f"A ModelSpec says all of the model; set {names} in it, not beside it.")
        return require_spec(spec)
    known = [*ModelFields.__annotations__]
    for name in model:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            guess = f" (did you mean {shown(close[0])}?)" if close else ""
            raise SpecError(f"A model has no {name}{guess}; it may be {', '.join(known)}.")
    if "n_clusters" not in model:
        raise SpecError("A formula needs n_clusters beside it, the number of clusters.")
    return ModelSpec(formula=spec, **model)
