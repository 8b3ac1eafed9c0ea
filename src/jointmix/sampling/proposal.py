"""A proposal that is nearly the posterior: normals in straight coordinates, one a mode.

A fifth of the candidates come from a t distribution around the same mode, so that the
posterior's density over the proposal's is bounded where its tails are no heavier.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import gammaln, logsumexp

from jointmix.base.errors import NotNormalError
from jointmix.families.parameters import Parameters
from jointmix.kernel.entry import value_and_gradient
from jointmix.kernel.problem import free_parameters
from jointmix.kernel.records import CONE
from jointmix.kernel.values import unconstrain
from jointmix.model.dataset import Dataset
from jointmix.modes.density import RowsDensity
from jointmix.modes.free import free_values
from jointmix.modes.mass import Peak
from jointmix.modes.straight import StraightNormal, straight_normal
from jointmix.sampling.weights import smoothed

if TYPE_CHECKING:
    from jointmix.sampling.devices import DeviceDensity

#: Share of candidates from the t distribution, and its degrees of freedom.
_WIDE_SHARE, _DF = 0.2, 5.0
#: Least share of the candidates that a mode gets.
_LEAST_SHARE = 0.1
#: By which the variances of weighted candidates are made larger.
_WIDER = 1.1
#: Candidates that are mapped at a time.
_AT_ONCE = 256


@dataclass(frozen=True, eq=False)
class Posterior:
    """A model's posterior given rows, as a density of unconstrained values, labels left free.

    With a direction, of one of the K! copies that the labels make: the one whose components are
    sorted along it. With the backend "jax" densities of many points come from JAX's devices; modes
    are climbed to by the kernel all the same.
    """

    dataset: Dataset
    direction: np.ndarray | None
    backend: str = "kernel"

    @cached_property
    def log_density(self) -> RowsDensity:
        """The log density at unconstrained values (dim,) whatever their order, and its gradient."""
        return RowsDensity(self.dataset)

    @property
    def problem(self) -> np.ndarray:
        """The kernel's description of model, priors and the rows in this process."""
        return self.log_density.problem

    @cached_property
    def on_devices(self) -> "DeviceDensity":
        """The density on JAX's devices."""
        from jointmix.sampling.devices import density_of

        return density_of(self.dataset, None)

    def log_densities(self, points: np.ndarray, cores: int | None) -> np.ndarray:
        """Log densities (point,) of unconstrained values (point, dim); −∞ outside the copy."""
        found = np.full(len(points), -np.inf)
        inside = np.flatnonzero(self._is_sorted(points))
        if self.backend == "jax":
            own = self.on_devices.log_densities(points[inside])
        else:
            own = self.log_density.many(points[inside], cores)
        found[inside] = np.where(np.isnan(own), -np.inf, own)
        return found

    def _is_sorted(self, points: np.ndarray) -> np.ndarray:
        if self.direction is None:
            return np.ones(len(points), dtype=bool)
        first = 0
        for parameter in free_parameters(self.dataset.spec):
            if parameter.transform == CONE:
                xi = points[:, first : first + parameter.size].reshape(-1, *parameter.shape)
                return np.asarray((np.diff(xi @ self.direction, axis=1) > 0).all(axis=1))
            first += parameter.size
        raise AssertionError("a direction is one of locations")

    def point(self, parameters: Parameters) -> np.ndarray:
        """Unconstrained values (dim,) at parameters on the model's scale."""
        spec = self.dataset.spec
        return unconstrain(free_values(parameters, spec), spec, None)

    def normal_near(self, parameters: Parameters, known: Peak | None = None) -> StraightNormal:
        """The normal approximation at the mode that is climbed to from parameters.

        Parameters
        ----------
        known
            The mode of the density of unconstrained values near them: the climb begins there, and
            of many rows its curvature is not asked for again.

        Raises
        ------
        NotNormalError
            If there is no mode with curvature in all directions.
        """
        some = self.log_density.rough
        return straight_normal(
            self.log_density,
            self.dataset.spec,
            self.point(parameters),
            self.log_density.total,
            None if some is None else partial(value_and_gradient, some),
            None if known is None else known.normal,
        )


@dataclass(frozen=True, eq=False)
class Proposal:
    """A mixture of normals in straight coordinates, with tails.

    Attributes
    ----------
    normals
        One a mode, and perhaps one adapted to a pilot.
    share
        Of the candidates, (normal,).
    """

    normals: tuple[StraightNormal, ...]
    share: np.ndarray

    def draw(self, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Candidates (n, dim), unconstrained values, and their log densities under it (n,).

        Coordinates of no values give NaN and the density +∞, so that they weigh nothing.
        """
        dim = len(self.normals[0].center)
        mode = rng.choice(len(self.normals), size=n, p=self.share)
        z = rng.normal(size=(n, dim))
        wide = rng.uniform(size=n) < _WIDE_SHARE
        z[wide] *= np.sqrt(_DF / rng.chisquare(_DF, size=(np.count_nonzero(wide), 1)))
        values, log_density = np.empty((n, dim)), np.empty(n)
        for first in range(0, n, _AT_ONCE):
            part = slice(first, first + _AT_ONCE)
            values[part], log_density[part] = self._mapped(z[part], mode[part])
        return values, log_density

    def _mapped(self, z: np.ndarray, place: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Unconstrained values of standardised ones (n, dim) of normals (n,), and log densities."""
        straight, charts = np.empty(z.shape), [normal.chart for normal in self.normals]
        for i, normal in enumerate(self.normals):
            own = place == i
            straight[own] = normal.center + z[own] @ normal.stretch.T
        values, log_volume = np.full(z.shape, np.nan), np.full(len(z), -np.inf)
        log_density = np.full((len(self.normals), len(z)), -np.inf)
        for chart in dict.fromkeys(charts):
            drawn = np.isin(place, [i for i, each in enumerate(charts) if each is chart])
            values[drawn], log_volume[drawn] = chart.values(straight[drawn])
        usable = np.isfinite(log_volume) & np.isfinite(values).all(axis=1)
        values[~usable] = np.nan
        for chart in dict.fromkeys(charts):
            at, volume = straight.copy(), log_volume.copy()
            own = [i for i, each in enumerate(charts) if each is chart]
            elsewhere = usable & ~np.isin(place, own)
            at[elsewhere] = chart.coordinates(values[elsewhere])
            _, volume[elsewhere] = chart.values(at[elsewhere])
            for i in own:
                normal = self.normals[i]
                density = _log_density(normal.standardised(at[usable])) - normal.log_det
                log_density[i, usable] = np.log(self.share[i]) + density - volume[usable]
        return values, np.where(usable, logsumexp(log_density, axis=0), np.inf)

    def log_density(self, values: np.ndarray) -> np.ndarray:
        """Log densities (n,) of unconstrained values (n, dim)."""
        found = np.empty((len(self.normals), len(values)))
        charts = [normal.chart for normal in self.normals]
        for chart in dict.fromkeys(charts):
            at = chart.coordinates(values)
            _, log_volume = chart.values(at)
            for i, normal in enumerate(self.normals):
                if charts[i] is chart:
                    density = _log_density(normal.standardised(at)) - normal.log_det
                    found[i] = np.log(self.share[i]) + density - log_volume
        return np.asarray(logsumexp(found, axis=0))

    def adapted(self, values: np.ndarray, log_weight: np.ndarray) -> "Proposal":
        """The same with a further normal in the first one's coordinates, of weighted moments.

        Half the candidates then come from N(m, 1.1 V), m and V being those of candidates
        (n, dim) with log weights (n,), smoothed and, where few are effective, drawn to the first
        normal's (Cappé et al. 2004).
        """
        first, (smooth, _) = self.normals[0], smoothed(log_weight)
        usable = np.isfinite(smooth)
        weight = np.exp(smooth[usable] - logsumexp(smooth[usable]))
        straight = first.chart.coordinates(values[usable])
        center = weight @ straight
        moved = straight - center
        effective = 1 / (weight**2).sum()
        kept = effective / (effective + 2 * len(center))
        spread = kept * (moved.T * weight) @ moved
        spread += (1 - kept) * first.stretch @ first.stretch.T
        stretch = np.linalg.cholesky(_WIDER * spread)
        further = StraightNormal(center, stretch, first.log_density, first.chart)
        return Proposal((*self.normals, further), np.append(self.share, 1.0) / 2)


def _log_density(z: np.ndarray) -> np.ndarray:
    """Log density of standardised candidates (draw, dim), normal and t together."""
    n, square = z.shape[1], (z**2).sum(axis=1)
    normal = -0.5 * (square + n * np.log(2 * np.pi))
    constant = gammaln((_DF + n) / 2) - gammaln(_DF / 2) - n / 2 * np.log(_DF * np.pi)
    wide = constant - (_DF + n) / 2 * np.log1p(square / _DF)
    return np.logaddexp(np.log(1 - _WIDE_SHARE) + normal, np.log(_WIDE_SHARE) + wide)


def make_proposal(
    posterior: Posterior,
    main: Parameters,
    others: Sequence[Parameters],
    known: Sequence[Peak | None] = (),
) -> Proposal:
    """The proposal from a mode and others, at parameters on the model's scale.

    Others from which no mode is reached, or the same as from one before, are left out.

    Parameters
    ----------
    known
        The modes near the main one and near each of the others, where they are known.

    Raises
    ------
    NotNormalError
        If no mode is reached from the main one.
    """
    main_peak, *peaks = known or [None] * (1 + len(others))
    normals = [posterior.normal_near(main, main_peak)]
    for other, peak in zip(others, peaks, strict=True):
        try:
            found = posterior.normal_near(other, peak)
        except NotNormalError:
            continue
        at, _ = found.chart.values(found.center[None])
        distances = [
            (normal.standardised(normal.chart.coordinates(at)) ** 2).sum() for normal in normals
        ]
        if min(distances) > 1:
            normals.append(found)
    mass = np.array([normal.log_mass for normal in normals])
    share = np.exp(mass - logsumexp(mass))
    share = np.maximum(share, _LEAST_SHARE) if len(share) > 1 else share
    return Proposal(tuple(normals), share / share.sum())
