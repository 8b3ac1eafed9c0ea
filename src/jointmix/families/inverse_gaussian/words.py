"""How people read an inverse Gaussian response."""

from collections.abc import Mapping
from typing import ClassVar

from jointmix.families.words import Estimated, PositiveWords


class InverseGaussianResponseWords(PositiveWords):
    """IG(y | exp(b_k + u'θ_k + o), λ_k)."""

    name: ClassVar[str] = "IG"
    variance: ClassVar[str] = "its cubed mean over λ"

    @property
    def form(self) -> str:
        """A cluster's."""
        return "inverse Gaussian"

    def remark(self, estimates: Mapping[str, Estimated]) -> str:
        """Where the standard deviation is the mean."""
        shape = estimates["shape"]
        return (
            f"λ = {shape.text}: where the expected response is λ, so is its standard deviation; "
            "where it is a quarter of that, half of it"
        )
