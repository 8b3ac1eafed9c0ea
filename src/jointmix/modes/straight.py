"""A model's straight coordinates around a point, and the normal approximation at a mode there."""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import solve_triangular

from jointmix.base.errors import NotNormalError
from jointmix.base.threads import on_cores
from jointmix.families.straight import Bend, Scaled, Straightened, Triangular
from jointmix.kernel.problem import free_parameters, sampled_name
from jointmix.model.location import coordinates
from jointmix.model.spec import ModelSpec
from jointmix.modes.density import LogDensity
from jointmix.modes.mass import Normal

#: Differences of gradients are taken over this share of what N rows leave uncertain.
_STEP = 1e-3
#: A mode is found when so little is left to gain, in nats.
_LEFT_TO_GAIN = 1e-6
#: Steps with the same curvature, new curvatures, and halvings of a step that does not climb.
_CHORDS, _CURVATURES, _HALVINGS = 12, 12, 12
#: Beyond so many standard deviations coordinates are laid around the new point, with its curvature.
_FAR = 0.05
#: The same for a curvature that is known of many rows. Over a standard deviation it changes by a
#: share of about 1/√n, n being a cluster's rows, which no candidate feels.
_FAR_KNOWN = 1.0
#: Draws that are mapped at a time.
_AT_ONCE = 256


class StraightCoordinates:
    """Straight coordinates of a model's unconstrained values around a point, where they are 0.

    Values that no block straightens are taken as they are. Maps have a batch dim in front.

    Parameters
    ----------
    spec
        The model.
    origin
        Unconstrained values of the point, labels left free, (dim,).
    """

    def __init__(self, spec: ModelSpec, origin: np.ndarray) -> None:
        self.origin = origin
        self._bends = bends(spec, origin)

    def values(self, straight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Unconstrained values (draw, dim), and log |d values / d coordinates| (draw,).

        The latter is −∞ where coordinates are of no values.
        """
        found, log_volume = self.origin + straight, np.zeros(len(straight))
        for bend in self._bends:
            found[:, bend.places], own = bend.values(straight[:, bend.places])
            log_volume += own
        return found, log_volume

    def coordinates(self, values: np.ndarray) -> np.ndarray:
        """Straight coordinates (draw, dim) of unconstrained values (draw, dim)."""
        found = values - self.origin
        for bend in self._bends:
            found[:, bend.places] = bend.coordinates(values[:, bend.places])
        return found

    def slopes(self, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """d values / d coordinates (dim, dim) at coordinates (dim,), and that of the log volume."""
        slopes, of_volume = np.eye(len(at)), np.zeros(len(at))
        for bend in self._bends:
            own, of_volume[bend.places] = bend.slopes(at[bend.places])
            slopes[np.ix_(bend.places, bend.places)] = own
        return slopes, of_volume

    def curvature(self, at: np.ndarray, pull: np.ndarray) -> np.ndarray:
        """Second derivatives of values·pull and of the log volume, at coordinates (dim,)."""
        found = np.zeros((len(at), len(at)))
        for bend in self._bends:
            own = bend.curvature(at[bend.places], pull[bend.places])
            found[np.ix_(bend.places, bend.places)] = own
        return found


def bends(spec: ModelSpec, origin: np.ndarray) -> tuple[Bend, ...]:
    """What the model's blocks straighten, cluster by cluster where clusters have their own."""
    places, first = {}, 0
    for parameter in free_parameters(spec):
        size = parameter.size
        places[parameter.name] = np.arange(first, first + size).reshape(parameter.shape)
        first += size
    items = coordinates(spec)
    units = np.array([item.prior.scale for item in items])
    found: list[Bend] = []
    for block in spec.blocks:
        for straightened in block.straight:
            chosen = [i for i, item in enumerate(items) if item.parameter in straightened.locations]
            at = places["location"][:, chosen] if items else np.zeros((spec.n_clusters, 0), int)
            found += _bends(spec, straightened, places, at, units[chosen], origin)
    return tuple(found)


def _bends(
    spec: ModelSpec, straightened: Straightened, places: dict[str, np.ndarray],
    locations: np.ndarray, units: np.ndarray, origin: np.ndarray,
) -> list[Bend]:  # fmt: skip
    scale = spec.parameters[straightened.scale]
    if not scale.free:
        return []
    name = sampled_name(scale)
    power = 2.0 if name.endswith("_variance") else 1.0
    power = -2.0 if straightened.precision else power
    scales = places[name].reshape(len(places[name]), -1)
    # Those of each scale: one cluster's, or all clusters' where the scale is shared.
    shared = len(scales) == 1
    groups = [locations] if shared else [each[None] for each in locations]
    matrix = spec.parameters.get(straightened.correlation)
    if matrix is not None and matrix.free:
        partial = places[matrix.site]
        return [
            Triangular(own, pairs, group if group.size else group[:0].reshape(0, len(own)),
                       units, power, origin)
            for own, pairs, group in zip(scales, partial, groups, strict=True)
        ]  # fmt: skip
    return [
        Scaled(
            own, group.ravel(),
            np.tile(np.arange(group.shape[1]) if len(own) > 1 else np.zeros(group.shape[1], int),
                    len(group)),
            np.tile(units, len(group)), power, origin,
        )
        for own, group in zip(scales, groups, strict=True)
    ]  # fmt: skip


@dataclass(frozen=True, eq=False)
class StraightNormal(Normal):
    """The normal approximation at a mode in straight coordinates, those of `chart`."""

    chart: StraightCoordinates

    def values(self, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Unconstrained values (draw, dim) at center + S z, and log |d values / dz| (draw,)."""
        values, log_volume = self.chart.values(self.center + z @ self.stretch.T)
        return values, log_volume + self.log_det

    def draw(self, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Unconstrained values (n, dim), and their log densities (n,); +∞ where they are none."""
        z = rng.normal(size=(n, len(self.center)))
        values, log_volume = np.empty(z.shape), np.empty(n)
        for first in range(0, n, _AT_ONCE):
            part = slice(first, first + _AT_ONCE)
            values[part], log_volume[part] = self.values(z[part])
        usable = np.isfinite(log_volume) & np.isfinite(values).all(axis=1)
        log_density = -0.5 * ((z**2).sum(-1) + z.shape[1] * np.log(2 * np.pi)) - log_volume
        return values, np.where(usable, log_density, np.inf)

    def standardised(self, straight: np.ndarray) -> np.ndarray:
        """z (draw, dim) of straight coordinates (draw, dim)."""
        return solve_triangular(self.stretch, (straight - self.center).T, lower=True).T


def straight_normal(
    log_density: LogDensity,
    spec: ModelSpec,
    start: np.ndarray,
    n_rows: float,
    rough: LogDensity | None = None,
    known: Normal | None = None,
) -> StraightNormal:
    """The normal approximation, in straight coordinates, at the mode that is climbed to.

    By Newton's method: curvatures are differences of gradients, and serve for some steps.

    Parameters
    ----------
    log_density
        Of unconstrained values, labels left free; called from many threads.
    start
        Where to climb from, (dim,).
    n_rows
        How many rows the density is given, each as often as it weighs.
    rough
        A density much like it that costs less, that of some of many rows: with its curvature the
        climb begins, so that the curvature of all rows is asked for once, at the mode.
    known
        The normal approximation at a mode of the density of unconstrained values: the climb begins
        there, with its curvature in place of a rough one. Where there is a rough density it serves
        at the mode of straight coordinates too if that is within a standard deviation.

    Raises
    ------
    NotNormalError
        If no mode with a curvature that is negative in all directions is found.
    """
    origin, step = start, _STEP / np.sqrt(n_rows)
    if known is not None:
        origin = known.center
        chart = StraightCoordinates(spec, origin)
        found = _normal(log_density, chart, _factor(_bent(known, log_density, chart)))
        if found is not None:
            if _moved(found) < (_FAR if rough is None else _FAR_KNOWN):
                return found
            origin = chart.values(found.center[None])[0][0]
    elif rough is not None:
        chart = StraightCoordinates(spec, origin)
        factor = _factor(_curvature(rough, chart, step))
        if factor is not None:
            origin = chart.values(_climbed(log_density, chart, factor)[0][None])[0][0]
    for _ in range(_CURVATURES):
        chart = StraightCoordinates(spec, origin)
        found = _normal(log_density, chart, _factor(_curvature(log_density, chart, step)))
        if found is None:
            break
        if _moved(found) < _FAR:
            return found
        origin = chart.values(found.center[None])[0][0]
    raise NotNormalError(_NO_MODE)


_NO_MODE = (
    "The posterior has no mode with curvature in all directions near the EM start; sample it with "
    "sampler='nutpie'."
)


def _factor(curvature: np.ndarray) -> np.ndarray | None:
    """U, upper triangular, of a curvature UU'; None unless the density bends down all ways."""
    if not np.isfinite(curvature).all():
        return None
    try:
        return np.linalg.cholesky(curvature[::-1, ::-1])[::-1, ::-1]
    except np.linalg.LinAlgError:
        return None


def _normal(
    log_density: LogDensity, chart: StraightCoordinates, factor: np.ndarray | None
) -> StraightNormal | None:
    """With one curvature UU', the normal where steps from a chart's origin lead."""
    if factor is None:
        return None
    center, value = _climbed(log_density, chart, factor)
    # S = U'⁻¹ is lower triangular.
    stretch = solve_triangular(factor.T, np.eye(len(center)), lower=True)
    return StraightNormal(center, stretch, value, chart)


def _moved(found: StraightNormal) -> float:
    """How far the mode is from its chart's origin, where its curvature is of, in sds."""
    return float(np.linalg.norm(solve_triangular(found.stretch, found.center, lower=True)))


def _climbed(
    log_density: LogDensity, chart: StraightCoordinates, factor: np.ndarray
) -> tuple[np.ndarray, float]:
    """Where steps from a chart's origin, with one curvature UU', lead, and the density there."""

    def height(at: np.ndarray) -> float:
        values, log_volume = chart.values(at[None])
        value = float(log_volume[0])
        return value + log_density(values[0])[0] if np.isfinite(value) else -np.inf

    def gradient(at: np.ndarray) -> np.ndarray:
        slopes, of_volume = chart.slopes(at)
        return slopes.T @ log_density(chart.values(at[None])[0][0])[1] + of_volume

    at = np.zeros(len(chart.origin))
    value, slope = height(at), gradient(at)
    for _ in range(_CHORDS):
        move = solve_triangular(factor.T, solve_triangular(factor, slope), lower=True)
        if slope @ move / 2 < _LEFT_TO_GAIN:
            break
        for halving in range(_HALVINGS):
            tried = at + move / 2**halving
            found = height(tried)
            if found > value:
                break
        else:
            break
        at, value, slope = tried, found, gradient(tried)
    return at, value


def _bent(known: Normal, log_density: LogDensity, chart: StraightCoordinates) -> np.ndarray:
    """As `_curvature`, at a known centre, the chart's origin, from its curvature of values."""
    zero = np.zeros(len(chart.origin))
    slopes, _ = chart.slopes(zero)
    root = solve_triangular(known.stretch, slopes, lower=True)
    _, here = log_density(chart.origin)
    return np.asarray(root.T @ root - chart.curvature(zero, here))


def _curvature(log_density: LogDensity, chart: StraightCoordinates, step: float) -> np.ndarray:
    """The negative Hessian at a chart's origin, of the density of coordinates, (dim, dim)."""
    zero = np.zeros(len(chart.origin))
    slopes, _ = chart.slopes(zero)
    _, here = log_density(chart.origin)

    def along(direction: np.ndarray) -> np.ndarray:
        return (log_density(chart.origin + step * direction)[1] - here) / step

    changes = np.array(on_cores(along, slopes.T))
    curvature = changes @ slopes + chart.curvature(zero, here)
    return -(curvature + curvature.T) / 2
