"""How people read Student-t features."""

from collections.abc import Mapping
from typing import ClassVar

from jointmix.families.elliptical.words import EllipticalWords
from jointmix.families.mathml import density, letter
from jointmix.families.remarks import tails_remark
from jointmix.families.words import Estimated, Node


class StudentTFeaturesWords(EllipticalWords):
    """t(x | ν_k, μ_k, Σ_k), with the structure of Σ."""

    captions: ClassVar[Mapping[str, str]] = {
        "mean": "Centre of each feature",
        "sd": "Scale of each feature: that of the t distribution, not its standard deviation",
        "feature_df": "Degrees of freedom of the features; fewer mean heavier tails",
    }
    matrix_name: ClassVar[str] = "scale"
    entry_name: ClassVar[str] = "squared scale"

    @property
    def form(self) -> str:
        """A cluster's."""
        return "Student-t"

    @property
    def term(self) -> str:
        """t(x | ν_k, μ_k, Σ_k)."""
        df = self.symbol(self.block.parameters[-1])
        return density(letter("t"), self.variable, df, self.location, self.matrix)

    @property
    def structure(self) -> tuple[str, ...]:
        """What the matrices are like, whose the ν are, and what they do."""
        df, one = self.block.parameters[-1], self.block.spec.n_clusters == 1
        if not df.free:
            whose = f"The degrees of freedom {df.symbol} of the features are fixed by the user"
        elif one or df.shared:
            whose = f"{'The cluster has its own' if one else 'All clusters share the'} degrees of "
            whose += f"freedom {df.symbol} of the features"
        else:
            whose = f"Each cluster has its own degrees of freedom {df.symbol} of the features"
        tails = (
            f"{whose}: the fewer, the heavier the tails, and the less a far row moves or widens "
            f"the cluster. Scales s are those of the t distribution: standard deviations are "
            f"√({df.symbol} / ({df.symbol} − 2)) times as large, and there are none where "
            f"{df.symbol} is at most 2."
        )
        return (*super().structure, tails)

    @property
    def nodes(self) -> tuple[Node, ...]:
        """ν, μ and Σ."""
        df = self.block.parameters[-1]
        return (Node.of(df.symbol, "degrees of freedom", [df]), *super().nodes)

    def remark(self, estimates: Mapping[str, Estimated]) -> str:
        """How heavy the tails are."""
        symbol = self.block.parameters[-1].symbol
        without = "the features have no variances there"
        return tails_remark(estimates["feature_df"], symbol, without)
