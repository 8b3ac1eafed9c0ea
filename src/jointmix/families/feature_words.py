"""How people read features that are beside the Gaussian ones."""

from jointmix.families.feature import Feature
from jointmix.families.mathml import I, letter, row, under
from jointmix.families.words import BlockWords


class FeatureWords(BlockWords):
    """What features of one column share; d is a feature's place among those of its kind."""

    block: Feature

    @property
    def series(self) -> int:
        """How many features of this kind the model has."""
        kind, spec = type(self.block), self.block.spec
        return sum(kind.is_kind_of(own.family) for own in spec.discrete)

    @property
    def form(self) -> str:
        """A cluster's."""
        return self.block.own.family.replace("_", " ")

    @property
    def whole(self) -> str:
        """All features of the kind, in MathML."""
        return under(letter(self.block.letter, bold=self.series > 1), I)

    @property
    def _place(self) -> str:
        return letter("d") if self.series > 1 else ""

    @property
    def variable(self) -> str:
        """The feature of the row."""
        return under(letter(self.block.letter), row(I, self._place))

    def own_symbol(self, symbol: str) -> str:
        """A parameter with the indices of cluster and feature."""
        index = row(self.index, self._place) if self.index or self._place else ""
        return under(letter(symbol), index)
