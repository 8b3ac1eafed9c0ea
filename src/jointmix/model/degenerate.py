"""All that a table says of a model before EM: notes, and what leaves a posterior improper."""

from jointmix.model.dataset import Dataset, notes
from jointmix.tables.issues import Issue


def improper_issues(dataset: Dataset) -> tuple[Issue, ...]:
    """Warnings of rows at which the density is unbounded, by column.

    Returns
    -------
    tuple of Issue
        Code "improper": tied values under a prior of the column's scale that does not vanish at
        zero; ``value`` is the number of rows tied. Further codes are the blocks' own.
    """
    return tuple(
        issue for block in dataset.blocks for issue in block.checks.improper_issues(dataset)
    )


def table_warnings(dataset: Dataset) -> tuple[Issue, ...]:
    """All that the rows say before EM: `notes`, and what leaves the posterior improper."""
    return (*notes(dataset), *improper_issues(dataset))
