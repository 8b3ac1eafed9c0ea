"""Imputed cells: intervals of missing entries hold them as often as they say."""

import numpy as np
import pytest
from conftest import how_many

import jointmix as jm
from jointmix.model.simulate import simulate

pytestmark = pytest.mark.slow

TABLES, ROWS = how_many(15, 100), 150


def test_intervals_of_missing_entries_hold_them() -> None:
    """Of features, of predictors among them, and of the response: 90% ± 2% over a hundred tables.

    Some 60 cells a table, which share its fit: a standard error of 5% of one table's.
    """
    truth = jm.four_clusters(2, 2)
    spec = jm.ModelSpec(
        n_clusters=2, features=truth.features, predictors=truth.predictors, response="y",
        missing="model",
        sampler=jm.SamplerSpec(sampler="laplace", draws=500, chains=2, starts=6),
    )  # fmt: skip
    held: dict[str, list[bool]] = {name: [] for name in (*truth.features, "y")}
    for seed in range(TABLES):
        rng = np.random.default_rng(seed)
        drawn = dict(simulate(truth, ROWS, seed=seed))
        whole = {name: np.array(drawn[name], dtype=float) for name in held}
        gone = rng.random((ROWS, 3)) < [0.15, 0.15, 0.1]
        gone[gone.all(axis=1)] = False
        table = {
            name: np.where(holes, np.nan, whole[name])
            for name, holes in zip(held, gone.T, strict=True)
        }
        found = jm.impute(jm.fit(table, spec, seed=seed, progress=False), quantiles=(0.05, 0.95))
        low, high = found["quantiles"].values.T
        for column, row, least, most in zip(
            found["column"].values, found["obs"].values, low, high, strict=True
        ):
            held[column].append(bool(least <= whole[column][int(row)] <= most))
    shares = {name: float(np.mean(own)) for name, own in held.items()}
    every = float(np.mean([each for own in held.values() for each in own]))
    # Four standard errors.
    assert abs(every - 0.9) < 0.2 / np.sqrt(TABLES), shares
    # A column's cells are some 15 to 22 a table: a standard error of at most 8% of one table's.
    assert all(abs(share - 0.9) < 0.3 / np.sqrt(TABLES) for share in shares.values()), shares
