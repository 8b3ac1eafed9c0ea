"""Coordinates in which what is known of a scale and of what is measured in it is nearly Gaussian.

Rows enter a Gaussian density through residuals z = A (x − μ), A = L⁻¹ the inverse factor of
Σ = LL', of which log A_ii − z_i²/2 is summed up. Given A_ii, the other entries of row i and
c_i = (Aμ)_i are exactly Gaussian there, and A_ii² has a gamma density, the cube root of which is
almost normal (Wilson and Hilferty 1931). Around a point these coordinates are

    A_ii = a_i (1 + t_i / 1.5)^1.5,   B_ij = (A_ij − m_ij A_ii) s_j,   C = A (μ − μ₀)

with a, m = A_ij / A_ii, μ₀ and sds s at the point, where all coordinates are 0. A line b + u'θ with
the scale σ is the same with A = 1/σ.

All maps are to and from the unconstrained values that are sampled (see `jointmix.kernel.problem`),
and have a batch dim in front.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from jointmix.families.matrices import inverse_lower

#: Of the power of 1 + t/1.5: it makes a cube root of A².
_POWER = 1.5
#: Steps of differences, in units in which coordinates are of the order of one.
_STEP, _WIDE_STEP = 1e-5, 1e-3


@dataclass(frozen=True)
class Straightened:
    """Parameters of a block whose posterior its straight coordinates make nearly Gaussian.

    Attributes
    ----------
    scale
        The name of a positive parameter, standard deviations or a scale.
    locations
        Names of the locations that are measured in it: entry j in scale j, or all in one.
    correlation
        The name of the matrix that makes a covariance of the scales, if there is one.
    precision
        Whether the parameter is in the place of 1/scale², as the shape of a gamma density is.
    """

    scale: str
    locations: tuple[str, ...] = ()
    correlation: str = ""
    precision: bool = False


class Bend(ABC):
    """Straight coordinates of some unconstrained values, those at `places` of the whole vector.

    Parameters
    ----------
    places
        Of the values that it bends, (value,).
    """

    def __init__(self, places: np.ndarray) -> None:
        self.places = places

    @abstractmethod
    def values(self, straight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Unconstrained values (draw, value) at coordinates, and log |d values / d coordinates|.

        The latter, (draw,), is −∞ where coordinates are of no values.
        """

    @abstractmethod
    def coordinates(self, values: np.ndarray) -> np.ndarray:
        """Coordinates (draw, value) of unconstrained values (draw, value)."""

    def slopes(self, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Derivatives at coordinates (value,): of the values (value, value), and of the log volume.

        Values in rows, coordinates in columns; by central differences.
        """
        step = _STEP * np.eye(len(at))
        (ahead, log_ahead), (behind, log_behind) = self.values(at + step), self.values(at - step)
        return (ahead - behind).T / (2 * _STEP), (log_ahead - log_behind) / (2 * _STEP)

    def curvature(self, at: np.ndarray, pull: np.ndarray) -> np.ndarray:
        """Second derivatives at coordinates (value,) of values·pull and of the log volume."""
        n, step = len(at), _WIDE_STEP
        i, j = np.triu_indices(n)
        one, other = step * np.eye(n)[i], step * np.eye(n)[j]
        signs = [(1, 1, 1), (-1, -1, 1), (1, -1, -1), (-1, 1, -1)]
        total = np.zeros(len(i))
        for a, b, sign in signs:
            values, log_volume = self.values(at + a * one + b * other)
            total += sign * (values @ pull + log_volume)
        result = np.empty((n, n))
        result[i, j] = result[j, i] = total / (4 * step**2)
        return result


class Scaled(Bend):
    """Scales, each with locations of its own, or one for all: a diagonal Σ, a line.

    Parameters
    ----------
    scales
        Places of the unconstrained scales, (scale,).
    locations
        Places of the locations in units of their priors, (location,).
    measured
        Which scale each is measured in, (location,).
    units
        Scales of the locations' priors, (location,).
    power
        The unconstrained value is `power` times a log scale; negative of a precision.
    at
        The point, all unconstrained values (value,).
    """

    def __init__(
        self, scales: np.ndarray, locations: np.ndarray, measured: np.ndarray, units: np.ndarray,
        power: float, at: np.ndarray,
    ) -> None:  # fmt: skip
        super().__init__(np.concatenate([scales, locations]))
        self._n, self._measured, self._units, self._power = len(scales), measured, units, power
        self._center, self._log_scale = at[locations], at[scales] / power

    def values(self, straight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        base = 1 + straight[:, : self._n] / _POWER
        inside = (base > 0).all(axis=1)
        log_base = np.log(np.where(base > 0, base, 1.0))
        log_scale = self._log_scale - _POWER * log_base
        own = log_scale[:, self._measured] - np.log(self._units)
        found = np.hstack(
            [
                self._power * log_scale,
                self._center + straight[:, self._n :] * np.exp(own),
            ]
        )
        log_volume = self._n * np.log(abs(self._power)) - log_base.sum(axis=1) + own.sum(axis=1)
        return found, np.where(inside, log_volume, -np.inf)

    def coordinates(self, values: np.ndarray) -> np.ndarray:
        log_scale = values[:, : self._n] / self._power
        base = np.exp((self._log_scale - log_scale) / _POWER)
        own = log_scale[:, self._measured] - np.log(self._units)
        moved = (values[:, self._n :] - self._center) * np.exp(-own)
        return np.hstack([_POWER * (base - 1), moved])


class Triangular(Bend):
    """One covariance matrix with the means measured in it, those of all clusters if it is tied.

    Parameters
    ----------
    scales, partial
        Places of the unconstrained sds, (D,), and partial correlations, (pair,), row by row.
    locations
        Places of the means in units of their priors, (cluster, D), or (0, D).
    units
        Scales of the means' priors, (D,).
    power, at
        As for `Scaled`.
    """

    def __init__(
        self, scales: np.ndarray, partial: np.ndarray, locations: np.ndarray, units: np.ndarray,
        power: float, at: np.ndarray,
    ) -> None:  # fmt: skip
        super().__init__(np.concatenate([scales, partial, locations.ravel()]))
        self._d, self._k, self._power = len(scales), len(locations), power
        self._units = units if self._k else np.ones(self._d)
        self._pairs = np.tril_indices(self._d, -1)
        self._center = at[locations]
        whiten = inverse_lower(self._factor(at[scales][None], at[partial][None]))[0]
        self._diagonal = np.diagonal(whiten).copy()
        self._width = np.exp(at[scales] / power)[self._pairs[1]]
        self._ratio = (whiten / self._diagonal[:, None])[self._pairs]

    def values(self, straight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        d, (row, column) = self._d, self._pairs
        sheared = straight[:, d : d + len(row)]
        moved = straight[:, d + len(row) :].reshape(len(straight), self._k, d)
        base = 1 + straight[:, :d] / _POWER
        inside = (base > 0).all(axis=1)
        base = np.where(base > 0, base, 1.0)
        whiten = np.zeros((len(straight), d, d))
        diagonal = self._diagonal * base**_POWER
        whiten[:, range(d), range(d)] = diagonal
        whiten[:, row, column] = sheared / self._width + self._ratio * diagonal[:, row]
        factor = inverse_lower(whiten)
        mean = self._center + (moved @ np.swapaxes(factor, 1, 2)) / self._units
        # Lengths of what is left of a row of L from each column on; the first is the sd.
        left = np.sqrt(np.cumsum(factor[:, :, ::-1] ** 2, axis=2)[:, :, ::-1])
        log_sd, log_left = np.log(left[:, :, 0]), np.log(left[:, row, column])
        log_next = np.log(left[:, row, column + 1])
        partial = 2 * np.arcsinh(factor[:, row, column] / left[:, row, column + 1])
        log_diagonal = np.log(diagonal)
        log_volume = (
            # To A, to L, and to μ in units of its prior.
            (np.log(self._diagonal) + (_POWER - 1) * np.log(base)).sum(axis=1)
            - np.log(self._width).sum()
            - (d + 1 + self._k) * log_diagonal.sum(axis=1)
            - self._k * np.log(self._units).sum()
            # To sds and partial correlations, row by row.
            - (np.arange(d) * log_sd).sum(axis=1)
            - (log_left - log_sd[:, row]).sum(axis=1)
            - (log_diagonal + log_sd).sum(axis=1)
            # To their unconstrained values.
            + (np.log(self._power) - log_sd).sum(axis=1)
            + (np.log(2) + 2 * (log_left - log_next)).sum(axis=1)
        )
        found = np.hstack([self._power * log_sd, partial, mean.reshape(len(mean), self._k * d)])
        return found, np.where(inside, log_volume, -np.inf)

    def coordinates(self, values: np.ndarray) -> np.ndarray:
        d, (row, column) = self._d, self._pairs
        mean = values[:, d + len(row) :].reshape(len(values), self._k, d)
        whiten = inverse_lower(self._factor(values[:, :d], values[:, d : d + len(row)]))
        diagonal = whiten[:, range(d), range(d)]
        sheared = (whiten[:, row, column] - self._ratio * diagonal[:, row]) * self._width
        moved = ((mean - self._center) * self._units) @ np.swapaxes(whiten, 1, 2)
        t = _POWER * ((diagonal / self._diagonal) ** (1 / _POWER) - 1)
        return np.hstack([t, sheared, moved.reshape(len(moved), self._k * d)])

    def _factor(self, scales: np.ndarray, partial: np.ndarray) -> np.ndarray:
        """L (draw, D, D) of unconstrained sds and partial correlations."""
        d, (row, column) = self._d, self._pairs
        tangent = np.zeros((len(scales), d, d))
        tangent[:, row, column] = np.tanh(partial / 2)
        tangent[:, range(d), range(d)] = 1.0
        rest = np.ones((len(scales), d, d))
        rest[:, row, column] = 1 / np.cosh(partial / 2)
        before = np.ones((len(scales), d, d))
        before[:, :, 1:] = np.cumprod(rest, axis=2)[:, :, :-1]
        return np.asarray(np.exp(scales / self._power)[:, :, None] * tangent * before)
