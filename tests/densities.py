"""The package's log densities of rows given as arrays, for parameters of any dims."""

import numpy as np

from jointmix.families import line, mixture
from jointmix.families.parameters import Parameters
from jointmix.families.protocol import Block
from jointmix.families.rows import Rows
from jointmix.model.spec import ModelSpec


def blocks_of(parameters: Parameters) -> tuple[Block, ...]:
    """The blocks of a model that has these parameters."""
    d = parameters.mean.shape[-1] if "mean" in parameters else 0
    r = parameters.slope.shape[-1] if "slope" in parameters else 0
    spec = ModelSpec(
        n_clusters=parameters.weight.shape[-1],
        features=[f"x{i}" for i in range(d)],
        predictors=[f"u{i}" for i in range(r)],
        response="y" if "sigma" in parameters else None,
        family="student_t" if "df" in parameters else "normal",
    )
    return spec.blocks


def _rows(x: np.ndarray | None, u: np.ndarray | None, y: np.ndarray | None) -> Rows:
    n = next(len(part) for part in (x, y, u) if part is not None)
    none = np.zeros((n, 0))
    return Rows(none if x is None else x, none if u is None else u, np.zeros(n) if y is None else y)


def feature_log_density(x: np.ndarray, parameters: Parameters) -> np.ndarray:
    """log p(x | k), (..., obs, component)."""
    own = [block for block in blocks_of(parameters) if not block.of_response]
    return mixture.block_terms(own, _rows(x, None, None), parameters)[0]


def response_log_density(y: np.ndarray, u: np.ndarray, parameters: Parameters) -> np.ndarray:
    """log p(y | x, k), (..., obs, component)."""
    own = [block for block in blocks_of(parameters) if block.of_response]
    return mixture.block_terms(own, _rows(None, u, y), parameters)[1]


def response_mean(u: np.ndarray, parameters: Parameters) -> np.ndarray:
    """b_k + u'θ_k, (..., obs, component)."""
    return line.line(parameters, _rows(None, u, None))


def component_log_density(
    x: np.ndarray, u: np.ndarray, y: np.ndarray, parameters: Parameters
) -> np.ndarray:
    """log π_k + log p(x | k) + log p(y | x, k), (..., obs, component)."""
    return mixture.component_log_density(blocks_of(parameters), _rows(x, u, y), parameters)
