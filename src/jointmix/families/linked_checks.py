"""What can go wrong with a response that is linked to its line: values that it cannot take."""

import numpy as np
from scipy.special import ndtri

from jointmix.families.checks import Checks
from jointmix.families.parameters import Parameters
from jointmix.families.rows import Rows
from jointmix.families.specified import Table
from jointmix.tables.issues import Issue, error, quoted
from jointmix.tables.screening import CONDITION_ERROR

#: Logarithms of exposures beyond this have exponentials that leave a table's numbers.
LARGEST_OFFSET = 50.0
#: From here on not all whole numbers are doubles.
LARGEST_COUNT = 2.0**53
#: Errors of a table, none of whose rows is to blame.
_OF_ALL_ROWS = {"all_zero", "one_level"}
#: Chances nearer to 0 or 1 are rounding.
_LEAST = 1e-15


def line_of(parameters: Parameters, rows: Rows, cluster: np.ndarray) -> np.ndarray:
    """η of rows of known clusters, (obs,), at parameters without batch dims."""
    eta = parameters.intercept[cluster] + (rows.u * parameters.slope[cluster]).sum(-1)
    return np.asarray(eta if rows.offset is None else eta + rows.offset)


class LinkedChecks(Checks):
    """No scale closes on tied rows; what the response may be, the family says."""

    @property
    def measured(self) -> tuple[str, ...]:
        """None: ties are what counts have."""
        return ()

    @property
    def minimum_rows(self) -> int:
        """One more than the line needs."""
        return len(self.spec.predictors) + 2

    @property
    def independent(self) -> dict[tuple[str, ...], float]:
        """The predictors."""
        return {tuple(self.spec.predictors): CONDITION_ERROR}

    def domain_issues(self, table: Table) -> tuple[Issue, ...]:
        """Errors of values that the response cannot take, and of exposures out of bounds."""
        (name,) = self.columns
        found = self.value_issues(table.select([name])[:, 0], name)
        return found or self.given_issues(table)

    def given_issues(self, table: Table) -> tuple[Issue, ...]:
        """Errors of what the line is given besides predictors: exposures out of bounds."""
        if self.spec.offset is None:
            return ()
        return offset_issues(table.select([self.spec.offset])[:, 0], self.spec.offset)

    def new_issues(self, table: Table, has_response: bool) -> tuple[Issue, ...]:
        """Values that no row can take; that all rows are alike is no error of new ones."""
        found = self.domain_issues(table) if has_response else self.given_issues(table)
        return tuple(issue for issue in found if issue.code not in _OF_ALL_ROWS)

    def chances(
        self, parameters: Parameters, rows: Rows, allocation: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """P(Y < y) and P(Y ≤ y) of each row in its cluster, each (obs,)."""
        raise NotImplementedError

    def white(self, parameters: Parameters, rows: Rows, allocation: np.ndarray) -> np.ndarray:
        """Quantile residuals, randomised between the chances of y − 1 and y.

        Dunn and Smyth (1996, doi:10.1080/10618600.1996.10474708); by the same random numbers for
        as many rows.
        """
        low, high = self.chances(parameters, rows, allocation)
        mixed = low + np.random.default_rng(len(low)).random(len(low)) * (high - low)
        return np.asarray(ndtri(np.clip(mixed, _LEAST, 1 - _LEAST)))[:, None]

    def value_issues(self, y: np.ndarray, name: str) -> tuple[Issue, ...]:
        """Errors of the response y (obs,)."""
        del y, name
        return ()


class CountChecks(LinkedChecks):
    """Counts are whole, and not all zero."""

    def value_issues(self, y: np.ndarray, name: str) -> tuple[Issue, ...]:
        """Counts that are none."""
        return count_issues(y, name)


def offset_issues(offset: np.ndarray, name: str) -> tuple[Issue, ...]:
    """The error of an offset (obs,) that is an exposure rather than its logarithm."""
    largest = float(np.abs(offset).max())
    if largest <= LARGEST_OFFSET:
        return ()
    statement = (
        f"The offset {quoted(name)} reaches {largest:g}, and exp({largest:g}) is no exposure"
    )
    return (error("offset", statement, "give its logarithm", name, None, largest),)


def count_issues(y: np.ndarray, name: str) -> tuple[Issue, ...]:
    """Errors of counts (obs,): negative, not whole, too large, or all zero."""
    what = f"The response {quoted(name)}"
    negative, broken = np.flatnonzero(y < 0), np.flatnonzero(y != np.round(y))
    if negative.size:
        statement = f"{what} is negative in {negative.size} rows, down to {y.min():g}"
        remedy = "counts are 0 or more; take another family"
        found = error("negative", statement, remedy, name, int(negative[0]), float(negative.size))
    elif broken.size:
        value = y[broken[0]]
        statement = f"{what} is no whole number in {broken.size} rows, such as {value:g}"
        remedy = (
            "give counts, and for rates the logarithm of the exposure as offset; or take another "
            "family"
        )
        found = error("not_whole", statement, remedy, name, int(broken[0]), float(broken.size))
    elif y.max() > LARGEST_COUNT:
        statement = f"{what} reaches {y.max():g}, beyond which not every whole number is a double"
        found = error("too_large", statement, "give it in another unit", name, None, float(y.max()))
    elif not y.any():
        statement = f"{what} is 0 in all {len(y)} rows used: no rate can be told from zero"
        found = error("all_zero", statement, "leave it out, or add rows", name, None, 0.0)
    else:
        return ()
    return (found,)
