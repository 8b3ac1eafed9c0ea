"""What a cluster can be made of: the door to families, by name, loaded when asked for."""

from collections.abc import Iterable
from functools import cache
from importlib import import_module
from itertools import groupby
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jointmix.families.protocol import Block, Compiled
    from jointmix.families.rows import Rows
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
_FEATURES = {
    "mvnormal": ("jointmix.families.mvnormal.block", "GaussianFeatures"),
    "mvt": ("jointmix.families.mvt.block", "StudentTFeatures"),
    "categorical": ("jointmix.families.categorical.block", "CategoricalFeature"),
    "poisson_feature": ("jointmix.families.poisson_feature.block", "PoissonFeature"),
    "negative_binomial_feature": (
        "jointmix.families.negative_binomial_feature.block",
        "NegativeBinomialFeature",
    ),
}
#: Several blocks at once, as the kernel takes them.
_JOINT = {
    "joint_levels": ("jointmix.families.joint_levels.block", "JointLevels"),
    "tabled_counts": ("jointmix.families.tabled_counts.block", "TabledCounts"),
}
#: What a feature may be: one of the numeric ones, which have one block together, or the block of
#: its own that it has.
NORMAL = "normal"
_NUMERIC = {NORMAL: "mvnormal", "student_t": "mvt"}
_DISCRETE = {
    "categorical": "categorical",
    "bernoulli": "categorical",
    "poisson": "poisson_feature",
    "negative_binomial": "negative_binomial_feature",
}
#: Cells that the kernel's tables of features of levels may have; rows for each count of a table.
_MOST_CELLS, _ROWS_A_COUNT = 30_000, 4
#: Features whose probabilities take so much work that those of counts that occur are tabled.
_SPREAD = "negative_binomial_feature"
#: The family of words, categories and truth values where none is named.
OF_LEVELS = "categorical"


def response_families() -> tuple[str, ...]:
    """Names of the families that a response may have."""
    return tuple(_RESPONSES)


def feature_families() -> tuple[str, ...]:
    """Names of the families that a feature may have."""
    return (*_NUMERIC, *_DISCRETE)


def numeric_families() -> tuple[str, ...]:
    """Names of the families that all numeric features may have together, the usual one first."""
    return tuple(_NUMERIC)


def has_levels(family: str) -> bool:
    """Whether a feature of the family has levels."""
    return _DISCRETE.get(family) == OF_LEVELS


def most_levels(family: str) -> int | None:
    """How many levels a feature of the family may have at most; None for any number."""
    return 2 if family == "bernoulli" else None


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


def foreign_priors(family: str | None, features: Iterable[str] = ()) -> tuple[str, ...]:
    """Fields of `Priors` that only other families read.

    Parameters
    ----------
    family
        Of the response; None where there is none.
    features
        Families of the features.
    """
    of_features = {**_NUMERIC, **_DISCRETE}
    kinds = (*response_families(), *of_features.values())
    used = [] if family is None else [family]
    used += [of_features[one] for one in features]
    own = {name for one in used for name in _own_priors(one)}
    everyones = [name for one in kinds for name in _own_priors(one)]
    return tuple(name for name in dict.fromkeys(everyones) if name not in own)


def _own_priors(family: str) -> list[str]:
    """Those that a family or what it derives from reads, and not every response."""
    kinds = block_class(family).__mro__
    return [name for kind in reversed(kinds) for name in vars(kind).get("own_priors", ())]


def blocks_of(spec: "Specified", family: str) -> tuple["Block", ...]:
    """The blocks of a model: of its features, the discrete ones last, then of its response."""
    found = [block_class(_NUMERIC[spec.feature_family])(spec)] if spec.features else []
    found += [block_class(_DISCRETE[own.family])(spec, i) for i, own in enumerate(spec.discrete)]
    found += [block_class(family)(spec)] if spec.response is not None else []
    return tuple(found)


def together(blocks: Iterable["Compiled"], rows: "Rows") -> tuple["Compiled", ...]:
    """Blocks as the kernel takes them: features of levels at once, spread counts by a table.

    Parameters
    ----------
    rows
        All that the kernel is to be given.
    """
    found: list[Compiled] = []
    for family, run in groupby(blocks, lambda block: block.family):
        several = tuple(run)
        if family == OF_LEVELS and len(several) > 1:
            joint: Compiled = _joint("joint_levels").JointLevels(several, len(rows.y))
            several = (joint,) if joint.compiled_size <= _MOST_CELLS else several
        elif family == _SPREAD:
            tabled, most = _joint("tabled_counts").tabled, len(rows.y) // _ROWS_A_COUNT
            several = tuple(each for own in several for each in (*tabled(own, rows, most), own)[:1])
        found += several
    return tuple(found)


def _joint(family: str) -> ModuleType:
    return import_module(_JOINT[family][0])


def compiled(family: str) -> ModuleType:
    """The compiled functions of a family: the module ``rows`` beside its block."""
    module, _ = {**_FEATURES, **_RESPONSES, **_JOINT}[family]
    return _rows(module.rpartition(".")[0])


@cache
def _rows(package: str) -> ModuleType:
    return import_module(f"{package}.rows")
