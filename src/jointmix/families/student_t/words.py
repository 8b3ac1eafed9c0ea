"""How people read a Student-t response."""

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

from jointmix.families.mathml import density, letter, under
from jointmix.families.priors.priors import Fixed
from jointmix.families.remarks import tails_remark
from jointmix.families.words import Estimated, Node, RegressionWords


class StudentTResponseWords(RegressionWords):
    """t(y | ν_k, b_k + u'θ_k, σ_k)."""

    scale: ClassVar[str] = "scale"
    captions: ClassVar[Mapping[str, str]] = {
        **RegressionWords.captions,
        "sigma": "Scale of the response about its line",
        "df": "Degrees of freedom of the response about its line; fewer mean heavier tails",
    }

    @property
    def form(self) -> str:
        """A cluster's."""
        return "Student-t"

    @property
    def term(self) -> str:
        """t(y | ν_k, b_k + u'θ_k, σ_k)."""
        scale = under(letter("σ"), self.scale_index)
        df = self.symbol(self.block.parameters[-1])
        return density(letter("t"), self.variable, df, self.line, scale)

    @property
    def structure(self) -> tuple[str, ...]:
        """Whose the ν are, and what they do."""
        fixed = isinstance(self.block.spec.priors.df, Fixed)
        one = self.block.spec.n_clusters == 1
        whose = (
            "The degrees of freedom ν are fixed by the user"
            if fixed
            else f"{'The' if one else 'Each'} cluster has its own degrees of freedom ν"
        )
        tails = f"{whose}: the fewer, the heavier the tails, and the less a far row moves the line."
        return (*super().structure, tails)

    @property
    def nodes(self) -> tuple[Node, ...]:
        """ν, σ and the coefficients."""
        return tuple(
            replace(node, words="degrees of freedom") if node.label == "ν" else node
            for node in super().nodes
        )

    def scatter(self, estimates: Mapping[str, Estimated]) -> str:
        """Their scale and their degrees of freedom."""
        sigma, df = estimates["sigma"].text, estimates["df"].text
        return f"a scale of {sigma} and {df} degrees of freedom"

    def remark(self, estimates: Mapping[str, Estimated]) -> str:
        """How heavy the tails are, as far as the interval of ν says."""
        return tails_remark(estimates["df"], "ν", "the response has no variance about its line")
