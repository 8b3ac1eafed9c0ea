"""Fits of clusters that are really there: no false alarm."""

from collections import Counter

import numpy as np
import pandas as pd
import pytest
from conftest import how_many

from jointmix import ModelSpec, fit
from jointmix.checks import stored_diagnosis

pytestmark = pytest.mark.slow

N_FITS = how_many(15, 100)


def clean_case(seed: int) -> tuple[pd.DataFrame, ModelSpec]:
    """Two to four clusters in one to three features, 4 sd apart or more, each with its line."""
    rng = np.random.default_rng([7, seed])
    k, d = int(rng.integers(2, 5)), int(rng.integers(1, 4))
    n = int(rng.integers(60, 150)) * k
    corners = np.stack([rng.permutation(k) for _ in range(d)], axis=1)
    mean = 5.0 * corners + rng.normal(scale=0.3, size=(k, d))
    z = rng.choice(k, n, p=rng.dirichlet(np.full(k, 20.0)))
    x = mean[z] + rng.uniform(0.6, 1.0, (k, d))[z] * rng.normal(size=(n, d))
    line = rng.normal(scale=3.0, size=k)[z] + (rng.normal(size=(k, d))[z] * x).sum(axis=1)
    y = line + rng.uniform(0.5, 1.0, k)[z] * rng.normal(size=n)
    unit = 10.0 ** rng.integers(-3, 4, d + 1)
    names = [f"x{j + 1}" for j in range(d)]
    table = pd.DataFrame(dict(zip([*names, "y"], [*x.T, y], strict=True))) * unit
    return table, ModelSpec(n_clusters=k, features=names, predictors=names, response="y")


def test_clean_fits_raise_no_alarm() -> None:
    verdicts: Counter[str] = Counter()
    concerns = []
    for seed in range(N_FITS):
        table, spec = clean_case(seed)
        diagnosis = stored_diagnosis(fit(table, spec, seed=seed))
        verdicts[diagnosis.verdict] += 1
        concerns += [(seed, each.code, each.message) for each in diagnosis.concerns]
    assert verdicts["DO NOT USE"] == 0, concerns
    assert verdicts["CAUTION"] <= 0.03 * N_FITS, concerns
