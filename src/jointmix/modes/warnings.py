"""What EM's best mode says about a table: small clusters, lines without noise, outliers."""

import numpy as np
from scipy.stats import chi2

from jointmix.families.matrices import inverse_lower
from jointmix.families.parameters import Parameters
from jointmix.families.rows import Rows
from jointmix.kernel.allocate import mode_share
from jointmix.model.dataset import Dataset
from jointmix.model.dependence import noise_floor
from jointmix.model.rows import make_rows, users_rows
from jointmix.model.scaling import model_scaling
from jointmix.model.spec import ModelSpec
from jointmix.modes.em import Census
from jointmix.tables.issues import (
    Issue,
    listed,
    quoted,
    warning,
)
from jointmix.tables.screening import EXACT_RATIO, exact_ratio

#: Chance that a table of normal rows, however many, has a row this far from its cluster.
OUTLIER_CHANCE = 1e-4
#: Squares are rescaled by their median where outliers have made them this many times too small.
_WIDENED = 4.0
#: Rows of a cluster from which the median of its squares can be trusted.
_FEWEST_FOR_MEDIAN = 20
_MOST_NAMED = 10


def mode_warnings(dataset: Dataset, spec: ModelSpec, census: Census) -> tuple[Issue, ...]:
    """Warnings from the optimum that chains start from.

    Parameters
    ----------
    dataset, spec
        The rows and the model.
    census
        What EM found for them.
    """
    scaling, rows = model_scaling(dataset, spec), make_rows(dataset, spec)
    parameters = scaling.to_model(census.best.parameters)
    share = mode_share(rows, parameters, spec.blocks)
    found = [
        _small_clusters(dataset, spec, share),
        _exact_lines(users_rows(dataset, spec), spec, share.argmax(axis=1)),
        _outliers(dataset, rows, parameters, share),
    ]
    return tuple(issue for issue in found if issue is not None)


def _small_clusters(dataset: Dataset, spec: ModelSpec, share: np.ndarray) -> Issue | None:
    size, own = share.sum(axis=0), spec.n_own_parameters
    small = np.flatnonzero(size < own)
    if spec.n_clusters == 1 or small.size == 0:
        return None
    allocation = share.argmax(axis=1)
    rows = dataset.row[np.isin(allocation, small)]
    held = f" ({_rows_named(rows)})" if rows.size else ""
    many = (
        "EM's smallest cluster holds"
        if small.size == 1
        else f"{small.size} of EM's {spec.n_clusters} clusters hold"
    )
    sizes = ", ".join(f"{value:.1f}" for value in np.sort(size[small])[:_MOST_NAMED])
    message = (
        f"{many} about {sizes} of {len(share)} rows{held}, fewer than the {own} parameters that "
        "a cluster has of its own."
    )
    remedy = "Use fewer clusters, a simpler covariance, or more rows; look at the rows it names."
    first = int(rows[0]) if rows.size else None
    return warning("small_clusters", message, remedy, "", first, float(size.min()))


def _rows_named(rows: np.ndarray) -> str:
    word = "row" if rows.size == 1 else "rows"
    more = f" and {rows.size - _MOST_NAMED} more" if rows.size > _MOST_NAMED else ""
    return f"{word} {', '.join(str(row) for row in rows[:_MOST_NAMED])}{more}, from 0"


def _exact_lines(rows: Rows, spec: ModelSpec, allocation: np.ndarray) -> Issue | None:
    """Clusters in which the predictors determine the response, whatever EM's floor makes of it."""
    if spec.response is None or spec.n_clusters == 1 or spec.noise == "fixed":
        return None
    whole = float(rows.y.std())
    least, exact = np.inf, []
    for cluster in range(spec.n_clusters):
        part = rows.take(allocation == cluster)
        if len(part.y) <= rows.u.shape[1] + 2:
            continue
        sd = float(part.y.std())
        ratio, rounding = exact_ratio(part.u, part.y, spec.intercept) if sd else (0.0, 1.0)
        if ratio * sd / whole < EXACT_RATIO or ratio < rounding:
            exact.append(len(part.y))
            least = min(least, ratio * sd / whole)
    if not exact:
        return None
    floor = noise_floor(spec, len(rows.y), whole)
    prior = (
        f"the prior of sigma alone sets the noise there, near {floor:.2g} of the response's sd"
        if floor
        else f"nothing keeps sigma from zero there under its prior ({spec.priors.sigma.family})"
    )
    message = (
        f"In {len(exact)} of EM's {spec.n_clusters} clusters ({sum(exact)} rows) the response "
        f"{quoted(spec.response)} is an exact linear function of {listed(spec.predictors)} "
        f"(residual sd / sd = {least:.1g}), so that {prior}."
        if spec.predictors
        else f"In {len(exact)} of EM's {spec.n_clusters} clusters ({sum(exact)} rows) the "
        f"response {quoted(spec.response)} is constant, so that {prior}."
    )
    remedy = "Make sure that the response was measured, and give sigma an inverse-gamma prior."
    return warning("exact_in_clusters", message, remedy, spec.response, None, least)


def _outliers(
    dataset: Dataset, rows: Rows, parameters: Parameters, share: np.ndarray
) -> Issue | None:
    """Rows farther from their cluster than chance allows, the least likely first.

    The squared distance to a row's cluster is χ² with as many degrees of freedom as the row has
    modelled columns. Rows far out widen their cluster and so hide themselves: a whitened column
    is scaled to the median that its squares should have where theirs is much too small.
    """
    allocation = share.argmax(axis=1)
    square = _whitened(rows, parameters, allocation) ** 2
    freedom = square.shape[1]
    for cluster in np.unique(allocation):
        inside = allocation == cluster
        if inside.sum() >= _FEWEST_FOR_MEDIAN:
            middle = np.maximum(np.median(square[inside], axis=0), 1e-12)
            widened = float(chi2.median(1)) / middle
            square[inside] *= np.where(widened > _WIDENED, widened, 1)
    distance = square.sum(axis=1)
    surprise = chi2.logsf(distance, freedom)
    far = np.flatnonzero(surprise < np.log(OUTLIER_CHANCE / len(distance)))
    if far.size == 0:
        return None
    # Distances order rows whose chances vanish alike.
    order = far[np.argsort(-distance[far], kind="stable")]
    named = dataset.row[order]
    is_are = "is" if far.size == 1 else "are"
    message = (
        f"{far.size} of {len(distance)} rows {is_are} far from every cluster of EM's best mode, "
        f"by {np.sqrt(distance[order[0]]):.3g} standard deviations at most: "
        f"{_rows_named(named)}."
    )
    remedy = "Look at those rows for errors; a cluster of normal rows cannot explain them."
    return warning("outliers", message, remedy, "", int(named[0]), float(far.size))


def _whitened(rows: Rows, parameters: Parameters, allocation: np.ndarray) -> np.ndarray:
    """Features and residual of each row, standard normal in its cluster, (obs, column)."""
    parts = []
    if "mean" in parameters:
        inverse = inverse_lower(parameters.cholesky)[allocation]
        parts.append(np.einsum("nij,nj->ni", inverse, rows.x - parameters.mean[allocation]))
    if "slope" in parameters:
        line = parameters.intercept[allocation]
        line = line + (rows.u * parameters.slope[allocation]).sum(axis=1)
        parts.append(((rows.y - line) / parameters.sigma[allocation])[:, None])
    return np.concatenate(parts, axis=1)
