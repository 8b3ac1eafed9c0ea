"""What twins share of responses that depend on their predictors through a line b_k + u'θ_k."""

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from itertools import combinations

import numpy as np

from jointmix.families.parameters import Parameters
from jointmix.families.priors.priors import Fixed
from jointmix.families.protocol import Scaled
from jointmix.families.rows import Rows
from jointmix.validation.twin.family import Array, Arrays, Candidate, Density, Twin, orders

AXIS = (
    "Under enumeration arrays have the components in front, (component, obs, predictor), so that "
    ".sum(axis=1) sums over rows: use .sum(axis=-1)"
)


class LineTwin(Twin):
    """b and θ; a family says what y's distribution about the line is."""

    @abstractmethod
    def about(self, line: Array, own: Mapping[str, Array]) -> Array:
        """The NumPyro distribution of y about lines."""

    def given(self, rows: Rows) -> Arrays:
        """What else of rows the distribution depends on, of y's shape."""
        del rows
        return {}

    @abstractmethod
    def log_pdf(self, y: np.ndarray, line: np.ndarray, own: Mapping[str, np.ndarray]) -> np.ndarray:
        """Log density of y about lines by `scipy.stats`, all broadcast to each other."""

    def complete(self, free: Mapping[str, Array], scaling: Scaled) -> Arrays:
        """b and θ; a fixed b is that of the users' scale, read at the predictors' centre."""
        priors, every = self.spec.priors, free["weight"].shape
        (center, unit), (y_center, y_unit) = scaling.predictor, scaling.line
        slope = free.get("slope", np.zeros((*every, len(self.spec.predictors))))
        if isinstance(priors.slope, Fixed):
            slope = np.broadcast_to(priors.slope.array * unit / y_unit, slope.shape)
        if "intercept" in free:
            intercept = free["intercept"]
        else:
            known = priors.intercept.array if isinstance(priors.intercept, Fixed) else 0.0
            at_center = known + (slope * y_unit / unit * center).sum(-1)
            intercept = (at_center - y_center) / y_unit
        return {"intercept": intercept, "slope": slope}

    def distribution(self, own: Mapping[str, Array], rows: Rows) -> Array:
        """Enumeration puts components in front, (K, 1, R): only the last axis is sure."""
        line = own["intercept"] + (rows.u * own["slope"]).sum(-1)
        own = {**own, **self.given(rows)}
        return self.about(line if rows.offset is None else line + rows.offset, own)

    def log_density(self, own: Mapping[str, np.ndarray], rows: Rows) -> np.ndarray:
        """About the lines of all components."""
        line = own["intercept"] + rows.u @ own["slope"].T
        if rows.offset is not None:
            line = line + rows.offset[:, None]
        given = {name: column[:, None] for name, column in self.given(rows).items()}
        return self.log_pdf(rows.y[:, None], line, {**own, **given})

    def line_at(self, parameters: Parameters, rows: Rows) -> np.ndarray:
        """b + u'θ + offset, (point, obs, component)."""
        line = rows.u @ np.swapaxes(parameters.slope, -1, -2) + parameters.intercept[:, None]
        return line if rows.offset is None else line + rows.offset[:, None]

    def reach(self, parameters: Parameters, rows: Rows) -> np.ndarray:
        """Magnitudes that the line is a sum of, (point, obs, component)."""
        turned = np.swapaxes(np.abs(parameters.slope), -1, -2)
        found = np.abs(parameters.intercept)[..., None, :] + np.abs(rows.u) @ turned
        return found if rows.offset is None else found + np.abs(rows.offset)[:, None]

    def mistakes(self, parameters: Parameters, rows: Rows, at: Density) -> Iterator[Candidate]:
        """Of the line."""
        b, slope = parameters.intercept, parameters.slope
        k, r = slope.shape[1:]
        line = "from the line of y."
        yield f"The intercept is missing {line}", at(parameters.replace(intercept=0 * b))
        yield f"The slopes are missing {line}", at(parameters.replace(slope=0 * slope))
        yield "The slopes have the wrong sign.", at(parameters.replace(slope=-slope))
        yield from self.own_mistakes(parameters, at)
        yield from self._wrong_axis(parameters, rows)
        for i, j in combinations(range(r), 2):
            order = np.arange(r)
            order[[i, j]] = j, i
            sentence = f"The slopes of predictors {i} and {j} are exchanged."
            yield sentence, at(parameters.replace(slope=slope[..., order]))
        for order, words in orders(k):
            sentence = f"The slopes belong to other components: {words}."
            yield sentence, at(parameters.replace(slope=slope[:, order]))

    def own_mistakes(self, parameters: Parameters, at: Density) -> Iterator[Candidate]:
        """Of what there is besides the line."""
        del parameters, at
        return iter(())

    def _wrong_axis(self, parameters: Parameters, rows: Rows) -> Iterator[Candidate]:
        """The sum over predictors of u θ, (component, obs, predictor), taken over rows."""
        n, r = rows.u.shape
        if r not in (1, n):
            return
        # (point, component, predictor): taken for one number a row.
        line = parameters.intercept[..., None] + parameters.slope * rows.u.sum(axis=0)
        if rows.offset is not None:
            line = line + rows.offset
        own = {name: parameters[name][..., None] for name in self._by_component(parameters)}
        density = np.swapaxes(self.log_pdf(rows.y, line, own | self.given(rows)), 1, 2)
        yield f"The predictors of y are summed over rows. {AXIS}.", density

    def _by_component(self, parameters: Parameters) -> list[str]:
        """Names of the parameters that are one number a component."""
        ndim = parameters.weight.ndim
        return [name for name, value in parameters.items() if value.ndim == ndim]
