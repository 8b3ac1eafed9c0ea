"""What twins of responses about a line b_k + u'θ_k with a scale σ_k share."""

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import ClassVar

import numpy as np

from jointmix.families.parameters import Parameters
from jointmix.families.priors.priors import Fixed
from jointmix.families.protocol import Scaled
from jointmix.families.rows import Rows
from jointmix.validation.twin.family import Array, Arrays, Candidate, Density
from jointmix.validation.twin.line import LineTwin


class RegressionTwin(LineTwin):
    """b, θ and σ; a family says what y's distribution about the line is."""

    #: What σ is.
    sigma_word: ClassVar[str] = "standard deviation"

    @abstractmethod
    def size_at(
        self, z: np.ndarray, reach: np.ndarray, own: Mapping[str, np.ndarray]
    ) -> np.ndarray:
        """Magnitudes of what enters the log density of z = (y − line) / σ.

        ``reach`` is what z is a difference of, (|y| + |b| + |u|'|θ|) / σ: z is wrong by 1e-16 of
        it. All have the shape (point, obs, component), ``own`` (point, 1, component).
        """

    def complete(self, free: Mapping[str, Array], scaling: Scaled) -> Arrays:
        """b, θ and σ."""
        found, prior = super().complete(free, scaling), self.spec.priors.sigma
        if isinstance(prior, Fixed):
            fixed = np.broadcast_to(prior.array / scaling.response[1], free["weight"].shape)
            return found | {"sigma": fixed}
        return found | {"sigma": free["sigma"]}

    def size(self, parameters: Parameters, rows: Rows) -> np.ndarray:
        """Of the standardised residual, and |log σ|."""
        own = {name: parameters[name][..., None, :] for name in self._by_component(parameters)}
        turned = np.swapaxes(parameters.slope, -1, -2)
        y, sigma = rows.y[:, None], own["sigma"]
        z = (y - own["intercept"] - rows.u @ turned) / sigma
        reach = (np.abs(y) + self.reach(parameters, rows)) / sigma
        return self.size_at(z, reach, own) + np.abs(np.log(sigma))

    def own_mistakes(self, parameters: Parameters, at: Density) -> Iterator[Candidate]:
        """Of σ."""
        sigma = parameters.sigma
        for words, value in (("variance sigma²", sigma**2), ("root of sigma", np.sqrt(sigma))):
            sentence = f"y is given the {words} for a {self.sigma_word}."
            yield sentence, at(parameters.replace(sigma=value))
