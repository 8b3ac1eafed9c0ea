"""How people read features of levels."""

from jointmix.families.feature_words import FeatureWords
from jointmix.families.mathml import density
from jointmix.families.words import Node


class CategoricalFeatureWords(FeatureWords):
    """Categorical(c | p_k), d being the feature's place where there are several."""

    @property
    def term(self) -> str:
        """Categorical(c_d | p_kd)."""
        return density("<mi>Categorical</mi>", self.variable, self.own_symbol("p"))

    @property
    def nodes(self) -> tuple[Node, ...]:
        """The probabilities."""
        return (Node.of("p", "probabilities of levels", self.block.parameters),)
