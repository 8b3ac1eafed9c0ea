"""What a cluster can be made of: the door to families, by name, loaded when asked for."""

from functools import cache
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jointmix.families.protocol import Block
    from jointmix.families.specified import Specified

#: Where the blocks of responses and features are: name → (module, class).
_RESPONSES = {
    "normal": ("jointmix.families.normal.block", "NormalResponse"),
    "student_t": ("jointmix.families.student_t.block", "StudentTResponse"),
    "bernoulli": ("jointmix.families.binomial.block", "BernoulliResponse"),
    "binomial": ("jointmix.families.binomial.block", "BinomialResponse"),
    "poisson": ("jointmix.families.poisson.block", "PoissonResponse"),
    "negative_binomial": (
        "jointmix.families.negative_binomial.block",
        "NegativeBinomialResponse",
    ),
    "gamma": ("jointmix.families.gamma.block", "GammaResponse"),
    "inverse_gaussian": (
        "jointmix.families.inverse_gaussian.block",
        "InverseGaussianResponse",
    ),
}
_FEATURES = {"mvnormal": ("jointmix.families.mvnormal.block", "GaussianFeatures")}


def response_families() -> tuple[str, ...]:
    """Names of the families that a response may have."""
    return tuple(_RESPONSES)


def register(block: type["Block"]) -> None:
    """Make a family known that is defined outside this package, a block of a response.

    Parameters
    ----------
    block
        A class derived from `jointmix.families.protocol.Block`, at the top of an importable
        module; its ``family`` is the name that specifications use.
    """
    _RESPONSES[block.family] = (block.__module__, block.__name__)


def block_class(family: str) -> type["Block"]:
    """The class of a family."""
    module, name = {**_FEATURES, **_RESPONSES}[family]
    found: type[Block] = getattr(import_module(module), name)
    return found


def foreign_priors(family: str | None) -> tuple[str, ...]:
    """Fields of `Priors` that only other responses than one of ``family`` read."""
    everyones = [name for one in response_families() for name in _own_priors(one)]
    own = _own_priors(family) if family is not None else []
    return tuple(name for name in dict.fromkeys(everyones) if name not in own)


def _own_priors(family: str) -> list[str]:
    """Those that a family or what it derives from reads, and not every response."""
    kinds = block_class(family).__mro__
    return [name for kind in reversed(kinds) for name in vars(kind).get("own_priors", ())]


def blocks_of(spec: "Specified", family: str) -> tuple["Block", ...]:
    """The blocks of a model: of its features, if it has any, then of its response."""
    names = ["mvnormal"] if spec.features else []
    names += [family] if spec.response is not None else []
    return tuple(block_class(name)(spec) for name in names)


def compiled(family: str) -> ModuleType:
    """The compiled functions of a family: the module ``rows`` beside its block."""
    module, _ = {**_FEATURES, **_RESPONSES}[family]
    return _rows(module.rpartition(".")[0])


@cache
def _rows(package: str) -> ModuleType:
    return import_module(f"{package}.rows")
