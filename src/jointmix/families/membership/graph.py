"""The weights of the clusters as a PyMC variable."""

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pytensor.tensor.variable import TensorVariable

from jointmix.base.schema import COMPONENT
from jointmix.families.membership.block import Weights
from jointmix.families.priors.priors import Dirichlet, Fixed


def weights(membership: Weights) -> TensorVariable:
    """π (component)."""
    k, prior = membership.spec.n_clusters, membership.spec.priors.weight
    if isinstance(prior, Dirichlet) and k > 1:
        return pm.Dirichlet("weight", np.full(k, prior.concentration), dims=COMPONENT)
    value = prior.array if isinstance(prior, Fixed) else np.ones(1)
    return pm.Deterministic("weight", pt.as_tensor(value), dims=COMPONENT)
