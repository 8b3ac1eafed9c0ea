"""What a predictor does to a response, as people read it."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Change:
    """A slope, or its exponential, in words.

    Attributes
    ----------
    at
        Of what: "per unit of age, the others held equal," or "for sex = male,".
    text, size
        The number with its interval; and both without their sign.
    higher
        Whether its whole interval is above zero; False below, None where it holds zero.
    against
        The level that a level is compared with, "sex = female"; "" of a number.
    """

    at: str
    text: str
    size: str
    higher: bool | None
    against: str = ""

    def added(self, what: str) -> str:
        """The clause of a difference: "it is 608 higher than for sex = female"."""
        if self.higher is None:
            verb = f"differs from that for {self.against}" if self.against else "changes"
            return f"{what} {verb} by {self.text}"
        than = f" than for {self.against}" if self.against else ""
        return f"{what} is {self.size} {'higher' if self.higher else 'lower'}{than}"

    def multiplied(self, what: str, same: str = "that") -> str:
        """The clause of a ratio: "it is 1.3 times that for sex = female"."""
        if self.against:
            return f"{what} {self.text} times {same} for {self.against}"
        return f"{what} multiplied by {self.text}"
