"""How people read a negative binomial response."""

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

from jointmix.families.mathml import density
from jointmix.families.priors.priors import Fixed
from jointmix.families.remarks import spread_remark
from jointmix.families.words import Estimated, LogLinkWords, Node


class NegativeBinomialResponseWords(LogLinkWords):
    """NB(y | exp(b_k + u'θ_k + o), s_k)."""

    level: ClassVar[str] = "rate at the averages"
    scale: ClassVar[str] = "size"
    captions: ClassVar[Mapping[str, str]] = {
        **LogLinkWords.captions,
        "size": "Size s of the response: its variance is m + m²/s, so that less is more spread",
    }

    @property
    def form(self) -> str:
        """A cluster's."""
        return "negative binomial"

    @property
    def term(self) -> str:
        """NB(y | exp(b_k + u'θ_k + o), s_k)."""
        size = self.symbol(self.block.parameters[-1])
        return density("<mi>NB</mi>", self.variable, self.mean, size)

    @property
    def structure(self) -> tuple[str, ...]:
        """Whose the sizes are, and what they do."""
        fixed = isinstance(self.block.spec.priors.size, Fixed)
        one = self.block.spec.n_clusters == 1
        whose = (
            "The sizes s are fixed by the user"
            if fixed
            else f"{'The' if one else 'Each'} cluster has its own size s"
        )
        spread = f"{whose}: the variance of a mean m is m + m²/s, Poisson's where s is large."
        return (*super().structure, spread)

    @property
    def nodes(self) -> tuple[Node, ...]:
        """The size, and the coefficients."""
        return tuple(
            replace(node, words="size") if node.label == "s" else node for node in super().nodes
        )

    def scatter(self, estimates: Mapping[str, Estimated]) -> str:
        """Their size."""
        return f"a size of {estimates['size'].text}"

    def remark(self, estimates: Mapping[str, Estimated]) -> str:
        """How far the counts are spread beyond Poisson's, as far as the size's interval says."""
        return spread_remark(estimates["size"], "counts")
