"""What can go wrong with a block: what its columns, its mode and its draws are looked at for.

A family says of its own parameters and columns what breaks them; `jointmix.model.dataset`,
`jointmix.modes.warnings` and `jointmix.checks` ask every block and word nothing of their own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from jointmix.families.parameters import Parameters
from jointmix.families.priors.priors import AnyPrior
from jointmix.families.priors.zero import improper_words
from jointmix.families.rows import Rows
from jointmix.families.specified import Specified, Table
from jointmix.tables.issues import Issue, warning

#: Residuals of this size, relative to the column, are rounding.
ROUNDING = 1e-9
#: A standard deviation of the table's in its direction below which a cluster's rows are looked at.
SMALL = 1e-3


@dataclass(frozen=True, kw_only=True)
class Closed:
    """A cluster that closed on rows in some draws.

    Attributes
    ----------
    cluster, n_rows
        Its place, and how many rows it closed on.
    share
        Of the draws in which it did.
    what
        These rows share, as "with 'a' = 1".
    remedy
        A sentence.
    """

    cluster: int
    n_rows: int
    share: float
    what: str
    remedy: str


@dataclass(frozen=True, kw_only=True)
class OwnScale:
    """A scale that some cluster's rows alone determine, and their own spread.

    Attributes
    ----------
    parameter, entry
        Its name, and the entry of its dim besides cluster, if it has one.
    column, prior
        Of which it is the scale, and what it has.
    spread
        Of the rows, in the column's units.
    constant
        Whether the column does not vary in them.
    precision
        Whether the parameter is in the place of 1/scale²; the prior is that of the scale's square.
    """

    parameter: str
    entry: int | None
    column: str
    prior: AnyPrior | None
    spread: float
    constant: bool
    precision: bool = False

    @property
    def power(self) -> float:
        """Which power of the parameter is the scale."""
        return -0.5 if self.precision else 1.0


class Checks:
    """Of a block of which nothing is known: nothing is looked for.

    Parameters
    ----------
    spec
        The model.
    columns
        Those of which the block is the density.
    """

    def __init__(self, spec: Specified, columns: tuple[str, ...]) -> None:
        self.spec = spec
        self.columns = columns

    #: What to do where a response is spread otherwise than the family has it; {0} is its name.
    shape_remedy: ClassVar[str] = (
        'Look at the residuals of {0}: family="student_t" has heavier tails; transform it where it '
        "is skewed."
    )

    @property
    def measured(self) -> tuple[str, ...]:
        """Columns of real numbers, in which ties are rounding."""
        return self.columns

    @property
    def minimum_rows(self) -> int:
        """The fewest rows with which a cluster could have its own parameters."""
        return 2

    @property
    def independent(self) -> dict[tuple[str, ...], float]:
        """Columns that must be linearly independent of each other and of the constant.

        With the largest condition number allowed.
        """
        return {}

    def harmless_ties(self, column: str) -> str:
        """Why a cluster cannot close on tied values of a column, a clause; "" if it can."""
        del column
        return "as they do not bear on its density"

    def domain_issues(self, table: Table) -> tuple[Issue, ...]:
        """Errors of values that the columns cannot take."""
        del table
        return ()

    def new_issues(self, table: Table, has_response: bool) -> tuple[Issue, ...]:
        """Errors of new rows, of which the response may be unknown."""
        del table, has_response
        return ()

    def exact_issue(self, table: Table) -> Issue | None:
        """Columns that others determine: nothing is left to be random."""
        del table
        return None

    def improper_issues(self, table: Table) -> tuple[Issue, ...]:
        """Warnings of rows that leave the posterior improper."""
        del table
        return ()

    def mode_issue(self, rows: Rows, allocation: np.ndarray) -> Issue | None:
        """What rows (on the users' scale) do inside the clusters of ``allocation`` (obs,)."""
        del rows, allocation
        return None

    def white(self, parameters: Parameters, rows: Rows, allocation: np.ndarray) -> np.ndarray:
        """The columns as standard normal numbers if the row's cluster is right, (obs, column).

        At parameters without batch dims; no columns where there are no such numbers.
        """
        del parameters, allocation
        return np.zeros((len(rows.y), 0))

    @property
    def holds_all(self) -> bool:
        """Whether one cluster cannot close, as it has to be wide enough for all rows."""
        return self.spec.n_clusters == 1

    def smallest_spread(self, parameters: Parameters, rows: Rows) -> np.ndarray | None:
        """Smallest scale over the table's there, (draw, cluster), of draws (draw,).

        None where nothing can close, or only as far as the prior lets it.
        """
        del parameters, rows
        return None

    def closed(
        self, parameters: Parameters, rows: Rows, held: np.ndarray, cluster: int, share: float
    ) -> Closed | None:
        """What a cluster closed on, if the rows that it ``held`` (row,) in its worst draw tell.

        Parameters
        ----------
        parameters, rows
            Draws (draw,), and all rows, on the users' scale.
        share
            Of the draws in which `smallest_spread` was small.
        """
        del parameters, rows, held, cluster, share
        return None

    def own_scales(self, rows: Rows) -> tuple[OwnScale, ...]:
        """Scales with priors that vanish at zero, which a cluster's ``rows`` alone determine."""
        del rows
        return ()

    def scale_words(self, scales: Sequence[OwnScale], rows: Rows) -> tuple[str, str]:
        """What clusters' rows do in one column, and what its scale is called there.

        Parameters
        ----------
        scales
            The clusters' own, of one parameter and column.
        rows
            All rows.
        """
        raise NotImplementedError


def improper(prior: object, parameter: str, subject: str, count: int, what: str) -> Issue:
    """The issue of ``count`` rows on which a cluster may close."""
    statement, remedy = improper_words(prior, parameter)
    return warning("improper", f"{what}, and {statement}", remedy, subject, None, float(count))


def most_equal(values: np.ndarray) -> tuple[int, np.ndarray]:
    """How often the most frequent row of (N, C) occurs, and that row."""
    if values.shape[1] == 1:
        # Rows are compared as records, a tenth as fast as numbers.
        distinct, counts = np.unique(values[:, 0], return_counts=True)
        distinct = distinct[:, None]
    else:
        distinct, counts = np.unique(values, axis=0, return_counts=True)
    most = int(counts.argmax())
    return int(counts[most]), distinct[most]


def inverse_gamma_remedy(parameter: str) -> str:
    """What to do about a parameter whose prior lets a cluster close."""
    return (
        f"Give {parameter} the inverse-gamma prior, under which the posterior is proper, or fewer "
        "clusters."
    )
