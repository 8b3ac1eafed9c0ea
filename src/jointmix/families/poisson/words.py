"""How people read a Poisson response."""

from typing import ClassVar

from jointmix.families.mathml import density
from jointmix.families.words import LogLinkWords


class PoissonResponseWords(LogLinkWords):
    """Poisson(y | exp(b_k + u'θ_k + o))."""

    level: ClassVar[str] = "rate at the averages"

    @property
    def form(self) -> str:
        """A cluster's."""
        return "Poisson"

    @property
    def term(self) -> str:
        """Poisson(y | exp(b_k + u'θ_k + o))."""
        return density("<mi>Poisson</mi>", self.variable, self.mean)
