"""Who belongs where before the columns are seen: weights that are the same for all rows."""

from dataclasses import dataclass, field
from typing import Protocol

from jointmix.families.priors.priors import Fixed
from jointmix.families.protocol import Parameter
from jointmix.families.specified import Specified


class Membership(Protocol):
    """Who belongs where before the columns are seen: log π_k of each row."""

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """Those of the weights."""
        ...


@dataclass(frozen=True)
class Weights:
    """The same weights for all rows."""

    spec: Specified = field(repr=False)

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """π, with K − 1 free values."""
        k, prior = self.spec.n_clusters, self.spec.priors.weight
        free = () if k == 1 or isinstance(prior, Fixed) else (k - 1,)
        return (
            Parameter(
                name="weight", symbol="π", role="weight", prior=prior, free=free, site="weight",
                meaning="share of rows",
            ),
        )  # fmt: skip
