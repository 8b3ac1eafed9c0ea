"""A model's specification as nested dicts of texts and numbers, and back."""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any

from jointmix.base.arguments import shown
from jointmix.base.errors import SpecError
from jointmix.families import response_families
from jointmix.families.priors.priors import FAMILIES, AnyPrior, Priors
from jointmix.model.designed import made_of
from jointmix.model.discrete import types_from
from jointmix.model.settings import SamplerSpec
from jointmix.model.spec import ModelSpec
from jointmix.tables.design import encoding_from_dict

# Keys of the tables [data] and [model], with the fields of ModelSpec that they fill. A family that
# is the default is not written, nor are priors that only other families read: what a model's tables
# are does not depend on which families there are besides.
DATA_KEYS = {
    name: name for name in ("features", "predictors", "response", "offset", "trials", "missing")
}
MODEL_KEYS = {
    "clusters": "n_clusters",
    **{
        name: name
        for name in (
            "family",
            "link",
            "feature_family",
            "tails",
            "covariance",
            "noise",
            "intercept",
            "standardize",
            "ordering",
            "formula",
            "row_weights",
        )
    },
}
SAMPLER_KEYS = tuple(item.name for item in fields(SamplerSpec))
PRIOR_KEYS = tuple(item.name for item in fields(Priors))
SPEC_TABLES = ("data", "model", "priors", "sampler")


def spec_to_dict(spec: ModelSpec) -> dict[str, dict[str, Any]]:
    """The model as nested dicts of lists, texts and numbers, fit for TOML and JSON.

    Returns
    -------
    dict
        Tables "data", "model", "priors" and "sampler"; entries that are None are left out.
    """
    default = Priors()
    read = [
        name
        for name in PRIOR_KEYS
        if name not in spec.foreign_priors or getattr(spec.priors, name) != getattr(default, name)
    ]
    priors = without_none({name: getattr(spec.priors, name) for name in read})
    model = {key: getattr(spec, name) for key, name in MODEL_KEYS.items()}
    sampler = without_none({name: getattr(spec.sampler, name) for name in SAMPLER_KEYS})
    # What specifications of older fits do not name.
    for name in ("family", "feature_family", "tails"):
        if getattr(spec, name) == getattr(ModelSpec, name):
            del model[name]
    if spec.sampler.retry_budget == SamplerSpec.retry_budget:
        del sampler["retry_budget"]
    for name in ("link", "formula", "row_weights"):
        if getattr(spec, name) is None:
            del model[name]
    data = without_none({key: _listed(getattr(spec, name)) for key, name in DATA_KEYS.items()})
    if spec.types is not None:
        data["features"] = dict.fromkeys(spec.features, spec.feature_family)
        data["features"] |= {own.column: own.family for own in spec.types}
        data["levels"] = {own.column: list(own.levels) for own in spec.types if own.levels}
    if spec.formula is not None:
        del data["predictors"], data["response"]
        if spec.offset not in made_of(spec):
            data.pop("offset", None)
    if spec.encoding is not None:
        data["encoding"] = spec.encoding.as_dict()
        if spec.formula is None:
            data["predictors"] = list(spec.encoding.names_listed)
    return {
        "data": data,
        "model": model,
        "priors": {name: _prior_to_dict(prior) for name, prior in priors.items()},
        "sampler": sampler,
    }


def spec_from_dict(tables: Mapping[str, Any]) -> ModelSpec:
    """The model that `spec_to_dict` made the tables of; what is left out takes its default.

    Raises
    ------
    SpecError
        If a table, key or prior family is unknown, or a value is none that it can have.
    """
    refuse_unknown("A specification", "table", tables, SPEC_TABLES)
    data, model, sampler = (sub_table(tables, name) for name in ("data", "model", "sampler"))
    priors = sub_table(tables, "priors")
    content, levels = data.pop("encoding", None), data.pop("levels", None)
    refuse_unknown("[data]", "key", data, DATA_KEYS)
    refuse_unknown("[model]", "key", model, MODEL_KEYS)
    refuse_unknown("[sampler]", "key", sampler, SAMPLER_KEYS)
    refuse_unknown("[priors]", "parameter", priors, PRIOR_KEYS)
    if "clusters" not in model:
        raise SpecError("[model] needs clusters, their number.")
    family, families = model.get("family", ModelSpec.family), response_families()
    if family not in families:
        raise SpecError(f"[model] has no family {shown(family)}{_hint(family, families)}.")
    if content is not None:
        formula, intercept = model.get("formula"), model.get("intercept", True)
        encoding = encoding_from_dict(formula, data.get("predictors", ()), intercept, content)
        data |= {"predictors": encoding.names}
    types = types_from(data.get("features"), levels)
    return ModelSpec(
        **{DATA_KEYS[key]: value for key, value in data.items()},
        types=types,
        **{MODEL_KEYS[key]: value for key, value in model.items()},
        encoding=None if content is None else encoding,
        priors=Priors(**{name: _prior_from_dict(name, prior) for name, prior in priors.items()}),
        sampler=SamplerSpec(**sampler),
    )


def _prior_to_dict(prior: AnyPrior) -> dict[str, Any]:
    values = {item.name: _listed(getattr(prior, item.name)) for item in fields(prior)}
    return {"family": prior.family, **values}


def _prior_from_dict(name: str, table: object) -> Any:
    where = f"[priors.{name}]"
    if not isinstance(table, Mapping) or "family" not in table:
        raise SpecError(f"{where} needs a family: one of {', '.join(FAMILIES)}.")
    family = table["family"]
    if not isinstance(family, str) or family not in FAMILIES:
        raise SpecError(f"{where} has no family {shown(family)}{_hint(family, FAMILIES)}.")
    kind = FAMILIES[family]
    allowed = [item.name for item in fields(kind)]
    refuse_unknown(where, "key", table, ["family", *allowed])
    values = {key: value for key, value in table.items() if key != "family"}
    if family == "fixed" and "value" not in values:
        raise SpecError(f"{where} of the family fixed needs a value.")
    return kind(**values)


def sub_table(tables: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A copy of one table; empty where there is none."""
    table = tables.get(name, {})
    if not isinstance(table, Mapping):
        raise SpecError(f"[{name}] must be a table of keys and values; got {shown(table)}.")
    return dict(table)


def refuse_unknown(where: str, kind: str, given: Iterable[str], allowed: Iterable[str]) -> None:
    names = list(allowed)
    for key in given:
        if key not in names:
            raise SpecError(f"{where} has no {kind} {shown(key)}{_hint(key, names)}.")


def _hint(word: object, allowed: Iterable[str]) -> str:
    names = list(allowed)
    close = difflib.get_close_matches(word, names, n=1) if isinstance(word, str) else []
    guess = f" (did you mean {shown(close[0])}?)" if close else ""
    return f"{guess}; it may be {', '.join(names)}"


def without_none(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _listed(value: Any) -> Any:
    return [_listed(item) for item in value] if isinstance(value, tuple) else value
