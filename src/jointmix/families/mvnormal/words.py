"""How people read Gaussian features."""

from jointmix.families.elliptical.words import EllipticalWords
from jointmix.families.mathml import density


class GaussianFeaturesWords(EllipticalWords):
    """N(x | μ_k, Σ_k), with the structure of Σ."""

    @property
    def form(self) -> str:
        """A cluster's."""
        return "Gaussian"

    @property
    def term(self) -> str:
        """N(x | μ_k, Σ_k)."""
        return density("<mi>𝒩</mi>", self.variable, self.location, self.matrix)
