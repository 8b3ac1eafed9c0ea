"""What the columns of a model are for, where a formula says it."""

from collections.abc import Collection, Sequence
from typing import Any, Protocol

from jointmix.base.arguments import is_name, shown
from jointmix.base.errors import SpecError
from jointmix.families.specified import Discrete
from jointmix.tables.design import Encoding, cached_formula
from jointmix.tables.formulas import Formula, parse_formula


class Columned(Protocol):
    """The fields of a model that concern its columns."""

    @property
    def formula(self) -> str | None: ...
    @property
    def encoding(self) -> Encoding | None: ...
    @property
    def predictors(self) -> tuple[str, ...] | list[str]: ...
    @property
    def response(self) -> str | None: ...
    @property
    def offset(self) -> str | None: ...
    @property
    def intercept(self) -> bool: ...


class Roles(Columned, Protocol):
    """All that says what a model's columns are for."""

    @property
    def features(self) -> Collection[str]: ...
    @property
    def discrete(self) -> Sequence[Discrete]: ...
    @property
    def clustering(self) -> Sequence[str]: ...
    @property
    def trials(self) -> str | None: ...
    @property
    def row_weights(self) -> str | None: ...
    @property
    def columns(self) -> Sequence[str]: ...
    @property
    def linked(self) -> bool: ...
    @property
    def pending(self) -> bool: ...


def roles_of(spec: Columned) -> dict[str, Any]:
    """The fields of a model that its formula, or its encoding, settles.

    Raises
    ------
    SpecError
        If the formula cannot be read, or contradicts another field.
    """
    encoding = spec.encoding
    if encoding is not None and not isinstance(encoding, Encoding):
        raise SpecError(f"encoding must be left out; got {shown(encoding)}.")
    if encoding is not None and encoding.formula != spec.formula:
        encoding = None
    if spec.formula is None:
        same = encoding is not None and encoding.names == tuple(spec.predictors)
        return {"encoding": encoding if same else None}
    said = cached_formula(spec.formula) if isinstance(spec.formula, str) else _refused(spec.formula)
    for name, value in (("response", said.response), ("offset", _offset(said))):
        given = getattr(spec, name)
        if given is not None and value is not None and given != value:
            raise SpecError(
                f"The formula has the {name} {shown(value)}; got {name}={shown(given)} besides."
            )
    own = () if spec.encoding is None else spec.encoding.names
    if spec.predictors and tuple(spec.predictors) != own:
        raise SpecError("Predictors stand in the formula; leave out predictors, or the formula.")
    if encoding is not None and encoding.intercept != (said.intercept and spec.intercept):
        encoding = None
    return {
        "response": said.response,
        "offset": _offset(said) or spec.offset,
        "intercept": said.intercept and spec.intercept,
        "predictors": () if encoding is None else encoding.names,
        "encoding": encoding,
    }


def _refused(formula: object) -> Formula:
    return parse_formula(formula)


def _offset(said: Formula) -> str | None:
    return None if said.offset is None else said.offset.text


def check_roles(spec: Roles) -> None:
    """Refuse roles that columns cannot have together.

    Raises
    ------
    SpecError
    If there are such.
    """
    response = spec.response
    if response is not None and not is_name(response):
        raise SpecError(f"response must be one column name; got {shown(response)}.")
    if response is None and not spec.clustering:
        raise SpecError("A model needs features, a response, or both; got neither.")
    if response is None and spec.predictors:
        raise SpecError("Predictors need a response; got response=None.")
    twice = {own.column for own in spec.discrete} & {*spec.features}
    if twice:
        raise SpecError(f"The feature {shown(min(twice))} has two families; name it once.")
    if response in (*spec.clustering, *spec.predictors):
        raise SpecError(f"The response {shown(response)} cannot also be a feature or predictor.")
    others = {"offset": spec.offset, "trials": spec.trials}
    for role, name in others.items():
        if name is not None and not is_name(name):
            raise SpecError(f"{role} must be one column name; got {shown(name)}.")
        rest = [given for one, given in others.items() if one != role]
        if name is not None and name in (*spec.clustering, *spec.predictors, response, *rest):
            raise SpecError(f"The {role} {shown(name)} cannot also have another role.")
    if spec.offset is not None and not spec.linked:
        raise SpecError(
            "An offset needs a response whose family has a link, such as poisson; subtract it "
            "from a response that has none."
        )
    weights = spec.row_weights
    if weights is not None and not is_name(weights):
        raise SpecError(f"row_weights must be one column name; got {shown(weights)}.")
    if weights is not None and weights in spec.columns:
        raise SpecError(f"The row weights {shown(weights)} cannot also have another role.")
    nothing = not spec.intercept and not spec.predictors and not spec.pending
    if response is not None and nothing:
        raise SpecError("A response needs predictors or an intercept; got neither.")
