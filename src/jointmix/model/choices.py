"""What the families of a model allow to be chosen besides."""

from typing import Protocol

from jointmix.base.arguments import choice, shown
from jointmix.base.errors import SpecError
from jointmix.families import (
    OF_LEVELS,
    feature_families,
    foreign_priors,
    numeric_families,
    response_families,
)
from jointmix.families.priors.priors import Priors
from jointmix.families.protocol import Block
from jointmix.families.specified import Discrete, Specified
from jointmix.model.roles import Roles


class Chosen(Roles, Specified, Protocol):
    """What is read of a model."""

    @property
    def columns(self) -> tuple[str, ...]: ...
    @property
    def blocks(self) -> tuple[Block, ...]: ...
    @property
    def types(self) -> tuple[Discrete, ...] | None: ...


def check_families(spec: Chosen) -> None:
    """Refuse what the families of the response and the features cannot have.

    Raises
    ------
    SpecError
        If there is such.
    """
    usual = response_families()[0]
    if spec.response is None and spec.family != usual:
        raise SpecError(
            f"family is that of the response; got family={shown(spec.family)} and response=None."
        )
    block = None if spec.response is None else spec.blocks[-1]
    if (spec.trials is not None) != (block is not None and block.counts_successes):
        raise SpecError(
            f"trials is the column of how many trials a binomial response had; got trials="
            f"{shown(spec.trials)} and family={shown(spec.family)}."
        )
    links = () if block is None else block.links
    if spec.link is not None and not links:
        raise SpecError(
            f"A {spec.family} response has one link only; leave out link, got {shown(spec.link)}."
        )
    if spec.link is not None:
        choice("link", spec.link, links)
    if spec.linked and spec.noise != "cluster":
        raise SpecError(
            f"A {spec.family} response has no noise besides its own spread; leave out noise, "
            f"got {shown(spec.noise)}."
        )
    _check_features(spec)
    _check_priors(spec)


def _check_features(spec: Chosen) -> None:
    usual = numeric_families()[0]
    if spec.feature_family != usual and not spec.features:
        raise SpecError(
            "feature_family is that of numeric features, of which the model has none; got "
            f"feature_family={shown(spec.feature_family)}."
        )
    if spec.tails != "cluster" and spec.feature_family == usual:
        raise SpecError(
            "tails says whose the degrees of freedom of student_t features are; got tails="
            f"{shown(spec.tails)} and features that have none."
        )


def _check_priors(spec: Chosen) -> None:
    families = (spec.feature_family, *(own.family for own in spec.discrete))
    if spec.types is None:
        # A table may yet make features of a list categorical.
        families += (OF_LEVELS,)
    of_response = foreign_priors(spec.family, feature_families())
    for name in foreign_priors(spec.family, families):
        if getattr(spec.priors, name) != getattr(Priors(), name):
            whose = f"A {spec.family} response has" if name in of_response else "The model has"
            raise SpecError(f"{whose} no {name}; leave out its prior, or take another family.")
