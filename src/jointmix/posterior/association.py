"""How much clusters and features of levels have to do with each other."""

import numpy as np
import pandas as pd
import xarray as xr

from jointmix.base.schema import CHAIN, CLUSTER, DRAW
from jointmix.posterior.draws import fitted_spec
from jointmix.posterior.summaries import bound_names, identified_parameters


def cramers_v(joint: np.ndarray) -> float | np.ndarray:
    """Cramér's V of joint probabilities (..., level, level).

    V² = Σ (p_ij − p_i p_j)² / (p_i p_j) / (the smaller number of levels − 1), 0 where that is 0.
    """
    product = joint.sum(-1, keepdims=True) * joint.sum(-2, keepdims=True)
    gap = np.where(product > 0, (joint - product) ** 2 / np.maximum(product, 1e-300), 0.0)
    least = max(min(joint.shape[-2:]) - 1, 1)
    found = np.sqrt(gap.sum((-2, -1)) / least)
    return float(found) if found.ndim == 0 else found


def association(tree: xr.DataTree, interval: float = 0.89) -> pd.DataFrame:
    """Cramér's V between the clusters and each feature of levels.

    0 where all clusters have the same probabilities, 1 where a row's level and its cluster say all
    of each other: that of the joint probabilities π_k p_kl, draw by draw.

    Parameters
    ----------
    tree
        A fitted tree.
    interval
        Probability inside the equal-tailed interval.

    Returns
    -------
    pandas.DataFrame
        One row a feature: ``mean``, ``sd``, and the bounds (``eti89_lb``, ``eti89_ub``); empty
        without features of levels.

    Raises
    ------
    SpecError
        If ``interval`` is not a probability.
    SchemaError
        If the draws' labels were never identified.

    Examples
    --------
    >>> import jointmix as jm
    >>> import numpy as np
    >>> rng = np.random.default_rng(1)
    >>> z = rng.integers(2, size=120)
    >>> table = {"size": rng.normal(4.0 * z), "big": rng.random(120) < 0.1 + 0.8 * z}
    >>> sampler = jm.SamplerSpec(draws=50, tune=100, chains=2)
    >>> spec = jm.ModelSpec(n_clusters=2, features=["size", "big"], sampler=sampler)
    >>> tree = jm.fit(table, spec)
    >>> bool(jm.association(tree).loc["big", "mean"] > 0.5)
    True
    """
    lower, upper = bound_names(interval)
    draws, spec = identified_parameters(tree), fitted_spec(tree)
    lines = {}
    for own in spec.discrete:
        name = f"probability_{own.stem}"
        if name in draws:
            dims = (CHAIN, DRAW, CLUSTER)
            joint = draws["weight"] * draws[name]
            found = np.ravel(cramers_v(joint.transpose(*dims, own.dim).values))
            bounds = np.quantile(found, [(1 - interval) / 2, (1 + interval) / 2])
            lines[own.column] = [found.mean(), found.std(), *bounds]
    columns = ["mean", "sd", lower, upper]
    return pd.DataFrame.from_dict(lines, orient="index", columns=columns)
