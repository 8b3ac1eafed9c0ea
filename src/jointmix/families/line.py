"""What all responses share: the line b_k + u'θ_k, with its coefficients on two scales."""

from dataclasses import replace
from functools import cached_property
from typing import ClassVar

import numpy as np

from jointmix.families.parameters import Parameters
from jointmix.families.priors.priors import Fixed
from jointmix.families.protocol import Block, Parameter, freed
from jointmix.families.rows import Rows
from jointmix.families.specified import Scaled


def line(parameters: Parameters, rows: Rows) -> np.ndarray:
    """b_k + u'θ_k of each row and component, with its offset, (..., obs, component)."""
    value = parameters.slope @ rows.u.T + parameters.intercept[..., None]
    if rows.offset is not None:
        value = value + rows.offset
    return np.swapaxes(value, -1, -2)


class Line(Block):
    """A response that depends on its predictors through b_k + u'θ_k alone."""

    of_response: ClassVar[bool] = True

    @property
    def line_of(self) -> str:
        """What the line is, in a few words."""
        return "response"

    @property
    def coefficients(self) -> tuple[Parameter, Parameter]:
        """b and θ."""
        spec, k, priors = self.spec, self.spec.n_clusters, self.spec.priors
        predictors = tuple(spec.predictors)
        where = " where every predictor is 0" if predictors else ""
        return (
            Parameter(
                name="intercept", symbol="b", role="location", prior=priors.intercept,
                free=(k,) if spec.free_intercept else (), labels=(None,),
                meaning=f"{self.line_of}{where}",
            ),
            Parameter(
                name="slope", symbol="θ", dims=("predictor",), role="location",
                prior=priors.slope, free=freed(priors.slope, k, len(predictors)),
                labels=predictors, meaning=f"change of the {self.line_of} per unit",
            ),
        )  # fmt: skip

    @cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        """b, θ and what the family adds."""
        return (*self.coefficients, *self.further())

    def further(self) -> tuple[Parameter, ...]:
        """Parameters besides those that all of its kind have."""
        return ()

    def known(self, scaling: Scaled) -> dict[str, np.ndarray]:
        """Fixed b and θ on scaled columns; a fixed b is the line's value where u is 0 there."""
        spec, k, priors, found = self.spec, self.spec.n_clusters, self.spec.priors, {}
        (_, scale), (y_center, y_scale) = scaling.predictor, scaling.line
        if isinstance(priors.slope, Fixed):
            slope = np.broadcast_to(priors.slope.array, (k, len(spec.predictors)))
            found["slope"] = slope * scale / y_scale
        if not spec.free_intercept:
            at = priors.intercept.array if isinstance(priors.intercept, Fixed) else np.zeros(())
            found["intercept"] = (np.broadcast_to(at, (k,)) - y_center) / y_scale
        return found

    def follows(self, scaling: Scaled) -> dict[str, tuple[str, np.ndarray]]:
        """A known b on the users' scale, where columns are not centred, moves with θ here."""
        center, scale = scaling.predictor
        return {} if self.spec.free_intercept else {"intercept": ("slope", center / scale)}

    def to_users(self, parameters: Parameters, scaling: Scaled) -> dict[str, np.ndarray]:
        """b and θ of scaled columns as those on the users' scale."""
        (center, scale), (y_center, y_scale) = scaling.predictor, scaling.line
        slope = parameters.slope * (y_scale / scale)
        return {
            "intercept": y_center + y_scale * parameters.intercept - slope @ center,
            "slope": slope,
        }

    def to_model(self, parameters: Parameters, scaling: Scaled) -> dict[str, np.ndarray]:
        """b and θ on the users' scale as those of scaled columns."""
        (center, scale), (y_center, y_scale) = scaling.predictor, scaling.line
        shifted = parameters.intercept + parameters.slope @ center - y_center
        return {
            "intercept": shifted / y_scale,
            "slope": parameters.slope * (scale / y_scale),
        }

    def marginal(
        self, rows: Rows, parameters: Parameters, present: np.ndarray
    ) -> tuple[Rows, dict[str, np.ndarray]] | None:
        """The same line, if no predictor is missing."""
        spec, features = self.spec, list(self.spec.features)
        if any(name in features and not present[features.index(name)] for name in spec.predictors):
            return None
        inside = [features.index(name) for name in spec.predictors if name in features]
        outside = [i for i, name in enumerate(spec.predictors) if name not in features]
        there = np.flatnonzero(present)
        slope = np.zeros((*parameters.slope.shape[:-1], len(there) + len(outside)))
        of_predictor = [i for i, name in enumerate(spec.predictors) if name in features]
        slope[..., np.searchsorted(there, inside)] = parameters.slope[..., of_predictor]
        slope[..., len(there) :] = parameters.slope[..., outside]
        x = rows.x[:, there]
        own = {item.name: parameters[item.name] for item in self.parameters} | {"slope": slope}
        return replace(rows, x=x, u=np.hstack([x, rows.u[:, outside]])), own

    def line_scores(self, pull: np.ndarray, rows: Rows) -> dict[str, np.ndarray]:
        """Scores of b and θ from those of the line, ``pull`` (obs, cluster)."""
        return {"intercept": pull[..., None], "slope": pull[..., None] * rows.u[:, None, :]}
