"""Rows with missing entries: what the model says of the entries that are there."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from jointmix.base.errors import DataError
from jointmix.families.parameters import Parameters
from jointmix.families.protocol import Block, Compiled
from jointmix.families.rows import Rows


@dataclass(frozen=True, eq=False)
class Pattern:
    """Rows that miss the same entries, and the model of the others.

    Attributes
    ----------
    place
        Places of the rows, (row,).
    rows, parameters, blocks
        Of the features that are there, see `marginal`; no block is that of a missing response.
    present
        Which features are there, (feature,).
    alternatives
        Completed rows that stand side by side for each row.
    """

    place: np.ndarray
    rows: Rows
    parameters: Parameters
    blocks: tuple[Block, ...]
    present: np.ndarray
    alternatives: int = 1


def by_pattern(rows: Rows, parameters: Parameters, blocks: Iterable[Block]) -> Iterator[Pattern]:
    """Groups of rows that miss the same entries, complete ones first.

    Raises
    ------
    DataError
        If the response's family cannot do without a feature that is missing.
    """
    given = tuple(blocks)
    for part in rows.patterns:
        asked = tuple(each for each in given if part.answered or not each.of_response)
        if part.present.all():
            reduced, own, left = part.rows, parameters, asked
        else:
            reduced, own, left = marginal(part.rows, parameters, part.present, asked)
            reduced = part.made.setdefault("marginal", reduced)
        yield Pattern(part.place, reduced, own, left, part.present, part.alternatives)


def marginal[B: Compiled](
    rows: Rows, parameters: Parameters, present: np.ndarray, blocks: Iterable[B]
) -> tuple[Rows, Parameters, tuple[B, ...]]:
    """The model of some of the features and the response, the other features integrated out.

    Parameters
    ----------
    rows
        On the scale of the parameters; entries that are not present are not read.
    parameters
        With any leading dims.
    present
        Which features are there, (feature,).
    blocks
        Of the model.

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
    arrays, left, reduced = {"weight": parameters.weight}, list[B](), rows
    for block in blocks:
        found = block.marginal(rows, parameters, present)
        if found is None:
            names = block.spec.features
            gone = [name for name, there in zip(names, present, strict=True) if not there]
            raise DataError(
                f"The features {', '.join(gone)} are missing in some rows, and they are predictors "
                f"of a response of the family {block.family}, which has no closed form without "
                "them; fill them in or leave those rows out."
            )
        reduced, own = found
        arrays |= own
        if own:
            left.append(block)
    return reduced, Parameters(**arrays), tuple(left)
