"""What a name in a map of names speaks of: a quantity, or some of its clusters or columns."""

import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from jointmix.base.errors import SpecError
from jointmix.validation.agreement.problem import Problem

#: Names by which the sites that hold rows are called in a map of names.
ROWS = ("x", "y", "rows", "z")
#: Behind the name of a quantity whose site holds the components last.
TURNED = ".T"


@dataclass(frozen=True)
class Part:
    """A quantity, (component, column), or some of its components and columns.

    Attributes
    ----------
    quantity
        Of `Problem.quantities`, or x.
    components, columns
        Their numbers from 0; None for all.
    """

    quantity: str
    components: tuple[int, ...] | None = None
    columns: tuple[int, ...] | None = None

    def of(self, value: Any) -> Any:
        """The part of an array of the whole quantity, of NumPy or of JAX."""
        if self.components is not None:
            value = value[np.array(self.components)]
        return value if self.columns is None else value[:, np.array(self.columns)]

    def put(self, whole: np.ndarray, value: np.ndarray) -> None:
        """Write draws (draw, ...) of the part into those of the whole quantity."""
        axes = [np.arange(size) for size in whole.shape[:3]]
        for axis, chosen in ((1, self.components), (2, self.columns)):
            if chosen is not None:
                axes[axis] = np.array(chosen)
        index = np.ix_(*axes)
        whole[index] = value.reshape(whole[index].shape)


def read_part(name: str, problem: Problem) -> Part:
    """The part that a name such as mean, mean[x1], mean[2] or mean[2, x1] speaks of.

    Inside the brackets stand names of columns, and numbers of clusters from 1.

    Raises
    ------
    SpecError
        If there is no such quantity, column or cluster.
    """
    match = re.fullmatch(r"(\w+)\[(.+)\]", name)
    quantity = match[1] if match else name
    if quantity not in problem.quantities and quantity not in ROWS:
        raise SpecError(
            f"names has no quantity {quantity!r}; it may be "
            f"{', '.join([*problem.quantities, *ROWS])}."
        )
    if match is None:
        return Part(quantity)
    columns, k = _columns(quantity, problem), problem.spec.n_clusters
    labels = [match[2]] if match[2] in columns else [text.strip() for text in match[2].split(",")]
    clusters = {str(i + 1): i for i in range(k)} if _by_cluster(quantity, problem) else {}
    chosen: tuple[list[int], list[int]] = ([], [])
    for label in labels:
        if label in columns:
            chosen[1].append(columns.index(label))
        elif label in clusters:
            chosen[0].append(clusters[label])
        else:
            known = [*columns, *(["1"] if clusters else []), *([f"… {k}"] if k > 1 else [])]
            raise SpecError(
                f"names has {name!r}: {label!r} is no column and no cluster of {quantity}"
                + (f", which has {', '.join(known)}." if columns or clusters else ".")
            )
    return Part(quantity, tuple(chosen[0]) or None, tuple(chosen[1]) or None)


def _columns(quantity: str, problem: Problem) -> tuple[str, ...]:
    """Names of the columns of a quantity (component, column); none of others."""
    spec = problem.spec
    if quantity in ROWS:
        return spec.clustering if quantity == "x" else ()
    own = quantity.removesuffix("_xi")
    blocks = problem.quantities[quantity]
    item = spec.parameters.get(own if own in spec.parameters else blocks[0])
    if item is None or len(blocks) > 1 or len(item.dims) != 1:
        return ()
    return spec.entries[item.dims[0]]


def _by_cluster(quantity: str, problem: Problem) -> bool:
    """Whether single clusters of a quantity may be held by sites of their own."""
    return quantity in problem.quantities and quantity not in ("weight", "place", "across")
