"""How people read features of counts."""

from jointmix.families.feature_words import FeatureWords
from jointmix.families.mathml import density
from jointmix.families.protocol import Parameter
from jointmix.families.words import Node


class PoissonFeatureWords(FeatureWords):
    """Poisson(n | λ_k), d being the feature's place where there are several."""

    @property
    def term(self) -> str:
        """Poisson(n_d | λ_kd)."""
        return density("<mi>Poisson</mi>", self.variable, self.own_symbol("λ"))

    @property
    def nodes(self) -> tuple[Node, ...]:
        """The rates."""
        return (Node.of("λ", "rates of counts", self.block.parameters),)

    def caption(self, parameter: Parameter) -> str:
        """Whose rate it is."""
        del parameter
        return f"Expected {self.block.own.column} of a row, of counts that are Poisson's"
