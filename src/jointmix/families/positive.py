"""What positive responses share: the log of the mean is a line, and a shape says how they spread.

Their density is

    log p(y | η) = c(shape) − power · log y − shape · D(y, η)

with half a deviance D ≥ 0 that is 0 where y is its mean, so that the largest likelihood has a line
whatever the shape, and a shape of the mean of D alone.
"""

from typing import ClassVar

import numpy as np

from jointmix.families.checks import Checks
from jointmix.families.limits import MOST_RATIO, VARIANCE_FLOOR
from jointmix.families.line import line
from jointmix.families.linked import Own
from jointmix.families.log_link import LogLinked, without_offset
from jointmix.families.parameters import Parameters
from jointmix.families.positive_checks import PositiveChecks
from jointmix.families.priors.priors import Fixed
from jointmix.families.protocol import Parameter, Step, freed
from jointmix.families.rows import Rows
from jointmix.families.straight import Straightened

#: Draws stay where they are positive numbers.
_LEAST_DRAWN, _MOST_DRAWN = 1e-300, 1e300


class Positive(LogLinked):
    """y > 0 with mean exp(η) and a shape s_k of its own in each cluster.

    A family says what c, its slope, the power and D are, and which shape is best.
    """

    positive: ClassVar[bool] = True
    own_priors: ClassVar[tuple[str, ...]] = ("shape",)
    checked: ClassVar[type[Checks]] = PositiveChecks
    straight: ClassVar[tuple[Straightened, ...]] = (
        Straightened("shape", ("intercept", "slope"), precision=True),
    )
    #: On paper, in words, whether it has the response's unit, and the power of y.
    shape_symbol: ClassVar[str]
    shape_meaning: ClassVar[str]
    shape_measured: ClassVar[bool] = False
    power: ClassVar[float]

    def log_constant(self, shape: np.ndarray) -> np.ndarray:
        """c(shape)."""
        raise NotImplementedError

    def constant_slope(self, shape: np.ndarray) -> np.ndarray:
        """Derivative of c in the log of the shape."""
        raise NotImplementedError

    def half_deviance(self, y: np.ndarray, eta: np.ndarray) -> np.ndarray:
        """D of y > 0."""
        raise NotImplementedError

    def best_shape(self, mean: np.ndarray) -> np.ndarray:
        """The shape that has the largest likelihood where the mean of D is ``mean`` > 0."""
        raise NotImplementedError

    def further(self) -> tuple[Parameter, ...]:
        """The shape, one a cluster."""
        prior = self.spec.priors.shape
        return (
            Parameter(
                name="shape", symbol=self.shape_symbol, role="shape", prior=prior,
                free=freed(prior, self.spec.n_clusters), site="shape",
                meaning=self.shape_meaning, measured=self.shape_measured,
            ),
        )  # fmt: skip

    def working(self, rows: Rows) -> np.ndarray:
        """log y less the offset."""
        return without_offset(log_of(rows.y), rows)

    def log_density_at(self, y: np.ndarray, eta: np.ndarray, own: Own) -> np.ndarray:
        """log p(y | η); −∞ where y is not positive."""
        inside, shape = y > 0, own["shape"]
        at = y if inside.all() else np.where(inside, y, 1.0)
        found = self.log_constant(shape) - self.power * np.log(at)
        found = found - shape * self.half_deviance(at, eta)
        return np.asarray(found if inside.all() else np.where(inside, found, -np.inf))

    def spread(self, parameters: Parameters) -> np.ndarray | None:
        """The coefficient of variation, unless it is fixed; of the mean of all rows."""
        if isinstance(self.spec.priors.shape, Fixed):
            return None
        return np.asarray(parameters["shape"] ** -0.5)

    def first_shapes(self, step: Step) -> dict[str, np.ndarray]:
        """What is known; else 1, as the line does not depend on it."""
        known = self.known(step.scaling).get("shape", np.ones(self.spec.n_clusters))
        return {"shape": np.broadcast_to(known, step.count.shape)}

    def better_shapes(
        self, step: Step, eta: np.ndarray, own: dict[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        """The best, D being at least what the floor of a variance leaves."""
        if isinstance(self.spec.priors.shape, Fixed):
            return own
        each = step.share * self.half_deviance(step.rows.y, eta)
        mean = each.sum(axis=-1) / step.count
        return {"shape": self.best_shape(np.maximum(mean, 0.0) + VARIANCE_FLOOR / 2)}

    def rest_scores(self, parameters: Parameters, rows: Rows, share: np.ndarray) -> np.ndarray:
        """Of the logs of the shapes."""
        if isinstance(self.spec.priors.shape, Fixed):
            return share[:, :0]
        shape, eta = parameters["shape"], line(parameters, rows)
        return np.asarray(
            share * (self.constant_slope(shape) - shape * self.half_deviance(rows.y[:, None], eta))
        )


def log_of(y: np.ndarray) -> np.ndarray:
    """log y; 0 where a response is not positive, as that of new rows that have none."""
    return np.asarray(np.log(np.where(y > 0, y, 1.0)))


def log_ratio(y: np.ndarray, eta: np.ndarray) -> np.ndarray:
    """log y − η of y > 0, cut off before its exponential would leave float64."""
    return np.asarray(np.minimum(np.log(y) - eta, MOST_RATIO))


def drawn(values: np.ndarray) -> np.ndarray:
    """Values that rounding may have made 0 or infinite, as positive numbers."""
    return np.clip(values, _LEAST_DRAWN, _MOST_DRAWN)
