"""How people read a gamma response."""

from collections.abc import Mapping
from typing import ClassVar

from jointmix.families.words import Estimated, PositiveWords


class GammaResponseWords(PositiveWords):
    """Gamma(y | exp(b_k + u'θ_k + o), α_k)."""

    name: ClassVar[str] = "Gamma"
    variance: ClassVar[str] = "its squared mean over α"

    def remark(self, estimates: Mapping[str, Estimated]) -> str:
        """The coefficient of variation."""
        shape = estimates["shape"]
        low, high = shape.upper**-0.5, shape.lower**-0.5
        return (
            f"α = {shape.text}: the response's standard deviation is {low:.2g} to {high:.2g} of "
            "its mean"
        )
