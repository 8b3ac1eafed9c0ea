"""The same posterior as a textbook PyMC mixture: its component from pm.MvNormal and pm.Normal.

Nothing of the package's own PyMC model is in it, so that it stands for what would be written
without this package.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from benchmark.cases import Posterior
from jointmix.families.priors.priors import Dirichlet, InverseGamma, Normal

if TYPE_CHECKING:
    import pymc as pm

#: Variables of the package's own model that have other names or forms here.
_SAMPLED_AS_ONE = ("weight", "location")


def textbook_model(posterior: Posterior) -> "pm.Model":
    """The model of a case, on the package's model scale, with free labels.

    Free variables are `weight` (K), `mean` (K, D), `intercept` (K) and `slope` (K, D); with free
    covariances also `feature_variance` (K, D), `partial_correlation` (K, D(D − 1)/2) and
    `noise_variance` (K).
    """
    import pymc as pm

    spec, priors = posterior.spec, posterior.spec.priors
    k, d = spec.n_clusters, len(spec.features)
    rows = posterior.dataset.scaling.transform(posterior.dataset.values)
    assert isinstance(priors.weight, Dirichlet)
    with pm.Model() as model:
        weight = pm.Dirichlet("weight", np.full(k, priors.weight.concentration))
        mean = _normal("mean", priors.mean, (k, d))
        intercept = _normal("intercept", priors.intercept, (k,))
        slope = _normal("slope", priors.slope, (k, d))
        if spec.covariance == "fixed":
            cholesky, sigma = _known_factor(posterior), posterior.values["sigma"]
        else:
            cholesky, sigma = _free_factor(posterior), _scale("noise", priors.sigma, (k,))
        component = pm.CustomDist.dist(
            *(mean, cholesky, intercept, slope, sigma),
            logp=_component_logp,
            random=_no_random,
            signature=f"(d),(d,d),(),(d),()->({d + 1})",
        )
        pm.Mixture("obs", w=weight, comp_dists=component, observed=rows)
    return model


def _component_logp(
    value: Any, mean: Any, cholesky: Any, intercept: Any, slope: Any, sigma: Any
) -> Any:
    """log N(x | μ, LL') + log N(y | b + x'θ, σ²) of rows (x, y)."""
    import pymc as pm

    x, y = value[..., :-1], value[..., -1]
    features = pm.logp(pm.MvNormal.dist(mu=mean, chol=cholesky), x)
    response = pm.logp(pm.Normal.dist(intercept + (x * slope).sum(-1), sigma), y)
    return features + response


def _no_random(*_: object, **__: object) -> np.ndarray:
    raise NotImplementedError("This model is sampled from, not simulated.")


def _normal(name: str, prior: object, shape: tuple[int, ...]) -> Any:
    import pymc as pm

    assert isinstance(prior, Normal)
    return pm.Normal(name, np.float64(prior.loc), np.float64(prior.scale), shape=shape)


def _scale(name: str, prior: object, shape: tuple[int, ...]) -> Any:
    import pymc as pm
    import pytensor.tensor as pt

    assert isinstance(prior, InverseGamma)
    # PyTensor takes a Python number like 1.0 for float32, and so would be its log gamma.
    alpha, beta = np.float64(prior.shape), np.float64(prior.scale)
    return pt.sqrt(pm.InverseGamma(f"{name}_variance", alpha, beta, shape=shape))


def _known_factor(posterior: Posterior) -> np.ndarray:
    """The known Cholesky factors (K, D, D): standard deviations, as they are uncorrelated."""
    return posterior.values["sd"][:, :, None] * np.eye(len(posterior.spec.features))


def _free_factor(posterior: Posterior) -> Any:
    """Cholesky factors (K, D, D) of covariances whose correlations are LKJ, by a C-vine.

    PyMC's LKJCholeskyCov cannot be batched over clusters. Partial correlations are 2u − 1 with
    u ~ Beta(a, a), a = η + (D − 2 − j)/2 in column j (Lewandowski, Kurowicka and Joe 2009).
    """
    import pymc as pm
    import pytensor.tensor as pt

    spec, priors = posterior.spec, posterior.spec.priors
    k, d = spec.n_clusters, len(spec.features)
    sd = _scale("feature", priors.sd, (k, d))
    row, column = np.tril_indices(d, -1)
    shape = priors.correlation.eta + (d - 2 - column) / 2
    partial = 2 * pm.Beta("partial_correlation", shape, shape, shape=(k, len(row))) - 1
    square = pt.zeros((k, d, d))[:, row, column].set(partial)
    # What the columns before have left of a row's unit length.
    left = pt.cumprod(pt.sqrt(1 - square**2), axis=-1)
    left = pt.concatenate([pt.ones((k, d, 1)), left[..., :-1]], axis=-1)
    return sd[..., None] * (square + np.eye(d)) * left


def textbook_start(posterior: Posterior, values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Values of the free variables from those of the package's own model.

    Parameters
    ----------
    values
        As `initial.draw_start` gives them: the locations are ξ (K, location), in units of their
        priors.
    """
    priors, d = posterior.spec.priors, len(posterior.spec.features)
    ends = {"mean": slice(0, d), "intercept": slice(d, d + 1), "slope": slice(d + 1, None)}
    start = {"weight": values["weight"]}
    for name, columns in ends.items():
        prior = getattr(priors, name)
        start[name] = prior.loc + prior.scale * values["location"][:, columns]
    start["intercept"] = start["intercept"][:, 0]
    return start | {name: value for name, value in values.items() if name not in _SAMPLED_AS_ONE}


def textbook_point(start: dict[str, np.ndarray]) -> np.ndarray:
    """The same as one vector of unconstrained values (dim,), in the model's order."""
    parts = []
    for name, value in start.items():
        if name == "weight":
            log_weight = np.log(value)
            parts.append(log_weight[:-1] - log_weight.mean())
        elif name.endswith("_variance"):
            parts.append(np.log(value))
        elif name == "partial_correlation":
            parts.append(np.log(value) - np.log1p(-value))
        else:
            parts.append(value)
    return np.concatenate([part.ravel() for part in parts])
