"""Bhattacharyya distances of clusters whose features are not Gaussian: means over draws of rows."""

from itertools import combinations

import numpy as np

from jointmix.families.completing import with_features
from jointmix.families.mixture import responsibility
from jointmix.families.parameters import Parameters
from jointmix.families.rows import Rows
from jointmix.model.spec import ModelSpec

#: Rows drawn of each cluster in each draw: an overlap of a half is then known to 0.03.
_DRAWN = 200
#: Overlaps below this are nothing, and variances below it rounding.
_LEAST = 1e-300


def sampled_distances(
    parameters: Parameters, rows: Rows, spec: ModelSpec
) -> dict[tuple[int, int], np.ndarray]:
    """Distance of each pair of clusters in each draw, (draw,), of numeric features and response.

    With x drawn from the pair's equal mixture m, ∫ √(p₁ p₂) is the mean of √(p₁ p₂) / m, no number
    of which is above 1, times the overlap of the response given x: that of normal densities with
    its means, and squared scales or, of a response with a link, variances.

    Parameters
    ----------
    parameters, rows
        Draws (draw, ...), and rows at which predictors are held that are no features, on their
        scale.
    """
    pairs = list(combinations(range(spec.n_clusters), 2))
    found = {pair: np.empty(len(parameters.weight)) for pair in pairs}
    rng, n = np.random.default_rng(0), spec.n_clusters * _DRAWN
    cluster = np.repeat(np.arange(spec.n_clusters), _DRAWN)
    held = rows.take(rng.integers(0, len(rows.y), n))
    for draw in range(len(parameters.weight)):
        at = parameters.take(draw)
        x = spec.blocks[0].draw(at, held, cluster, rng)
        own = with_features(held, x, spec)
        density = spec.blocks[0].log_density(at, own)
        mean, variance = _responses(at, own, spec)
        for one, other in pairs:
            place, both = np.isin(cluster, (one, other)), [one, other]
            share = responsibility(density[place][:, both])
            of_x = 2 * np.sqrt(share.prod(axis=1))
            of_y = _normal_overlap(mean[place][:, both], variance[place][:, both])
            found[one, other][draw] = -np.log(max(float((of_x * of_y).mean()), _LEAST))
    return found


def _responses(at: Parameters, rows: Rows, spec: ModelSpec) -> tuple[np.ndarray, np.ndarray]:
    """Means and variances of the response, (obs, cluster); the same where there is none."""
    shape = (len(rows.y), spec.n_clusters)
    if spec.response is None:
        return np.zeros(shape), np.ones(shape)
    block = spec.predicted
    mean = block.mean(at, rows)
    variance = block.variance(at, rows) if spec.linked else block.squared_scale(at)
    return mean, np.maximum(np.broadcast_to(variance, shape), _LEAST)


def _normal_overlap(mean: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """∫ √(p₁ p₂) of two normal densities, of means and variances (obs, 2): (obs,)."""
    total = variance.sum(axis=1)
    spread = 2 * np.sqrt(variance.prod(axis=1)) / total
    return np.asarray(np.sqrt(spread) * np.exp(-((mean[:, 0] - mean[:, 1]) ** 2) / (4 * total)))
