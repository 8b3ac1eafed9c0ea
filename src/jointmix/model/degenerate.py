"""All that a table says of a model before EM: notes, and what leaves a posterior improper."""

from jointmix.model.dataset import Dataset, notes
from jointmix.model.spec import ModelSpec
from jointmix.tables.issues import Issue


def improper_issues(dataset: Dataset, spec: ModelSpec) -> tuple[Issue, ...]:
    """Warnings of rows at which the density is unbounded, by column.

    Returns
    -------
    tuple of Issue
        Code "improper": tied values under a prior of the column's scale that does not vanish at
        zero; ``value`` is the number of rows tied. Further codes are the blocks' own.
    """
    return tuple(issue for block in spec.blocks for issue in block.checks.improper_issues(dataset))


def table_warnings(dataset: Dataset, spec: ModelSpec) -> tuple[Issue, ...]:
    """All that the rows say before EM: `notes`, and what leaves the posterior improper."""
    return (*notes(dataset, spec), *improper_issues(dataset, spec))
