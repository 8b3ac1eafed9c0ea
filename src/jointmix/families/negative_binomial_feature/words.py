"""How people read features of spread counts."""

from collections.abc import Mapping

from jointmix.families.feature_words import FeatureWords
from jointmix.families.mathml import density
from jointmix.families.negative_binomial_feature.block import NegativeBinomialFeature
from jointmix.families.priors.priors import Fixed
from jointmix.families.protocol import Parameter
from jointmix.families.remarks import spread_remark
from jointmix.families.words import Estimated, Node


class NegativeBinomialFeatureWords(FeatureWords):
    """NB(n | λ_k, s_k), d being the feature's place where there are several."""

    block: NegativeBinomialFeature

    @property
    def term(self) -> str:
        """NB(n_d | λ_kd, s_kd)."""
        return density("<mi>NB</mi>", self.variable, self.own_symbol("λ"), self.own_symbol("s"))

    @property
    def structure(self) -> tuple[str, ...]:
        """What a size does."""
        fixed = isinstance(self.block.spec.priors.size, Fixed)
        one = self.block.spec.n_clusters == 1
        own = "a size s" if one else "a size s of their own in each cluster"
        whose = "a size s fixed by the user" if fixed else own
        return (
            f"Counts of {self.block.own.column} have {whose}: the variance of a mean m is "
            "m + m²/s, Poisson's where s is large.",
        )

    @property
    def nodes(self) -> tuple[Node, ...]:
        """The rates, and the sizes."""
        rate, size = self.block.parameters
        return (Node.of("λ", "rates of counts", [rate]), Node.of("s", "sizes of counts", [size]))

    def caption(self, parameter: Parameter) -> str:
        """Whose rate or size it is."""
        column = self.block.own.column
        if parameter.name == self.block.name:
            return f"Expected {column} of a row, of counts that may be spread more than Poisson's"
        return f"Size s of {column}: its variance is m + m²/s, so that less is more spread"

    def remark(self, estimates: Mapping[str, Estimated]) -> str:
        """How far the counts are spread beyond Poisson's."""
        return spread_remark(estimates[self.block.size_name], f"counts of {self.block.own.column}")
