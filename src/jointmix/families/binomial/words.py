"""How people read a yes or no, and successes of trials."""

from collections.abc import Mapping
from typing import Any, ClassVar

from scipy.special import expit, ndtr

from jointmix.families.binomial.block import BinomialResponse
from jointmix.families.change import Change
from jointmix.families.mathml import density, letter, row, under
from jointmix.families.words import LinkWords


class BinomialResponseWords(LinkWords):
    """Binomial(y | n, logit⁻¹(b_k + u'θ_k + o)), or Φ(…)."""

    block: BinomialResponse
    captions: ClassVar[Mapping[str, str]] = {
        "slope": "Slope: change of the linked chance of the response per unit of a predictor",
    }
    level: ClassVar[str] = "chance at the averages"
    curve: ClassVar[str] = "chance"

    @property
    def intercept_note(self) -> str:
        """On which scale b is."""
        return (
            f"The intercept is the {self.block.line_of} of the response where every predictor is 0"
        )

    @property
    def form(self) -> str:
        """A cluster's."""
        return "logistic" if self.block.logistic else "probit"

    def expected(self, line: Any) -> Any:
        """The chance of 1."""
        import xarray as xr

        inverse = expit if self.block.logistic else ndtr
        return xr.apply_ufunc(inverse, line)

    @property
    def inverse(self) -> str:
        """g⁻¹(b_k + u'θ_k + o), in MathML."""
        name = "<msup><mi>logit</mi><mn>−1</mn></msup>" if self.block.logistic else letter("Φ")
        return row(name, self.inside)

    @property
    def term(self) -> str:
        """Binomial(y | n, g⁻¹(b_k + u'θ_k + o))."""
        trials = under(letter("n"), letter("i"))
        return density("<mi>Binomial</mi>", self.variable, trials, self.inverse)

    @property
    def link_sentence(self) -> str:
        """What the line is, and of what."""
        return (
            f"The response counts successes in n trials, column {self.block.spec.trials}; the "
            f"{self.block.line_of} of a success is a line in the predictors."
        )

    def moves(self, change: Change) -> str:
        """How a predictor moves the chance: in odds ratios, or in probits."""
        if self.block.logistic:
            return change.multiplied("its odds are", "those")
        return change.added("its probit")

    def sentence(self, response: str, where: str, level: str, change: Change) -> str:
        """In odds ratios, or in probits."""
        return (
            f"{where}each trial of {response} succeeds with probability {level}; {change.at} "
            f"{self.moves(change)}"
        )

    def typical(self, response: str, level: str) -> str:
        """The chance."""
        return f"There each trial of {response} succeeds with probability {level}"


class BernoulliResponseWords(BinomialResponseWords):
    """Bernoulli(y | logit⁻¹(b_k + u'θ_k + o)), or Φ(…)."""

    @property
    def term(self) -> str:
        """Bernoulli(y | g⁻¹(b_k + u'θ_k + o))."""
        return density("<mi>Bernoulli</mi>", self.variable, self.inverse)

    @property
    def link_sentence(self) -> str:
        """What the line is."""
        return f"The {self.block.line_of} of the response being 1 is a line in the predictors."

    def sentence(self, response: str, where: str, level: str, change: Change) -> str:
        """In odds ratios, or in probits."""
        return f"{where}{response} is 1 with probability {level}; {change.at} {self.moves(change)}"

    def typical(self, response: str, level: str) -> str:
        """The chance."""
        return f"There {response} is 1 with probability {level}"
