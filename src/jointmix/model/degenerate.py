"""All that a table says of a model before EM: notes, and what leaves a posterior improper."""

from dataclasses import replace

from jointmix.model.dataset import Dataset
from jointmix.model.notes import notes
from jointmix.tables.issues import Issue
from jointmix.tables.weights import standing_places

#: Repeated rows that are looked at.
_MOST_ROWS = 100_000


def improper_issues(dataset: Dataset) -> tuple[Issue, ...]:
    """Warnings of rows at which the density is unbounded, by column.

    Returns
    -------
    tuple of Issue
        Code "improper": tied values under a prior of the column's scale that does not vanish at
        zero; ``value`` is the number of rows tied. Further codes are the blocks' own.
    """
    table = dataset
    if dataset.rows.weight is not None:
        # A row that stands for several is as many rows that agree.
        places = standing_places(dataset.rows.copies, _MOST_ROWS)
        table = replace(dataset, values=dataset.values[places], completions=None)
    return tuple(issue for block in dataset.blocks for issue in block.checks.improper_issues(table))


def table_warnings(dataset: Dataset) -> tuple[Issue, ...]:
    """All that the rows say before EM: `notes`, and what leaves the posterior improper."""
    return (*notes(dataset), *improper_issues(dataset))
