"""How people read a Laplace response."""

from collections.abc import Mapping
from typing import ClassVar

from jointmix.families.mathml import density, letter, under
from jointmix.families.words import RegressionWords


class LaplaceResponseWords(RegressionWords):
    """Laplace(y | b_k + u'θ_k, σ_k)."""

    scale: ClassVar[str] = "scale"
    captions: ClassVar[Mapping[str, str]] = {
        **RegressionWords.captions,
        "sigma": "Mean absolute residual of the response about its line",
    }

    @property
    def form(self) -> str:
        """A cluster's."""
        return "Laplace"

    @property
    def term(self) -> str:
        """Laplace(y | b_k + u'θ_k, σ_k)."""
        scale = under(letter("σ"), self.scale_index)
        return density("<mi>Laplace</mi>", self.variable, self.line, scale)
