"""Rows with missing features: what the model says of the entries that are there."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from jointmix.base.errors import DataError
from jointmix.families.parameters import Parameters
from jointmix.families.protocol import Block
from jointmix.families.rows import Rows
from jointmix.model.spec import ModelSpec


@dataclass(frozen=True, eq=False)
class Pattern:
    """Rows that miss the same features, and the model of the others.

    Attributes
    ----------
    place
        Places of the rows, (row,).
    rows, parameters, blocks
        Of what is there: see `marginal`.
    present
        Which features are there, (feature,).
    """

    place: np.ndarray
    rows: Rows
    parameters: Parameters
    blocks: tuple[Block, ...]
    present: np.ndarray


def by_pattern(rows: Rows, parameters: Parameters, spec: ModelSpec) -> Iterator[Pattern]:
    """Groups of rows that miss the same features.

    Raises
    ------
    DataError
        If the response's family cannot do without a feature that is missing.
    """
    missing = np.isnan(rows.x)
    if not missing.any():
        everything = np.ones(rows.x.shape[1], dtype=bool)
        yield Pattern(np.arange(len(rows.y)), rows, parameters, spec.blocks, everything)
        return
    patterns, group = np.unique(missing, axis=0, return_inverse=True)
    for index, pattern in enumerate(patterns):
        place = np.flatnonzero(group.ravel() == index)
        part = rows.take(place)
        if pattern.any():
            yield Pattern(place, *marginal(part, parameters, ~pattern, spec), ~pattern)
        else:
            yield Pattern(place, part, parameters, spec.blocks, ~pattern)


def marginal(
    rows: Rows, parameters: Parameters, present: np.ndarray, spec: ModelSpec
) -> tuple[Rows, Parameters, tuple[Block, ...]]:
    """The model of some of the features and the response, the other features integrated out.

    Parameters
    ----------
    rows
        On the scale of the parameters; entries that are not present are not read.
    parameters
        With one leading dim (draw,).
    present
        Which features are there, (feature,).

    Returns
    -------
    rows, parameters, blocks
        Of the features present; the predictors are those features, then the predictors that are
        no features. Where no feature is present, features have no block.

    Raises
    ------
    DataError
        If the response's family cannot do without a feature that is missing.
    """
    arrays, blocks, reduced = {"weight": parameters.weight}, [], rows
    for block in spec.blocks:
        found = block.marginal(rows, parameters, present)
        if found is None:
            gone = [name for name, there in zip(spec.features, present, strict=True) if not there]
            raise DataError(
                f"The features {', '.join(gone)} are missing in some rows, and they are predictors "
                f"of a response of the family {block.family}, which has no closed form without "
                "them; fill them in or leave those rows out."
            )
        reduced, own = found
        arrays |= own
        if own:
            blocks.append(block)
    return reduced, Parameters(**arrays), tuple(blocks)
