"""Relabelling: labels that mean the same cluster in every draw, and how sure they are.

The functions on arrays serve any mixture, and `jointmix.identify` applies them to a DataTree, the
package's own fits and others. All speak of permutations (draw, cluster): entry k is the component
that becomes cluster k.
"""

from jointmix.labels.assignment import inverse, order_by, permute, switch_rate
from jointmix.labels.confidence import agreement, true_permutation_share
from jointmix.labels.relabel import ecr, ecr_iterative, pivotal, stephens

__all__ = [
    "agreement",
    "ecr",
    "ecr_iterative",
    "inverse",
    "order_by",
    "permute",
    "pivotal",
    "stephens",
    "switch_rate",
    "true_permutation_share",
]
