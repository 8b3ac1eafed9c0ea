"""Rows with missing entries in the PyMC model: one pattern of what they miss after the other."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pytensor.tensor as pt
from pytensor.tensor.variable import TensorVariable

from jointmix.families.graph import Values, graph_of, without
from jointmix.families.protocol import Block
from jointmix.families.rows import Gaps, Rows
from jointmix.model.component import joined_rows, rows_by_role
from jointmix.model.spec import ModelSpec


def left_blocks(
    part: Gaps,
    spec: ModelSpec,
    values: Values,
    own: TensorVariable,
    extra: Sequence[TensorVariable],
) -> Iterator[tuple[Block, Values, Rows]]:
    """What is left of the blocks for rows of one pattern, with values and rows of what they have.

    Parameters
    ----------
    part
        Which rows these are, and what they have.
    values
        Of all blocks, by name.
    own, extra
        All rows, (x, y), and what else they are given, (obs, column).
    """
    place = np.repeat(part.place, part.alternatives)
    rows = rows_by_role(spec, joined_rows(spec, own[place], [each[place] for each in extra]))
    if part.alternatives > 1:
        # What rows are completed by is no data: it goes with what they miss.
        u, discrete = (
            np.nan_to_num(part.rows.u),
            np.nan_to_num(np.asarray(part.rows.discrete), nan=-1.0),
        )
        rows = replace(rows, u=pt.as_tensor(u), discrete=pt.as_tensor(discrete))
    for block in spec.blocks:
        if part.answered or not block.of_response:
            found = without(block, values, rows, part.present)
            if found is not None:
                yield (block, *found)


def row_densities(
    parts: Sequence[Gaps],
    spec: ModelSpec,
    weight: TensorVariable,
    values: Values,
    own: TensorVariable,
    extra: Sequence[TensorVariable],
    counts: TensorVariable | None,
) -> TensorVariable:
    """The rows' log densities of what they have, as often as they count, (obs,).

    See `model.graph.Likelihood`.
    """
    found = []
    for part in parts:
        terms = [
            graph_of(block).log_density(block, given, rows)
            for block, given, rows in left_blocks(part, spec, values, own, extra)
        ]
        apart = sum(terms, pt.log(weight)).reshape((len(part.place), -1))
        found.append(pt.logsumexp(apart, axis=1))
    back = np.argsort(np.concatenate([part.place for part in parts]))
    total = pt.concatenate(found)[back]
    return total if counts is None else counts * total
