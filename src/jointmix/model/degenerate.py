"""Where tied rows leave a posterior improper: unbounded density at clusters without spread.

Let a cluster hold m rows that agree in a column, while other clusters explain the rest. Near
s = 0 these rows contribute s^−m, integrating over the cluster's mean gives s back, and a prior
density of the standard deviation that behaves like s^(c − 1) leaves ∫ s^(c − m) ds, which is
infinite from m = c + 1 rows on. A half-normal and a half-t have c = 1, so that two rows suffice;
a gamma has c = shape; an inverse-gamma and a log-normal vanish faster than any power, and no
number of rows is enough.

A regression works alike: m rows on one plane contribute σ^−m, and its coefficients give back as
many powers as the rows' designs have ranks r: the integral is infinite from m = c + r rows on.

A full covariance can lose its spread in a direction that is no column's, where the prior is that of
the correlations: LKJ(η) behaves like λ^(η − 1) in the smallest eigenvalue λ. Rows in a flat of
dimension f contribute λ^(−m/2), the mean gives back λ^(1/2) and the direction λ^(f/2): infinite
from m = 2η + 1 + f rows on, whatever the prior of the standard deviations.
"""

import numpy as np

from jointmix.families.priors.priors import (
    LKJ,
    Fixed,
    Gamma,
    HalfNormal,
    HalfStudentT,
)
from jointmix.model.dataset import Dataset, notes
from jointmix.model.spec import ModelSpec
from jointmix.tables.issues import (
    Issue,
    listed,
    quoted,
    warning,
)

_WORDS = {"half_normal": "half-normal", "half_student_t": "half-t", "gamma": "gamma"}


def order_at_zero(prior: object) -> float:
    """c, where a prior's density of the standard deviation behaves like s^(c − 1) near zero.

    Infinite for priors that vanish there faster than any power, and for fixed values.
    """
    if isinstance(prior, HalfNormal | HalfStudentT):
        return 1.0
    return prior.shape if isinstance(prior, Gamma) else np.inf


def rows_to_spike(prior: LKJ, dimension: int = 0) -> float:
    """Fewest rows, in a flat of a ``dimension``, on which a full covariance may close: 2η + 1 + f.

    A flat of dimension 0 is a point.
    """
    return 2 * prior.eta + 1 + dimension


def improper_issues(dataset: Dataset, spec: ModelSpec) -> tuple[Issue, ...]:
    """Warnings of tied rows that leave the posterior improper, by column.

    Parameters
    ----------
    dataset, spec
        The rows and the model.

    Returns
    -------
    tuple of Issue
        Code "improper": tied values under a prior of the column's scale that does not vanish at
        zero; ``value`` is the number of rows tied. Code "identical_rows": rows that agree in all
        features under a full covariance, which only draws tell to be of any consequence. Rows on
        other planes than those of a constant column or response are not looked for.
    """
    found = []
    if spec.features and not isinstance(spec.priors.mean, Fixed):
        if spec.covariance == "spherical":
            found.append(_spherical_note(dataset, spec))
        else:
            found += [_feature_note(dataset, spec, name) for name in spec.features]
        found.append(_identical_note(dataset, spec))
    found.append(_response_note(dataset, spec))
    return tuple(note for note in found if note is not None)


def table_warnings(dataset: Dataset, spec: ModelSpec) -> tuple[Issue, ...]:
    """All that the rows say before EM: `data.notes`, and what leaves the posterior improper."""
    return (*notes(dataset, spec), *improper_issues(dataset, spec))


def _most_equal(values: np.ndarray) -> tuple[int, np.ndarray]:
    """How often the most frequent row of (N, C) occurs, and that row."""
    distinct, counts = np.unique(values, axis=0, return_counts=True)
    most = int(counts.argmax())
    return int(counts[most]), distinct[most]


def _feature_note(dataset: Dataset, spec: ModelSpec, name: str) -> Issue | None:
    """A cluster's sd of one column, or with a tied covariance that of all clusters."""
    if spec.covariance == "fixed" or spec.n_clusters == 1:
        return None
    order, column = order_at_zero(spec.priors.sd), dataset.select([name])
    if spec.covariance == "tied":
        distinct = len(np.unique(column))
        if distinct > spec.n_clusters or len(column) < order + distinct:
            return None
        what = f"Column {quoted(name)} takes only {distinct} values in {spec.n_clusters} clusters"
        return _improper(spec.priors.sd, "sd", name, len(column), what)
    count, (value,) = _most_equal(column)
    if count < order + 1:
        return None
    what = f"Column {quoted(name)} holds {value:g} in {count} rows"
    return _improper(spec.priors.sd, "sd", name, count, what)


def _spherical_note(dataset: Dataset, spec: ModelSpec) -> Issue | None:
    count, _ = _most_equal(dataset.select(spec.features))
    lost = (count - 1) * len(spec.features)
    if spec.n_clusters == 1 or count < 2 or lost < order_at_zero(spec.priors.sd):
        return None
    what = f"{count} rows agree in {listed(spec.features)}"
    return _improper(spec.priors.sd, "sd", ", ".join(spec.features), count, what)


def _response_note(dataset: Dataset, spec: ModelSpec) -> Issue | None:
    """Rows with one response, and rows with one response and the same predictors."""
    known = isinstance(spec.priors.slope, Fixed) or not spec.free_intercept
    if spec.response is None or known or spec.noise != "cluster" or spec.n_clusters == 1:
        return None
    order = order_at_zero(spec.priors.sigma)
    alike = (*spec.predictors, spec.response)
    for names, rank in (((spec.response,), 1 + len(spec.predictors)), (alike, 1)):
        count, row = _most_equal(dataset.select(names))
        if count >= order + rank:
            what = f"The response {quoted(spec.response)} is {row[-1]:g} in {count} rows"
            if len(names) > 1:
                what += f" with the same {listed(spec.predictors)}"
            return _improper(spec.priors.sigma, "sigma", spec.response, count, what)
    return None


def _improper(prior: object, parameter: str, subject: str, count: int, what: str) -> Issue:
    family = _WORDS[getattr(prior, "family", "")]
    message = (
        f"{what}, and the {family} prior of {parameter} does not vanish at zero fast enough: the "
        "posterior is improper, as its density grows without bound where a cluster closes on them."
    )
    remedy = (
        "Give that scale an inverse-gamma or log-normal prior, which vanish at zero faster than "
        "any power."
    )
    return warning("improper", message, remedy, subject, None, float(count))


def _identical_note(dataset: Dataset, spec: ModelSpec) -> Issue | None:
    """Rows on which a full covariance closes in a direction that is no column's."""
    if spec.covariance != "full" or len(spec.features) < 2 or spec.n_clusters == 1:
        return None
    count, _ = _most_equal(dataset.select(spec.features))
    least = rows_to_spike(spec.priors.correlation)
    if count < least:
        return None
    message = (
        f"{count} rows agree in {listed(spec.features)}; under LKJ({spec.priors.correlation.eta:g})"
        f" correlations the density is unbounded where a cluster holds nothing but {least:g} or "
        "more such rows, which matters only if draws go there (see the check of collapse)."
    )
    names = ", ".join(spec.features)
    return warning("identical_rows", message, "", names, None, float(count))
