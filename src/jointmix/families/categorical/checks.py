"""What can go wrong with a feature of levels: nothing collapses on it."""

from jointmix.families.checks import Checks


class CategoricalChecks(Checks):
    """Of p(x = l | k)."""

    @property
    def measured(self) -> tuple[str, ...]:
        """Codes are no measurements."""
        return ()
