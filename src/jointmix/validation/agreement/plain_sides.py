"""The posterior in the compiled kernel, in NumPy, in SciPy and in scikit-learn."""

from collections.abc import Mapping

import numpy as np

from jointmix.families.mixture import block_terms, log_likelihood
from jointmix.families.parameters import Parameters
from jointmix.families.priors.priors import LKJ, Dirichlet, StudentT
from jointmix.families.rows import Rows
from jointmix.kernel.entry import evaluate
from jointmix.kernel.problem import make_problem
from jointmix.model.location import coordinates
from jointmix.validation.agreement.problem import LOCATION, Problem, cone
from jointmix.validation.agreement.terms import Side, Terms
from jointmix.validation.twin.family import Twin
from jointmix.validation.twin.gaps import terms_of
from jointmix.validation.twin.priors import full_shape, positive_log_density


def kernel_side(problem: Problem) -> Side:
    """The package's own compiled kernel: the log density that is sampled, and its gradient."""
    array = make_problem(problem.dataset, problem.direction)

    def at(q: np.ndarray) -> Terms:
        gradient, total = np.empty_like(q), np.empty(len(q))
        for i, point in enumerate(np.ascontiguousarray(q)):
            total[i] = evaluate(array, point, gradient[i])
        return Terms(total=total, gradient=gradient)

    return Side("kernel", at)


def numpy_side(problem: Problem) -> Side:
    """The densities that predictions, labels and scores are computed from."""

    def at(q: np.ndarray) -> Terms:
        parameters, rows = problem.parameters(q), problem.rows
        features, response = block_terms(problem.spec.blocks, rows, parameters)
        joint = np.log(parameters.weight)[:, None, :] + features + response
        total = rows.weights * log_likelihood(joint)
        discrete = {
            twin.column: block.log_density(parameters, rows)
            for block, twin in zip(problem.spec.blocks, problem.twins, strict=True)
            if twin.column not in ("x", "y")
        }
        return Terms(
            likelihood=total.sum(1), rows=total, features=features, response=response,
            discrete=discrete,
        )  # fmt: skip

    return Side("NumPy", at)


def scipy_side(problem: Problem) -> Side:
    """All terms from ``scipy.stats``, one component at a time."""
    from scipy.special import logsumexp

    def at(q: np.ndarray) -> Terms:
        parameters = problem.parameters(q)
        each = [_scipy_components(problem, parameters.take(i)) for i in range(len(q))]
        found = {name: np.stack([one[name] for one in each]) for name in each[0]}
        response = found.pop("y")
        features = sum(found.values(), np.zeros_like(response))
        joint = np.log(parameters.weight)[:, None, :] + features + response
        rows, prior = logsumexp(joint, axis=-1) * problem.rows.weights, scipy_prior(problem, q)
        likelihood = rows.sum(1)
        total = likelihood + sum(prior.values(), start=np.zeros(len(q)))
        del found["x"]
        return Terms(prior, likelihood, total, rows, features, response, found)

    return Side("SciPy", at)


def _scipy_components(problem: Problem, parameters: Parameters) -> dict[str, np.ndarray]:
    """Log densities at one point, (obs, component), by what twins call their columns; x and y."""

    def term(twin: Twin, own: Mapping[str, np.ndarray], rows: Rows) -> np.ndarray:
        return twin.log_density(own, rows)

    none = dict.fromkeys("xy", np.zeros((len(problem.rows.y), len(parameters.weight))))
    return none | terms_of(problem.twins, parameters.each(), problem.rows, term)


def scipy_prior(problem: Problem, q: np.ndarray) -> dict[tuple[str, ...], np.ndarray]:
    """Log prior densities of q, Jacobians written out, by block, each (point,)."""
    found: dict[tuple[str, ...], np.ndarray] = {}
    for name in problem.slices:
        item = problem.spec.parameters.get(name)
        found[name,] = block_prior(problem, q, name, None if item is None else item.prior)
    return found


def block_prior(problem: Problem, q: np.ndarray, name: str, prior: object) -> np.ndarray:
    """Log density of one block under a prior of its parameter, Jacobian written out, (point,)."""
    block = problem.block(q, name)
    if name == LOCATION:
        return _location_prior(problem, block)
    if isinstance(prior, Dirichlet):
        return _share_prior(block, prior.concentration)
    if isinstance(prior, LKJ):
        width = full_shape(problem.spec.parameters[name], problem.spec)[-1]
        return _correlation_prior(block, width, prior.eta)
    return np.asarray(positive_prior(prior, block).reshape(len(q), -1).sum(1))


def _share_prior(logit: np.ndarray, concentration: float) -> np.ndarray:
    """Dirichlet(a, …, a) of π = softmax(q, −Σq), whose Jacobian is K Π π_k; a sum over the rest."""
    from scipy.special import gammaln, log_softmax

    k = logit.shape[-1] + 1
    whole = np.concatenate([logit, -logit.sum(-1, keepdims=True)], axis=-1)
    constant = gammaln(k * concentration) - k * gammaln(concentration)
    each = concentration * log_softmax(whole, axis=-1).sum(-1) + constant + np.log(k)
    return np.asarray(each.reshape(len(logit), -1).sum(1))


def _location_prior(problem: Problem, value: np.ndarray) -> np.ndarray:
    """Of ξ, inside the cone where there is one, with Σ log gaps for its Jacobian."""
    from scipy.stats import norm, t

    total, xi = cone(problem, value)
    for i, item in enumerate(coordinates(problem.spec)):
        family = t(item.prior.df) if isinstance(item.prior, StudentT) else norm()
        total = total + family.logpdf(xi[:, :, i]).sum(1)
    return total


def positive_prior(prior: object, q: np.ndarray) -> np.ndarray:
    """Log density of q, the log of what a prior of positive numbers is of, of the shape of q."""
    # The Jacobian of the logarithm is the value itself.
    return positive_log_density(prior, np.exp(q)) + q


def _correlation_prior(logit: np.ndarray, d: int, eta: float) -> np.ndarray:
    """LKJ(η) through partial correlations 2u − 1, u ~ Beta(a, a), a = η + (D − 2 − j)/2."""
    from scipy.special import betaln, log_expit

    column = np.tril_indices(d, -1)[1]
    shape = eta + (d - 2 - column) / 2
    # Beta(a, a) of expit(q) times u (1 − u): both factors to the power a.
    own = shape * (log_expit(logit) + log_expit(-logit)) - betaln(shape, shape)
    return np.asarray(own.sum(axis=(1, 2)))


def sklearn_side(problem: Problem) -> Side | None:
    """Rows by scikit-learn's Gaussian mixture on (x, y); None if they are none, or x is not u."""
    spec, gaussian = problem.spec, [twin.gaussian for twin in problem.twins]
    if gaussian != [True, True] or set(spec.predictors) != set(spec.features):
        return None
    if not problem.rows.complete:
        return None
    from importlib.util import find_spec

    if find_spec("sklearn") is None:
        return None
    from sklearn.mixture import GaussianMixture

    rows = problem.rows
    place = [spec.predictors.index(name) for name in spec.features]
    both = np.column_stack([rows.x, rows.y])

    def at(q: np.ndarray) -> Terms:
        parameters, found = problem.parameters(q), np.empty((len(q), len(both)))
        for i in range(len(q)):
            mixture = GaussianMixture(len(parameters.weight[i]), covariance_type="full")
            mixture.weights_ = parameters.weight[i]
            mixture.means_, mixture.precisions_cholesky_ = _stacked(parameters.take(i), place)
            found[i] = rows.weights * mixture.score_samples(both)
        return Terms(likelihood=found.sum(1), rows=found)

    return Side("scikit-learn", at)


def _stacked(parameters: Parameters, place: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Means (K, D + 1) of (x, y) and upper triangular U with precisions U U', (K, D + 1, D + 1).

    The covariance of (x, y) has the factor [[L, 0], [θ'L, σ]], whose inverse is
    [[L⁻¹, 0], [−θ'/σ, 1/σ]], and U is the inverse transposed.
    """
    slope, sigma = parameters.slope[:, place], parameters.sigma[:, None]
    line = parameters.intercept + (slope * parameters.mean).sum(1)
    k, d = parameters.mean.shape
    inverse = np.zeros((k, d + 1, d + 1))
    inverse[:, :d, :d] = np.linalg.inv(parameters.cholesky)
    inverse[:, d, :d], inverse[:, d, d] = -slope / sigma, 1 / sigma[:, 0]
    return np.column_stack([parameters.mean, line]), np.swapaxes(inverse, 1, 2)
