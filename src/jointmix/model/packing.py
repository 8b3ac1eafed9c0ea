"""A tree's variables as the arrays that densities take, and back."""

from collections.abc import Mapping

import numpy as np

from jointmix.families.parameters import Parameters
from jointmix.model.spec import ModelSpec


def packed(variables: Mapping[str, np.ndarray], spec: ModelSpec) -> Parameters:
    """Variables as trees have them, (..., component, ...), as the arrays that densities take."""
    arrays = {"weight": variables["weight"]}
    for block in spec.blocks:
        arrays |= block.packed(variables)
    return Parameters(**arrays)


def unpacked(parameters: Parameters, spec: ModelSpec) -> dict[str, np.ndarray]:
    """The inverse of `packed`: variables as trees have them, in their order."""
    variables = {"weight": parameters.weight}
    for block in spec.blocks:
        variables |= block.variables(parameters)
    return variables
