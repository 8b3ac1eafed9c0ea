"""How priors of scales behave at zero, where tied rows draw a scale.

Let a cluster hold m rows that agree in a column, while other clusters explain the rest. Near
s = 0 these rows contribute s^−m, integrating over the cluster's mean gives s back, and a prior
density of the standard deviation that behaves like s^(c − 1) leaves ∫ s^(c − m) ds, which is
infinite from m = c + 1 rows on. A half-normal and a half-t have c = 1, so that two rows suffice;
a gamma has c = shape; an inverse-gamma and a log-normal vanish faster than any power, and no
number of rows is enough.
"""

import numpy as np

from jointmix.families.priors.priors import (
    LKJ,
    Gamma,
    HalfNormal,
    HalfStudentT,
    InverseGamma,
    LogNormal,
)

_WORDS = {"half_normal": "half-normal", "half_student_t": "half-t", "gamma": "gamma"}
#: Medians this many times above the prior's peak are not the prior's doing.
_ABOVE_PEAK = 5.0


def order_at_zero(prior: object) -> float:
    """c, where a prior's density of the standard deviation behaves like s^(c − 1) near zero.

    Infinite for priors that vanish there faster than any power, and for fixed values.
    """
    if isinstance(prior, HalfNormal | HalfStudentT):
        return 1.0
    return prior.shape if isinstance(prior, Gamma) else np.inf


def vanishes_at_zero(prior: object) -> bool:
    """Whether tied rows cannot pull a scale to zero: under such a prior, or a fixed scale."""
    return bool(np.isinf(order_at_zero(prior)))


def rows_to_spike(prior: LKJ, dimension: int = 0) -> float:
    """Fewest rows, in a flat of a ``dimension``, on which a full covariance may close: 2η + 1 + f.

    A flat of dimension 0 is a point. LKJ(η) behaves like λ^(η − 1) in the smallest eigenvalue λ.
    Rows in a flat of dimension f contribute λ^(−m/2), the mean gives back λ^(1/2) and the
    direction λ^(f/2), whatever the prior of the standard deviations.
    """
    return 2 * prior.eta + 1 + dimension


def peak_without_spread(prior: object, n_rows: float) -> float:
    """Where the posterior of a scale peaks whose rows have no spread at all.

    With n rows the likelihood is s⁻ⁿ: times an inverse-gamma (a, b) on s² it peaks at
    s² = b / (a + 1 + n / 2), times a log-normal (m, s) at log s = m − n s². Under priors that do
    not vanish at zero it has no peak, and this is 0.
    """
    if isinstance(prior, InverseGamma):
        return float(np.sqrt(prior.scale / (prior.shape + 1 + n_rows / 2)))
    if isinstance(prior, LogNormal):
        return float(np.exp(prior.loc - n_rows * prior.scale**2))
    return 0.0


def prior_floor(prior: object, n_rows: int) -> float:
    """Up to where a prior alone can keep a cluster's scale that its rows would draw to zero.

    Five times the peak is beyond its posterior under an inverse-gamma prior. Infinite for other
    priors, for which nothing is ruled out.
    """
    if not isinstance(prior, InverseGamma):
        return np.inf
    return _ABOVE_PEAK * peak_without_spread(prior, n_rows)


def improper_words(prior: object, parameter: str) -> tuple[str, str]:
    """What a prior of a parameter lets a density do at rows without spread, and the remedy."""
    family = _WORDS[getattr(prior, "family", "")]
    statement = (
        f"the {family} prior of {parameter} does not vanish at zero fast enough: the posterior "
        "is improper, as its density grows without bound where a cluster closes on them."
    )
    remedy = (
        "Give that scale an inverse-gamma or log-normal prior, which vanish at zero faster than "
        "any power."
    )
    return statement, remedy
