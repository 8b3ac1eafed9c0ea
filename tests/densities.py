"""The package's log densities of rows given as arrays, for parameters of any dims."""

from typing import Any

import numpy as np

from jointmix.families import mixture, regression
from jointmix.families.mvnormal.block import GaussianFeatures
from jointmix.families.normal.block import NormalResponse
from jointmix.families.parameters import Parameters
from jointmix.families.protocol import Block
from jointmix.families.rows import Rows
from jointmix.families.student_t.block import StudentTResponse

#: Densities do not ask for the specification.
_NO_SPEC: Any = None


def blocks_of(parameters: Parameters) -> list[Block]:
    """The blocks of a model that has these parameters."""
    features = [GaussianFeatures(_NO_SPEC)] if "mean" in parameters else []
    if "sigma" not in parameters:
        return [*features]
    family = StudentTResponse if "df" in parameters else NormalResponse
    return [*features, family(_NO_SPEC)]


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
    return regression.line(parameters, _rows(None, u, None))


def component_log_density(
    x: np.ndarray, u: np.ndarray, y: np.ndarray, parameters: Parameters
) -> np.ndarray:
    """log π_k + log p(x | k) + log p(y | x, k), (..., obs, component)."""
    return mixture.component_log_density(blocks_of(parameters), _rows(x, u, y), parameters)
