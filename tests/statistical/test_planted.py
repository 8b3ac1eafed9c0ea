"""Scores prefer the family, and comparisons the number of clusters, that made a table.

`python tests/statistical/test_planted.py 20` counts over twenty tables a family, as it goes.
"""

import sys
from dataclasses import replace

import pytest
from conftest import more

import jointmix as jm

pytestmark = pytest.mark.slow

#: Each family with the one that it is held against: one of the two is a limit of the other.
RIVALS = {
    "poisson": "negative_binomial",
    "negative_binomial": "poisson",
    "normal": "student_t",
    "student_t": "normal",
}
SAMPLER = jm.SamplerSpec(sampler="independence", draws=250, starts=8)
N = 300


def preferred(family: str, seed: int) -> str:
    """The family of the two with the greater leave-one-out density of y given x."""
    truth = jm.four_clusters(2, 1, family)
    table = jm.simulate(truth, N, seed)
    found = {}
    for name in (family, RIVALS[family]):
        spec = replace(truth.spec, family=name, sampler=SAMPLER)
        scores = jm.loo(jm.fit(table, spec, seed, progress=False))
        found[name] = float(scores.pointwise["conditional"].sum())
    return max(found, key=found.__getitem__)


def number(family: str, seed: int) -> int:
    """How many clusters a comparison of one to three takes; two made the table."""
    truth = jm.four_clusters(2, 1, family)
    spec = replace(truth.spec, sampler=SAMPLER)
    best = jm.compare(jm.simulate(truth, N, seed), spec, range(1, 4), seed, progress=False).best
    return int(best if isinstance(best, int) else best[0])


#: Families whose rival lacks what made the table; of a limit the rival is nearly the same model.
WIDER = ("negative_binomial", "student_t")


@pytest.mark.parametrize("family", [WIDER[0], pytest.param(WIDER[1], marks=more)])
def test_the_planted_family_is_preferred(family: str) -> None:
    assert [preferred(family, seed) for seed in range(1, 4)] == [family] * 3


@pytest.mark.parametrize("family", [WIDER[0], pytest.param(WIDER[1], marks=more)])
def test_the_planted_number_is_found(family: str) -> None:
    assert number(family, 1) == 2


if __name__ == "__main__":
    right = dict.fromkeys(RIVALS, 0)
    for seed in range(1, int(sys.argv[1]) + 1):
        for family in RIVALS:
            right[family] += preferred(family, seed) == family
        print(seed, right, flush=True)
