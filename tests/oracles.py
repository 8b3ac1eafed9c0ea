"""The model written a second time with NumPy and SciPy only, slow and plain.

Parameters are a dict of arrays, clusters first: weight (K,), mean (K, D), covariance (K, D, D),
intercept (K,), slope (K, R), sigma (K,). The features' or the response's entries are absent
where the model has none.
"""

from itertools import pairwise, permutations

import numpy as np
from scipy.special import logsumexp
from scipy.stats import multivariate_normal, norm

Values = dict[str, np.ndarray]

#: Features, predictors and response of every structure that a model can have.
STRUCTURES: dict[str, tuple[tuple[str, ...], tuple[str, ...], str | None]] = {
    "equal": (("a", "b", "c"), ("a", "b", "c"), "y"),
    "overlapping": (("a", "b"), ("c", "b"), "y"),
    "disjoint": (("a", "b"), ("c",), "y"),
    "no predictors": (("a", "b"), (), "y"),
    "no response": (("a", "b", "c"), (), None),
    "no features": ((), ("c", "d"), "y"),
    "response alone": ((), (), "y"),
}


def draw_covariance(rng: np.random.Generator, d: int) -> np.ndarray:
    """A positive definite matrix with unequal variances, of condition number below ~1000."""
    root, sd = rng.normal(size=(d, 2 * d)), rng.uniform(0.3, 2.0, d)
    gram = root @ root.T / (2 * d) + 0.2 * np.eye(d)
    scale = np.sqrt(np.diag(gram))
    return gram / np.outer(scale, scale) * np.outer(sd, sd)


def draw_values(rng: np.random.Generator, k: int, d: int, r: int, response: bool = True) -> Values:
    """Random parameters of order one."""
    values = {"weight": rng.dirichlet(np.full(k, 3.0))}
    if d:
        values["mean"] = rng.normal(0, 2, (k, d))
        values["covariance"] = np.stack([draw_covariance(rng, d) for _ in range(k)])
    if response:
        values["intercept"] = rng.normal(0, 2, k)
        values["slope"] = rng.normal(0, 1, (k, r))
        values["sigma"] = rng.uniform(0.2, 1.5, k)
    return values


def factored(values: Values) -> Values:
    """The same parameters with Cholesky factors in place of covariances."""
    rest = {name: value for name, value in values.items() if name != "covariance"}
    if "covariance" in values:
        rest["cholesky"] = np.linalg.cholesky(values["covariance"])
    return rest


def unfactored(factors: Values) -> Values:
    """The same parameters with covariances in place of Cholesky factors."""
    rest = {name: np.array(value) for name, value in factors.items() if name != "cholesky"}
    if "cholesky" in factors:
        rest["covariance"] = np.array([factor @ factor.T for factor in factors["cholesky"]])
    return rest


def feature_terms(values: Values, x: np.ndarray) -> np.ndarray:
    """log N(x | μ_k, Σ_k), (N, K); zeros without features."""
    terms = np.zeros((len(x), values["weight"].size))
    if "mean" in values:
        for j, (mean, covariance) in enumerate(
            zip(values["mean"], values["covariance"], strict=True)
        ):
            terms[:, j] = multivariate_normal(mean, covariance).logpdf(x)
    return terms


def response_terms(values: Values, u: np.ndarray, y: np.ndarray) -> np.ndarray:
    """log N(y | b_k + u'θ_k, σ_k²), (N, K); zeros without a response."""
    terms = np.zeros((len(y), values["weight"].size))
    if "sigma" in values:
        for j in range(terms.shape[1]):
            line = values["intercept"][j] + sum(
                u[:, i] * values["slope"][j, i] for i in range(u.shape[1])
            )
            terms[:, j] = norm.logpdf(y, line, values["sigma"][j])
    return terms


def component_terms(values: Values, x: np.ndarray, u: np.ndarray, y: np.ndarray) -> np.ndarray:
    """log π_k + log p(x | k) + log p(y | x, k), (N, K)."""
    return np.log(values["weight"]) + feature_terms(values, x) + response_terms(values, u, y)


def log_density(values: Values, x: np.ndarray, u: np.ndarray, y: np.ndarray) -> np.ndarray:
    """log p(x, y), (N,)."""
    return logsumexp(component_terms(values, x, u, y), axis=1)


def responsibility(values: Values, x: np.ndarray, u: np.ndarray, y: np.ndarray) -> np.ndarray:
    """p(k | x, y), (N, K), by Bayes' rule."""
    terms = component_terms(values, x, u, y)
    return np.exp(terms - logsumexp(terms, axis=1, keepdims=True))


def extended_terms(factors: Values, x: np.ndarray, u: np.ndarray, y: np.ndarray) -> np.ndarray:
    """`component_terms` in extended precision, from Cholesky factors by forward substitution."""
    exact = {name: value.astype(np.longdouble) for name, value in factors.items()}
    x, u, y = (part.astype(np.longdouble) for part in (x, u, y))
    log_2pi = np.log(2 * np.longdouble("3.14159265358979323846264338327950288"))
    terms = np.log(exact["weight"]) + np.zeros((len(y), 1), dtype=np.longdouble)
    for j in range(terms.shape[1]):
        if "mean" in exact:
            factor, white = exact["cholesky"][j], np.zeros_like(x)
            for i in range(x.shape[1]):
                rest = x[:, i] - exact["mean"][j, i] - (white[:, :i] * factor[i, :i]).sum(1)
                white[:, i] = rest / factor[i, i]
                terms[:, j] -= np.log(factor[i, i]) + (log_2pi + white[:, i] ** 2) / 2
        if "sigma" in exact:
            line = exact["intercept"][j] + (u * exact["slope"][j]).sum(1)
            residual = (y - line) / exact["sigma"][j]
            terms[:, j] -= np.log(exact["sigma"][j]) + (log_2pi + residual**2) / 2
    return terms


def stacked(values: Values) -> tuple[np.ndarray, np.ndarray]:
    """Means (K, D + 1) and covariances (K, D + 1, D + 1) of (x, y) when the predictors are x."""
    means, covariances = [], []
    for j in range(values["weight"].size):
        covariance, slope = values["covariance"][j], values["slope"][j]
        cross = covariance @ slope
        variance = slope @ covariance @ slope + values["sigma"][j] ** 2
        means.append([*values["mean"][j], values["intercept"][j] + slope @ values["mean"][j]])
        covariances.append(np.block([[covariance, cross[:, None]], [cross[None], variance]]))
    return np.array(means), np.array(covariances)


def conditional_mean(values: Values, x: np.ndarray) -> np.ndarray:
    """E[y | x] (N,) by conditioning the Gaussian mixture on (x, y); the predictors are x."""
    means, covariances = stacked(values)
    d, density, line = x.shape[1], [], []
    for weight, mean, covariance in zip(values["weight"], means, covariances, strict=True):
        block = covariance[:d, :d]
        density.append(np.log(weight) + multivariate_normal(mean[:d], block).logpdf(x))
        line.append(mean[d] + (x - mean[:d]) @ np.linalg.solve(block, covariance[:d, d]))
    share = np.exp(np.array(density) - logsumexp(density, axis=0))
    return (share * np.array(line)).sum(0)


def conditional_cdf(values: Values, x: np.ndarray, u: np.ndarray, at: np.ndarray) -> np.ndarray:
    """P(y ≤ at | x), (N,)."""
    terms = np.log(values["weight"]) + feature_terms(values, x)
    share = np.exp(terms - logsumexp(terms, axis=1, keepdims=True))
    line = values["intercept"] + u @ values["slope"].T
    return (share * norm.cdf(at[:, None], line, values["sigma"])).sum(1)


def draw_rows(
    rng: np.random.Generator, values: Values, n: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Allocation (n,), features (n, D), predictors (n, R) that are no features, response (n,)."""
    z = rng.choice(values["weight"].size, n, p=values["weight"])
    d = values["mean"].shape[1] if "mean" in values else 0
    r = values["slope"].shape[1] if "slope" in values else 0
    x, u, y = np.zeros((n, d)), rng.normal(size=(n, r)), np.zeros(n)
    for j in np.unique(z):
        if d:
            size = int((z == j).sum())
            x[z == j] = rng.multivariate_normal(values["mean"][j], values["covariance"][j], size)
    if "sigma" in values:
        line = values["intercept"][z] + (u * values["slope"][z]).sum(1)
        y = line + values["sigma"][z] * rng.normal(size=n)
    return z, x, u, y


def draw_columns(
    rng: np.random.Generator,
    values: Values,
    features: tuple[str, ...],
    predictors: tuple[str, ...],
    response: str | None,
    n: int,
) -> dict[str, np.ndarray]:
    """A table of n rows by column name; predictors that are no features are standard normal."""
    z, x, _, _ = draw_rows(rng, values, n)
    table = dict(zip(features, x.T, strict=True))
    table |= {name: rng.normal(size=n) for name in predictors if name not in features}
    if response is not None:
        u = columns(table, predictors, n)
        line = values["intercept"][z] + (u * values["slope"][z]).sum(1)
        table[response] = line + values["sigma"][z] * rng.normal(size=n)
    return table


def columns(table: dict[str, np.ndarray], names: tuple[str, ...], n: int) -> np.ndarray:
    """Columns by name, (n, len(names))."""
    return np.stack([table[name] for name in names], axis=1) if names else np.zeros((n, 0))


def draw_direction(
    rng: np.random.Generator,
    values: Values,
    covariance: str = "full",
    noise: str = "cluster",
    fixed: tuple[str, ...] = (),
) -> Values:
    """A random direction in the space of the free parameters, for `displaced`."""
    direction = {
        name: np.zeros(value.shape) if name in fixed else rng.normal(size=value.shape)
        for name, value in values.items()
    }
    if "covariance" in values:
        step = np.tril(direction["covariance"])
        eye = np.eye(step.shape[-1])
        direction["covariance"] = {
            "full": step,
            "tied": np.broadcast_to(step[0], step.shape),
            "diagonal": step * eye,
            "spherical": step[:, :1, :1] * eye,
            "fixed": 0 * step,
        }[covariance]
    if "sigma" in values:
        step = direction["sigma"]
        direction["sigma"] = {"cluster": step, "shared": 0 * step + step[0], "fixed": 0 * step}[
            noise
        ]
    return direction


def displaced(values: Values, direction: Values, step: float, u: np.ndarray) -> Values:
    """Valid parameters a ``step`` along ``direction``, in units of each one's own spread.

    Slopes move so that b + u'θ does, by as many sigma, for predictors of the size of ``u``.
    """
    log_weight = np.log(values["weight"]) + step * direction["weight"]
    moved = {"weight": np.exp(log_weight - logsumexp(log_weight))}
    if "mean" in values:
        sd = np.sqrt(np.diagonal(values["covariance"], axis1=1, axis2=2))
        moved["mean"] = values["mean"] + step * sd * direction["mean"]
        turn = np.eye(sd.shape[1]) + step * direction["covariance"]
        factor = np.linalg.cholesky(values["covariance"]) @ turn
        moved["covariance"] = factor @ factor.transpose(0, 2, 1)
    if "sigma" in values:
        sigma = values["sigma"]
        moved["intercept"] = values["intercept"] + step * sigma * direction["intercept"]
        unit = sigma[:, None] / np.sqrt((u**2).mean(0))
        moved["slope"] = values["slope"] + step * unit * direction["slope"]
        moved["sigma"] = sigma * np.exp(step * direction["sigma"])
    return moved


def best_agreement(agreement: np.ndarray) -> float:
    """The largest total of ``agreement`` (cluster, component) over all K! matchings."""
    k = len(agreement)
    return max(
        float(sum(agreement[j, chosen[j]] for j in range(k))) for chosen in permutations(range(k))
    )


def smallest_gap(direction: np.ndarray, xi: np.ndarray, covariance: np.ndarray) -> float:
    """Smallest gap between neighbours along ``direction``, in standard errors, pair by pair."""
    place = [float(direction @ point) for point in xi]
    order = sorted(range(len(place)), key=place.__getitem__)
    gaps = []
    for a, b in pairwise(order):
        contrast = np.zeros(xi.shape)
        contrast[a], contrast[b] = -direction, direction
        size = contrast.size
        variance = contrast.ravel() @ covariance.reshape(size, size) @ contrast.ravel()
        gaps.append((place[b] - place[a]) / float(variance) ** 0.5)
    return min(gaps)


def blocks(covariance: np.ndarray) -> np.ndarray:
    """Covariances (cluster, p, p) of independent clusters as one, (cluster, p, cluster, p)."""
    k, p, _ = covariance.shape
    joint = np.zeros((k, p, k, p))
    for index, block in enumerate(covariance):
        joint[index, :, index] = block
    return joint
