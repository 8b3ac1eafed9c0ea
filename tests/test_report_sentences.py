"""What the first screen says of a response: signs, levels and ratios in plain words."""

import re

import numpy as np
import pandas as pd
import pytest

import jointmix as jm
from jointmix.families.change import Change
from jointmix.reporting.fitted import FittedView
from jointmix.reporting.sections.verdict import sentence

QUICK = jm.SamplerSpec(sampler="laplace", draws=200, chains=2)


def said(formula: str, family: str = "normal", by: float = 3.0) -> str:
    """The sentence on one cluster whose response depends on a factor, or a number, alone."""
    rng = np.random.default_rng(4)
    sex = np.tile(["female", "male"], 60)
    age = rng.normal(size=120)
    line = 0.2 + by * (sex == "male") if "sex" in formula else 0.2 + by * age
    noise = rng.normal(size=120)
    # Without a slope of its own, so that intervals hold the number.
    noise -= age * (noise @ age) / (age @ age)
    y = line + 0.3 * noise
    if family == "poisson":
        y = rng.poisson(np.exp(line))
    if family == "bernoulli":
        y = (rng.random(120) < 1 / (1 + np.exp(-line))).astype(int)
    table = pd.DataFrame({"sex": sex, "age": age, "y": y})
    spec = jm.ModelSpec(
        n_clusters=1, formula=f"y ~ {formula}", features=[], family=family, sampler=QUICK
    )
    return sentence(FittedView(jm.fit(table, spec, progress=False)), 0)


@pytest.mark.parametrize(("by", "word"), [(3.0, "higher"), (-3.0, "lower")])
def test_a_level_is_held_against_its_reference(by: float, word: str) -> None:
    text = said("sex", by=by)
    found = re.search(
        r"; for sex = male, it is (\S+) \[(\S+), (\S+)\] (\w+) than for sex = female\.$", text
    )
    assert found is not None, text
    assert found[4] == word
    mean, lower, upper = (float(found[i]) for i in (1, 2, 3))
    # The size without its sign, within four standard errors of 0.3 √(2/60), and in order.
    assert abs(mean - 3) < 4 * 0.3 * np.sqrt(2 / 60)
    assert lower < mean < upper


def test_a_number_is_held_against_a_unit_less() -> None:
    text = said("age", by=-2.0)
    assert "; per unit of age, it is " in text
    assert text.endswith("] lower.")


def test_what_may_be_nothing_is_said_with_its_sign() -> None:
    text = said("age", by=0.0)
    assert "; per unit of age, it changes by " in text


@pytest.mark.parametrize(
    ("family", "words"),
    [("poisson", "it is {} times that for sex = female"),
     ("bernoulli", "its odds are {} times those for sex = female")],
)  # fmt: skip
def test_ratios_of_levels(family: str, words: str) -> None:
    text = said("sex", family, by=1.0)
    start, end = words.split("{}")
    assert f"; for sex = male, {start}" in text
    assert text.endswith(f"{end}.")


def test_words_of_a_change_by_hand() -> None:
    number = Change(at="per unit of u,", text="−2 [−5, 1]", size="−2 [−5, 1]", higher=None)
    assert number.added("it") == "it changes by −2 [−5, 1]"
    assert number.multiplied("it is") == "it is multiplied by −2 [−5, 1]"
    level = Change(at="", text="−2 [−5, 1]", size="", higher=None, against="a = b")
    assert level.added("its probit") == "its probit differs from that for a = b by −2 [−5, 1]"
