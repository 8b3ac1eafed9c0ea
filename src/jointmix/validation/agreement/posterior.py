"""Two sets of identified draws compared in units of their Monte Carlo standard errors."""

import numpy as np
import xarray as xr

from jointmix.base.schema import CHAIN, DRAW
from jointmix.validation.agreement.certificate import PosteriorAgreement, Run

#: Chance that one or more of the comparisons of two samples of one posterior exceed the bound.
_FAMILY_ERROR = 0.01
_RMS_ERROR = 0.001
_LOW, _HIGH = 0.05, 0.95


def scalars(posterior: xr.Dataset) -> dict[str, np.ndarray]:
    """Each parameter that varies, (chain, draw), by a name such as mean[1, bill_length].

    What is the same as another in all draws, as tied or symmetric entries are, counts once.
    """
    found: dict[str, np.ndarray] = {}
    seen: set[bytes] = set()
    for name, variable in posterior.data_vars.items():
        dims = [dim for dim in variable.dims if dim not in (CHAIN, DRAW)]
        stacked = variable.transpose(CHAIN, DRAW, *dims)
        for index in np.ndindex(*(variable.sizes[dim] for dim in dims)):
            values = stacked.values[(slice(None), slice(None), *index)]
            # Rounding may differ between the two halves of a symmetric matrix.
            key = np.round(values, 12).tobytes()
            if np.ptp(values) > 1e-9 * np.abs(values).max() and key not in seen:
                seen.add(key)
                labels = [str(posterior[dim].values[i]) for dim, i in zip(dims, index, strict=True)]
                found[f"{name}[{', '.join(labels)}]"] = values
    return found


def summaries(values: np.ndarray) -> dict[str, tuple[float, float]]:
    """Mean, sd and two quantiles of draws (chain, draw), each with its standard error (MCSE)."""
    from arviz_stats import mcse

    def error(method: str, **options: float) -> float:
        return float(mcse(values, method=method, **options))

    return {
        "mean": (float(values.mean()), error("mean")),
        "sd": (float(values.std(ddof=1)), error("sd")),
        "5%": (float(np.quantile(values, _LOW)), error("quantile", prob=_LOW)),
        "95%": (float(np.quantile(values, _HIGH)), error("quantile", prob=_HIGH)),
    }


def compare_posteriors(
    left: xr.Dataset, right: xr.Dataset, runs: tuple[Run, ...]
) -> PosteriorAgreement:
    """Means, sds and 5% and 95% quantiles of all free parameters compared.

    Parameters
    ----------
    left, right
        Identified draws, dims chain, draw, cluster, ….
    runs
        What is said of both implementations' sampling.
    """
    from scipy.stats import chi2, norm

    ours, theirs = scalars(left), scalars(right)
    z: dict[str, float] = {}
    for name in [name for name in ours if name in theirs]:
        own, other = summaries(ours[name]), summaries(theirs[name])
        for what, (value, error) in own.items():
            gap, both = value - other[what][0], np.hypot(error, other[what][1])
            z[f"{what} of {name}"] = float(gap / both)
    sizes = {where: abs(value) for where, value in z.items()}
    where = max(sizes, key=lambda name: sizes[name])
    p = len(z) // 4
    return PosteriorAgreement(
        n=len(z),
        n_parameters=p,
        largest=sizes[where],
        bound=float(norm.isf(_FAMILY_ERROR / (2 * len(z)))),
        where=where,
        above_four=sum(size > 4 for size in sizes.values()),
        rms=float(np.sqrt(np.mean(np.square(list(z.values()))))),
        rms_bound=float(np.sqrt(chi2.isf(_RMS_ERROR, p) / p)),
        runs=runs,
    )


def least_ess(posterior: xr.Dataset) -> float:
    """The smallest bulk effective sample size of the free parameters."""
    from arviz_stats import ess

    return min(float(ess(values, method="bulk")) for values in scalars(posterior).values())
