"""Tables drawn from a joint mixture whose parameters are known."""

from collections.abc import Mapping, Sequence
from itertools import islice, product
from pathlib import Path
from typing import overload

import numpy as np
import pandas as pd

from jointmix.base.arguments import choice, random_source, shown, whole_number
from jointmix.base.errors import DataError, SpecError
from jointmix.base.progress import ProgressOption
from jointmix.families import (
    NORMAL,
    feature_families,
    has_levels,
    most_levels,
    numeric_families,
)
from jointmix.model.demands import require_possible
from jointmix.model.discrete import labelled, made
from jointmix.model.drawn_parts import write_drawn
from jointmix.model.holes import shares_missing, with_holes
from jointmix.model.rows import by_role
from jointmix.model.spec import ModelSpec
from jointmix.model.truth import Truth
from jointmix.tables.columns import read_columns

ORIGINAL_SLOPES = ((1.0, 4.0), (3.0, 2.0), (4.0, 1.0), (-3.0, -2.0))
SLOPE_SEED = 20240501
LARGEST_TABLE = 10**8  # rows
LARGEST_EXAMPLE = 1_000  # clusters, and features
#: Of rows whose trials are not given.
_MOST_TRIALS = 20
#: Of the examples whose response has a link: the largest line at a cluster's mean, and shapes.
_LARGEST_LINE, _SHAPE = 1.5, 4.0
#: Of features of levels the most probable one's probability, and the expected counts of features,
#: of one cluster after the other.
_CLEAR, _RATES = 0.8, (1.0, 4.0, 9.0, 16.0)
_LABELS = ("a", "b", "c")


@overload
def simulate(
    truth: Truth,
    n: int,
    seed: int | np.random.Generator,
    given: object = None,
    missing: Mapping[str, float] | None = None,
    out: None = None,
    progress: ProgressOption = None,
) -> pd.DataFrame: ...


@overload
def simulate(
    truth: Truth,
    n: int,
    seed: int,
    given: object = None,
    missing: Mapping[str, float] | None = None,
    *,
    out: str | Path,
    progress: ProgressOption = None,
) -> Path: ...


def simulate(
    truth: Truth,
    n: int,
    seed: int | np.random.Generator,
    given: object = None,
    missing: Mapping[str, float] | None = None,
    out: str | Path | None = None,
    progress: ProgressOption = None,
) -> pd.DataFrame | Path:
    """Draw ``n`` independent rows.

        z ~ Categorical(π),  x ~ N(μ_z, Σ_z),  y ~ N(b_z + u'θ_z, σ_z²) or another family's

    Features that are no numbers are drawn from their own families, independently given z.
    Predictors that are no features, and an offset, are standard normal, and trials 1 to 20, each
    as often, unless they are given.

    Parameters
    ----------
    truth
        The parameters.
    n
        Number of rows, at least 1.
    seed
        A seed, or the generator to draw from.
    given
        A table of n rows that holds some of the predictors that are no features, the offset or the
        trials; its other columns are not read.
    missing
        Column → share of its entries that are deleted, below 1, of features and the response:
        completely at random, after all else is drawn. Of a row nothing of which would be left
        nothing is deleted.
    out
        A folder, not there yet, for Parquet files of 250,000 rows each, of which one at a time is
        in memory. Each file has a generator of its own, from the seed and its number: the rows
        depend on the truth, ``given``, ``missing``, the seed and these
        files' length, on no machine, and full files are the same whatever n is; they are other
        rows than those drawn without ``out``. The folder is there when all is written; the same
        call goes on where an interrupted one has stopped (OUT.unfinished).
    progress
        Of writing to ``out``, as `jointmix.fit` takes it.

    Returns
    -------
    pandas.DataFrame or Path
        ``out``, where it is given; else (n, ·): features, further predictors, offset, trials,
        response, and ``cluster``, the allocation z from 0; counts as whole numbers, levels as
        their labels, missing entries as NaN.

    Raises
    ------
    SpecError
        If ``truth`` is no `Truth`, ``n`` lies outside 1 to 10⁸, the seed is none, or ``missing``
        holds no such shares; or if ``out`` is given and the seed is a generator.
    StorageError
        If ``out`` is there already, another process writes it, or it cannot be written.
    DataError
        If ``given`` is no table, has another number of rows, or holds what cannot be.

    Examples
    --------
    >>> import jointmix as jm
    >>> truth = jm.four_clusters(family="poisson", offset="log_hours")
    >>> table = jm.simulate(truth, 100, seed=1, given={"log_hours": [0.5] * 100})
    >>> table.columns.tolist()
    ['x1', 'x2', 'log_hours', 'y', 'cluster']
    >>> jm.simulate(truth, 100, seed=1, out="many_rows").name
    'many_rows'
    """
    if not isinstance(truth, Truth):
        raise SpecError(f"truth must be a Truth; got {shown(truth)}.")
    n = whole_number("The number of rows", n, 1, LARGEST_TABLE)
    if out is not None:
        seed = whole_number("seed of a table in parts", seed, 0)
        shares = shares_missing(missing, truth.spec)
        known = _given(given, _outside(truth.spec), n, truth.spec)

        def draw(place: int, part: slice) -> pd.DataFrame:
            rng = np.random.default_rng([seed, place])
            rows = {name: column[part] for name, column in known.items()}
            return simulate(truth, part.stop - part.start, rng, rows or None, shares)

        return write_drawn(truth, n, seed, known, shares, out, draw, progress)
    rng = random_source(seed)
    cluster = rng.choice(len(truth.weight), size=n, p=truth.weight)
    spec = truth.spec
    shares = shares_missing(missing, spec)
    values = pd.DataFrame(0.0, index=range(n), columns=list(spec.columns))
    outside = _outside(spec)
    known = _given(given, outside, n, spec)
    for block in spec.blocks:
        if block.of_response:
            for name in outside:
                if name in known:
                    values[name] = known[name]
                elif name == spec.trials:
                    values[name] = rng.integers(1, _MOST_TRIALS + 1, n).astype(float)
                else:
                    values[name] = rng.standard_normal(n)
        rows = by_role(values.to_numpy(), spec)
        values[list(block.columns)] = block.draw(truth.parameters, rows, cluster, rng).reshape(
            n, len(block.columns)
        )
    whole = [own.column for own in spec.discrete if not own.levels]
    if spec.blocks[-1].whole:
        whole += [name for name in (spec.trials, spec.response) if name is not None]
    values = values.astype(dict.fromkeys(whole, np.int64))
    columns = {str(name): column.to_numpy() for name, column in values.items()}
    columns |= labelled(columns, spec.discrete)
    return pd.DataFrame(with_holes(columns, shares, spec, rng)).assign(cluster=cluster)


def _outside(spec: ModelSpec) -> list[str]:
    """Columns that have no density, and may be given."""
    return [name for name in (*spec.predictors, *spec.given) if name not in spec.clustering]


def _given(given: object, outside: Sequence[str], n: int, spec: ModelSpec) -> dict[str, np.ndarray]:
    """The columns of a table that are not drawn, (n,) each."""
    if given is None or not outside:
        return {}
    known = read_columns(given, (), outside)
    for name, column in known.items():
        if len(column) != n:
            raise DataError(f"given must have {n} rows; column {name!r} has {len(column)}.")
        if not np.isfinite(column).all():
            raise DataError(f"Column {name!r} of given must hold finite numbers.")
    rest = {name: np.ones(n) for name in spec.given if name not in known}
    require_possible({**rest, **known}, spec)
    return known


def four_clusters(
    n_clusters: int = 4,
    n_features: int = 2,
    family: str = "normal",
    link: str | None = None,
    offset: str | None = None,
    trials: str | None = None,
    discrete: Mapping[str, str] | None = None,
    feature_family: str = NORMAL,
) -> Truth:
    """The four-cluster example, and its like for any number of clusters and features.

    Means are the corners (±1, …, ±1) in the order of `itertools.product`; when they are used
    up, those of the cubes (±3, …, ±3), (±5, …, ±5) and so on. Neighbours are at least 2 apart,
    6.3 times the standard deviation √0.1. Weights are equal, intercepts 0, covariances 0.1·I
    and sigma 0.5. Slopes are those of the example for K = 4 and D = 2, otherwise a fixed
    sequence of N(0, 3²) draws rounded to one decimal. Of a response with a link they are divided
    by one number, so that the largest line at a cluster's mean is 1.5 from 0. Degrees of freedom,
    sizes and shapes are 4. Of further features, which are no predictors, level k of three, or of
    two, has the probability 0.8 in cluster k, and counts have the means 1, 4, 9 and 16; then both
    begin anew.

    Parameters
    ----------
    n_clusters
        K, at least 1.
    n_features
        D, at least 1; the features x1, …, xD are the predictors too.
    family, link, offset, trials
        Of the response, and names of its columns, as in `ModelSpec`.
    discrete
        Further features by name, each with its family: "categorical", "bernoulli", "poisson" or
        "negative_binomial".
    feature_family
        Of x1, …, xD, "normal" or "student_t".

    Returns
    -------
    Truth
        With the response y.

    Raises
    ------
    SpecError
        If a number lies outside 1 to 1,000, the family, link, offset and trials do not go
        together, or further features are none.

    Examples
    --------
    >>> jm.four_clusters(3, 2).slope.shape
    (3, 2)
    >>> truth = jm.four_clusters(discrete={"word": "categorical", "visits": "poisson"})
    >>> table = jm.simulate(truth, 100, seed=1, missing={"word": 0.2, "x1": 0.1})
    >>> table.columns.tolist()
    ['x1', 'x2', 'word', 'visits', 'y', 'cluster']
    """
    k = whole_number("n_clusters", n_clusters, 1, LARGEST_EXAMPLE)
    d = whole_number("n_features", n_features, 1, LARGEST_EXAMPLE)
    names = tuple(f"x{i + 1}" for i in range(d))
    slope: np.ndarray = np.array(ORIGINAL_SLOPES)
    if slope.shape != (k, d):
        slope = np.random.default_rng(SLOPE_SEED).normal(scale=3.0, size=(k, d)).round(1)
    mean = _corners(k, d)
    own = ModelSpec(
        n_clusters=k, features=names, predictors=names, response="y", family=family, link=link,
        offset=offset, trials=trials, feature_family=feature_family,
    )  # fmt: skip
    if own.linked:
        slope = slope * (_LARGEST_LINE / np.abs((slope * mean).sum(axis=1)).max())
    shapes = [item.name for item in own.parameters.values() if item.role == "shape"]
    mapped = bool(discrete) or feature_family != NORMAL
    further, levels = _further(k, discrete or {})
    return Truth(
        weight=np.full(k, 1 / k),
        mean=mean,
        covariance=np.tile(0.1 * np.eye(d), (k, 1, 1)),
        intercept=np.zeros(k),
        slope=slope,
        sigma=np.full(k, 0.5) if "sigma" in own.parameters else None,
        features=dict.fromkeys(names, feature_family) | dict(discrete or {}) if mapped else names,
        predictors=names,
        response="y",
        family=family,
        shape={name: np.full(k, _SHAPE) for name in shapes},
        link=link,
        offset=offset,
        trials=trials,
        discrete=further,
        levels=levels,
    )


def _further(
    k: int, families: Mapping[str, str]
) -> tuple[dict[str, np.ndarray], dict[str, tuple[str, ...]]]:
    """What features have that are not Gaussian, by parameter, and levels by column."""
    others = [family for family in feature_families() if family not in numeric_families()]
    for name, family in families.items():
        choice(f"The family of the feature {name!r}", family, others)
    levels = {
        name: _LABELS[: most_levels(family)]
        for name, family in families.items()
        if has_levels(family)
    }
    if not families:
        return {}, {}
    types = made(families, {(name, families[name]): own for name, own in levels.items()})
    spec = ModelSpec(n_clusters=k, features=families, types=types)
    found, place = {}, np.arange(k)
    for block in spec.blocks:
        for item in block.parameters:
            if item.role == "probability":
                n = spec.shapes[item.name][1]
                likely = place[:, None] % n == np.arange(n)
                found[item.name] = np.where(likely, _CLEAR, (1 - _CLEAR) / (n - 1))
            elif item.stated == "rate":
                found[item.name] = np.array(_RATES)[place % len(_RATES)]
            else:
                found[item.name] = np.full(k, _SHAPE)
    return found, levels


def _corners(k: int, d: int) -> np.ndarray:
    """(K, D): the corners of nested cubes, the innermost first."""
    shells = (1.0 + 2.0 * shell for shell in range(k))
    corners = (
        corner for size in shells for corner in product((size, -size), repeat=d)
    )  # Generated one by one: a cube has 2^D corners.
    return np.array(list(islice(corners, k)))
