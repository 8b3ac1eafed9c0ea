"""How people read features in ellipsoids."""

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

from jointmix.families.mathml import letter, row, sign, squared, under
from jointmix.families.words import BlockWords, Node

#: Dims of fixed covariances that differ between clusters.
_PER_CLUSTER = 3
_STRUCTURES = {
    "full": "Each cluster has its own full {0} matrix, Σ = diag(s) R diag(s).",
    "diagonal": "Inside a cluster the features are uncorrelated; each has its own {1}.",
    "spherical": "Inside a cluster the features are uncorrelated, with one {1} on the "
    "modelling scale.",
    "tied": "All clusters share one full {0} matrix.",
    "fixed": "The {0} matrices are fixed by the user.",
}


class EllipticalWords(BlockWords):
    """A location μ_k and a matrix Σ_k, with the structure of Σ."""

    captions: ClassVar[Mapping[str, str]] = {
        "mean": "Mean of each feature",
        "sd": "Standard deviation of each feature",
    }
    #: What Σ and the entries of its diagonal are called.
    matrix_name: ClassVar[str] = "covariance"
    entry_name: ClassVar[str] = "variance"

    @property
    def matrix(self) -> str:
        """Σ_k as its structure has it, in MathML."""
        kind = self.block.spec.covariance
        if kind == "tied":
            return letter("Σ", bold=True)
        if kind == "diagonal":
            inside = squared(letter("s", bold=True), self.index)
            return row("<mi>diag</mi>", sign("("), inside, sign(")"))
        if kind == "spherical":
            return row(squared(letter("s"), self.index), letter("I", bold=True))
        return under(letter("Σ", bold=True), self.index)

    @property
    def location(self) -> str:
        """μ_k, in MathML."""
        return under(letter("μ", bold=True), self.index)

    @property
    def structure(self) -> tuple[str, ...]:
        """What the matrices are like."""
        said = _STRUCTURES[self.block.spec.covariance]
        return (said.format(self.matrix_name, self.entry_name),)

    @property
    def nodes(self) -> tuple[Node, ...]:
        """μ and Σ."""
        mean, *matrix = self.block.parameters[:3]
        several = "covariances" if self.matrix_name == "covariance" else "scale matrices"
        covariance = Node.of("Σ", several, matrix)
        if covariance.fixed:
            given = self.block.spec.priors.covariance
            shared = given is not None and given.array.ndim < _PER_CLUSTER
            covariance = replace(covariance, shared=shared)
        return (Node.of("μ", "means", [mean]), covariance)
