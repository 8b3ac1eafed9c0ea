"""What responses share whose mean is a function of their line: a link, an offset, and scoring."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from jointmix.families.checks import Checks
from jointmix.families.line import Line, line
from jointmix.families.linked_checks import LinkedChecks, line_of
from jointmix.families.matrices import least_squares
from jointmix.families.parameters import Parameters
from jointmix.families.priors.priors import Fixed
from jointmix.families.protocol import Parameter, Scores, Step
from jointmix.families.rows import Rows
from jointmix.families.specified import Scaled
from jointmix.families.steps import Products

#: Steps of scoring from an allocation, and how often one is halved until it climbs.
_FIRST_STEPS, _HALVINGS = 5, 12
#: By how much a step may move the line of a row: farther, the likelihood is no parabola.
_LONGEST = 5.0
#: The largest pull and information of a row: far from a cluster they would leave float64.
_MOST = 1e150


#: Further parameters by name, and what the family is `given` of the rows.
Own = Mapping[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class _Design:
    """What free coefficients of a line multiply.

    Attributes
    ----------
    values
        Columns, (obs, free).
    fixed
        What is known of η, (cluster, obs), or (1, obs) where it is the same for all.
    products
        Of (1, predictors) of each row with itself.
    free
        Which of these are multiplied.
    """

    values: np.ndarray
    fixed: np.ndarray
    products: Products
    free: slice

    def solved(self, weight: np.ndarray, pull: np.ndarray) -> np.ndarray:
        """(U'WU)⁻¹ U'pull, (start, cluster, free), of weights and pulls (start, cluster, obs)."""
        return least_squares(self.gram(weight), pull @ self.values)

    def gram(self, weight: np.ndarray) -> np.ndarray:
        """U'WU, (start, cluster, free, free), of weights (start, cluster, obs)."""
        return self.products.summed(weight)[..., self.free, self.free]


class Linked(Line):
    """A response with mean g⁻¹(η), η = b_k + u'θ_k + offset, g being the link.

    A family of it says how y is distributed at η: `log_density_at` and its derivative `pull_at`,
    the expected `information_at`, mean and variance, `draw_at`, and `working`, about g(y). All take
    η of the shape (..., obs, component), or (start, component, obs) in an M-step, and parameters
    that `at` has given the same dims.
    """

    linked: ClassVar[bool] = True
    checked: ClassVar[type[Checks]] = LinkedChecks

    def log_density_at(self, y: np.ndarray, eta: np.ndarray, own: Own) -> np.ndarray:
        """log p(y | η)."""
        raise NotImplementedError

    def pull_at(self, y: np.ndarray, eta: np.ndarray, own: Own) -> np.ndarray:
        """Derivative of log p(y | η) in η."""
        raise NotImplementedError

    def information_at(self, eta: np.ndarray, own: Own) -> np.ndarray:
        """Expectation of the squared derivative."""
        raise NotImplementedError

    def mean_at(self, eta: np.ndarray) -> np.ndarray:
        """g⁻¹(η)."""
        raise NotImplementedError

    def variance_at(self, eta: np.ndarray, own: Own) -> np.ndarray:
        """Var(y | η)."""
        raise NotImplementedError

    def draw_at(self, eta: np.ndarray, own: Own, rng: np.random.Generator) -> np.ndarray:
        """y drawn at η (obs,)."""
        raise NotImplementedError

    def shapes(self, parameters: Parameters, cluster: Any = slice(None)) -> dict[str, np.ndarray]:
        """The family's further parameters, of clusters or of all."""
        return {item.name: parameters[item.name][..., cluster] for item in self.further()}

    def given(self, rows: Rows) -> dict[str, np.ndarray]:
        """What else of rows the distribution depends on, each (obs,)."""
        del rows
        return {}

    def _own(self, parameters: Parameters, rows: Rows) -> dict[str, np.ndarray]:
        own = {name: value[..., None, :] for name, value in self.shapes(parameters).items()}
        return own | {name: column[:, None] for name, column in self.given(rows).items()}

    def known(self, scaling: Scaled) -> dict[str, np.ndarray]:
        """Fixed values, those of further parameters among them."""
        k = self.spec.n_clusters
        fixed = {
            item.name: np.broadcast_to(item.prior.array, (k,)) / _unit(item, scaling)
            for item in self.further()
            if isinstance(item.prior, Fixed)
        }
        return super().known(scaling) | fixed

    def to_users(self, parameters: Parameters, scaling: Scaled) -> dict[str, np.ndarray]:
        """b, θ and further parameters on the users' scale."""
        return super().to_users(parameters, scaling) | {
            item.name: parameters[item.name] * _unit(item, scaling) for item in self.further()
        }

    def to_model(self, parameters: Parameters, scaling: Scaled) -> dict[str, np.ndarray]:
        """b, θ and further parameters on the model's scale."""
        return super().to_model(parameters, scaling) | {
            item.name: parameters[item.name] / _unit(item, scaling) for item in self.further()
        }

    def log_density(self, parameters: Parameters, rows: Rows) -> np.ndarray:
        """log p(y | x, k), (..., obs, component)."""
        own = self._own(parameters, rows)
        return self.log_density_at(rows.y[:, None], line(parameters, rows), own)

    def mean(self, parameters: Parameters, rows: Rows) -> np.ndarray:
        """E[y | x, k], (..., obs, component)."""
        return self.mean_at(line(parameters, rows))

    def variance(self, parameters: Parameters, rows: Rows) -> np.ndarray:
        """Var(y | x, k), (..., obs, component)."""
        return self.variance_at(line(parameters, rows), self._own(parameters, rows))

    def squared_scale(self, parameters: Parameters) -> np.ndarray:
        """One: there always is a variance."""
        return np.ones(parameters.intercept.shape)

    def draw(
        self, parameters: Parameters, rows: Rows, cluster: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        """y of rows of known clusters, (obs,)."""
        own = self.shapes(parameters, cluster) | self.given(rows)
        return self.draw_at(line_of(parameters, rows, cluster), own, rng)

    def scores(self, parameters: Parameters, rows: Rows, share: np.ndarray) -> Scores:
        """Of b and θ, and of the logs of what is free besides."""
        eta, own = line(parameters, rows), self._own(parameters, rows)
        pull = share * self.pull_at(rows.y[:, None], eta, own)
        return Scores(self.line_scores(pull, rows), self.rest_scores(parameters, rows, share))

    def rest_scores(self, parameters: Parameters, rows: Rows, share: np.ndarray) -> np.ndarray:
        """Scores in the logs of further parameters, (obs, value)."""
        del parameters, rows
        return share[:, :0]

    def errors(self, parameters: Parameters, rows: Rows, share: np.ndarray) -> np.ndarray:
        """Of b and θ, those that are free: (U'R_k W_k U)⁻¹ with the information W."""
        own = self._own(parameters, rows)
        information = share * np.minimum(self.information_at(line(parameters, rows), own), _MOST)
        gram = self._design(rows, None).gram(information.T[None])[0]
        return np.asarray(np.linalg.pinv(gram, hermitian=True))

    def _design(self, rows: Rows, scaling: Scaled | None) -> _Design:
        """Predictors begin where they are 0 on the users' scale, if b is known there."""
        spec, n = self.spec, len(rows.y)
        u, fixed = rows.u, np.zeros((1, n))
        if rows.offset is not None:
            fixed = fixed + rows.offset
        if scaling is not None:
            known = self.known(scaling)
            if not spec.free_intercept:
                center, scale = scaling.predictor
                u, fixed = u + center / scale, fixed + known["intercept"][:, None]
            if "slope" in known:
                fixed = fixed + known["slope"] @ u.T
        first = int(not spec.free_intercept)
        last = 1 if isinstance(spec.priors.slope, Fixed) else 1 + u.shape[1]
        values = np.concatenate([np.ones((n, 1 - first)), u[:, : last - 1]], axis=1)
        return _Design(values, fixed, Products(u), slice(first, last))

    def maximise(self, step: Step) -> dict[str, np.ndarray]:
        """Steps of Fisher's scoring in b and θ, halved until they climb."""
        made, key = step.rows.made_of_them, ("design", self.spec)
        if key not in made:
            made[key] = self._design(step.rows, step.scaling)
        design = made[key]
        if step.previous is None:
            offset = 0.0 if step.rows.offset is None else step.rows.offset
            gap = self.working(step.rows) + offset - design.fixed
            coefficient = design.solved(step.share, step.share * gap)
            own, steps = self.first_shapes(step), _FIRST_STEPS
        else:
            coefficient = self._free(step.previous)
            own, steps = self.shapes(step.previous), 1
        each = {name: value[..., None] for name, value in own.items()} | self.given(step.rows)
        for _ in range(steps):
            coefficient = self._scored(step, coefficient, design, each)
        found = self._coefficients(coefficient, step.scaling)
        eta = design.fixed + coefficient @ design.values.T
        return found | self.better_shapes(step, eta, own)

    def first_shapes(self, step: Step) -> dict[str, np.ndarray]:
        """Further parameters (start, cluster) with which EM starts."""
        del step
        return {}

    def better_shapes(
        self, step: Step, eta: np.ndarray, own: dict[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        """Further parameters of a higher likelihood at η (start, cluster, obs)."""
        del step, eta
        return own

    def _scored(
        self, step: Step, coefficient: np.ndarray, design: _Design, own: dict[str, np.ndarray]
    ) -> np.ndarray:
        share, y = step.share, step.rows.y

        def height(eta: np.ndarray) -> np.ndarray:
            return (share * self.log_density_at(y, eta, own)).sum(axis=-1)

        values, fixed = design.values, design.fixed
        eta = fixed + coefficient @ values.T
        weight = share * np.minimum(self.information_at(eta, own), _MOST)
        pull = share * np.clip(self.pull_at(y, eta, own), -_MOST, _MOST)
        move = design.solved(weight, pull)
        farthest = np.abs(move @ values.T).max(axis=-1, initial=0.0)[..., None]
        move = move * np.minimum(1.0, _LONGEST / np.maximum(farthest, 1e-300))
        before, found, left = height(eta), coefficient, np.ones(share.shape[:2], dtype=bool)
        for _ in range(_HALVINGS):
            climbs = left & (height(fixed + (coefficient + move) @ values.T) >= before)
            found = np.where(climbs[..., None], coefficient + move, found)
            left &= ~climbs
            if not left.any():
                break
            move = move / 2
        return found

    def _free(self, parameters: Parameters) -> np.ndarray:
        """The free coefficients, (start, cluster, free)."""
        none = np.zeros((*parameters.intercept.shape, 0))
        parts = [parameters.intercept[..., None]] if self.spec.free_intercept else []
        parts += [] if isinstance(self.spec.priors.slope, Fixed) else [parameters.slope]
        return np.concatenate([none, *parts], axis=-1)

    def _coefficients(self, free: np.ndarray, scaling: Scaled) -> dict[str, np.ndarray]:
        spec, known = self.spec, self.known(scaling)
        shape = free.shape[:2]
        first = int(spec.free_intercept)
        slope = free[..., first:]
        if "slope" in known:
            slope = np.broadcast_to(known["slope"], (*shape, len(spec.predictors)))
        if spec.free_intercept:
            return {"intercept": free[..., 0], "slope": slope}
        center, scale = scaling.predictor
        return {"intercept": known["intercept"] + slope @ (center / scale), "slope": slope}


def _unit(parameter: Parameter, scaling: Scaled) -> float:
    """In what a further parameter is measured, on the users' scale."""
    return scaling.response[1] if parameter.measured else 1.0
