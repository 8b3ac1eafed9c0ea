"""What the columns of a model are for, where a formula says it."""

from typing import Any, Protocol

from jointmix.base.arguments import shown
from jointmix.base.errors import SpecError
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
