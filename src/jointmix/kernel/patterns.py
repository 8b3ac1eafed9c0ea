"""Rows with missing entries in a problem: for each pattern the blocks that it leaves."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from jointmix.families import protocol
from jointmix.families.parameters import Parameters
from jointmix.families.patterns import marginal
from jointmix.families.rows import Gaps
from jointmix.kernel.blocks import Block, add_blocks, passing_tiles
from jointmix.kernel.records import HEADER, REDUCTION, Tape


def add_patterns(
    tape: Tape,
    given: Sequence[protocol.Compiled],
    compiled: tuple[Block, ...],
    parts: Sequence[Gaps],
    parameters: Parameters,
    first: int,
) -> tuple[dict[str, int], int]:
    """Put rows with missing entries on the tape.

    Parameters
    ----------
    given, compiled
        The blocks of the model, as they are and as the kernel takes them.
    parts
        The rows, by what they miss.
    parameters
        Any that the model may have, (component, ...).
    first
        Where the values of blocks without some features begin, among the values.

    Returns
    -------
    header, width
        Entries `patterns` and `n_patterns`; how many such values there are at most.
    """
    heads, width = [], 0
    for part in parts:
        head, own = _pattern(tape, given, compiled, part, parameters, first)
        heads.append(head)
        width = max(width, own)
    return {"patterns": tape.table(HEADER, heads), "n_patterns": len(heads)}, width


def _pattern(
    tape: Tape,
    given: Sequence[protocol.Compiled],
    compiled: tuple[Block, ...],
    part: Gaps,
    parameters: Parameters,
    first: int,
) -> tuple[dict[str, int], int]:
    k, place = len(parameters.weight), len(parameters.weight)
    values: dict[protocol.Compiled, dict[str, int]] = {}
    for block, own in zip(given, compiled, strict=True):
        values[block] = {"value": place, "n_values": sum(own.sizes.values())}
        place += k * values[block]["n_values"]
    asked = [block for block in given if part.answered or not block.of_response]
    reduced, left, whole = part.rows, tuple(asked), bool(part.present.all())
    if not whole:
        reduced, _, left = marginal(part.rows, parameters, part.present, asked)
    names = dict(zip(given, compiled, strict=True))
    blocks, tiles, starts, reductions = [], [], [], list[dict[str, Any]]()
    width, n_columns = 0, 0
    for block in left:
        told = None if whole else block.reduction(part.present)
        rows = part.rows if told is None else reduced
        tiles.append(passing_tiles(block, rows))
        last = n_columns + len(block.compiled_rows(rows.take(slice(0, 0))))
        blocks.append(replace(names[block], columns=tuple(range(n_columns, last))))
        n_columns = last
        if told is None:
            starts.append(values[block]["value"])
            continue
        starts.append(first + width)
        n_left = sum(blocks[-1].sizes.values())
        features = values[given[0]]
        reductions.append(
            {name: blocks[-1].family.address(name) for name in ("reduce", "extend")}
            | {"told": tape.add(np.array(told)), **values[block]}
            | {"features": features["value"], "n_features": features["n_values"]}
            | {"left": starts[-1], "n_left": n_left}
        )
        width += k * n_left
    return {
        **add_blocks(
            tape,
            tuple(blocks),
            k,
            tiles,
            len(part.rows.y),
            weight=part.rows.weight,
            starts=starts,
            alternatives=part.alternatives,
        ),
        "reductions": tape.table(REDUCTION, reductions),
        "n_reductions": len(reductions),
    }, width
