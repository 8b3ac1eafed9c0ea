"""What can go wrong with a feature of counts: what is no count."""

from typing import ClassVar

import numpy as np

from jointmix.families.checks import Checks
from jointmix.families.specified import Table
from jointmix.tables.issues import Issue, error, quoted


class CountFeatureChecks(Checks):
    """Of n | k, of any family of counts."""

    shape_remedy: ClassVar[str] = (
        'If {0} varies more than its mean, say features={{{0}: "negative_binomial"}}; if it is '
        "that already, or varies less, take more clusters, or make it categorical."
    )

    @property
    def measured(self) -> tuple[str, ...]:
        """Counts are no measurements."""
        return ()

    def domain_issues(self, table: Table) -> tuple[Issue, ...]:
        """Counts that are none, or all zero."""
        (name,) = self.columns
        found = self.new_issues(table, False)
        n = table.select([name])[:, 0]
        if found or n.any():
            return found
        statement = f"The feature {quoted(name)} is zero in all rows"
        return (error("all_zero", statement, "leave it out", name, None, float(len(n))),)

    def new_issues(self, table: Table, has_response: bool) -> tuple[Issue, ...]:
        """Counts that are negative or not whole."""
        del has_response
        (name,) = self.columns
        n = table.select([name])[:, 0]
        strange = np.flatnonzero((n < 0) | (n != np.round(n)))
        if not strange.size:
            return ()
        statement = (
            f"The feature {quoted(name)} is no count in {strange.size} rows, such as "
            f"{n[strange[0]]:g}"
        )
        remedy = "counts are whole numbers from 0; make it normal"
        return (error("no_count", statement, remedy, name, None, float(strange.size)),)
