"""How people read a normal response."""

from collections.abc import Mapping
from typing import ClassVar

from jointmix.families.mathml import density, letter, squared
from jointmix.families.words import Estimated, RegressionWords


class NormalResponseWords(RegressionWords):
    """N(y | b_k + u'θ_k, σ_k²)."""

    captions: ClassVar[Mapping[str, str]] = {
        **RegressionWords.captions,
        "sigma": "Noise: standard deviation of the response about its line",
    }

    def kind(self, noun: str) -> str:
        """A regression without an adjective is one with normal noise."""
        return noun

    @property
    def form(self) -> str:
        """A cluster's."""
        return "Gaussian"

    @property
    def term(self) -> str:
        """N(y | b_k + u'θ_k, σ_k²)."""
        variance = squared(letter("σ"), self.scale_index)
        return density("<mi>𝒩</mi>", self.variable, self.line, variance)

    def scatter(self, estimates: Mapping[str, Estimated]) -> str:
        """Their standard deviation."""
        return f"a standard deviation of {estimates['sigma'].text}"
