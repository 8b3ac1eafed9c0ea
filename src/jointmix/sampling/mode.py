"""The mode of the unconstrained posterior density that a sampler's start leads to."""

from jointmix.modes.mass import Normal, normal_at
from jointmix.sampling.target import Target

#: Unconstrained values beyond which a dense curvature would cost more than it gains.
LARGEST_DIM = 1500


def laplace_normal(target: Target, seed: int) -> Normal:
    """The normal approximation at the mode that is climbed to from the EM start.

    Raises
    ------
    SamplingError
        If no mode is found with a curvature that is negative in all directions and describes the
        posterior around it.
    """
    return normal_at(target.log_density, target.point(seed))
