"""What a fit says of rows that miss levels of which predictors are made, against enumeration."""

from contextlib import nullcontext
from itertools import product

import arviz_stats as az
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy.special import logsumexp
from scipy.stats import invgamma, norm
from test_missing_levels import HOLES, LEVELS, spec_of, table_of

import jointmix as jm
from jointmix.base.errors import PrecisionWarning
from jointmix.families.mixture import component_log_density, log_terms
from jointmix.model.dataset import make_dataset
from jointmix.model.packing import packed
from jointmix.posterior.draws import fitted_spec, observed_rows, posterior_parameters, table_rows
from jointmix.posterior.leave_one_out import smoothed

#: All rows but the one whose line needs a number that is missing too.
READY = np.delete(np.arange(120), HOLES["a"])
#: Sums of a hundred terms, each exact to rounding.
TOLERANCE = 1e-9


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return table_of(holes=HOLES)


@pytest.fixture(scope="module")
def tree(table: pd.DataFrame) -> xr.DataTree:
    # A thousandth of the draws of a fit: what is made of them is the same.
    quick = jm.SamplerSpec(sampler="laplace", draws=20, chains=2, starts=2)
    return jm.fit(table, spec_of(sampler=quick), progress=False)


class Filled:
    """A table's rows with every combination of levels filled in, at all draws of a fit."""

    def __init__(self, tree: xr.DataTree, table: pd.DataFrame) -> None:
        self.spec, self.parameters = fitted_spec(tree), posterior_parameters(tree)
        self.gone = {name: table[name].isna().to_numpy() for name in LEVELS}
        self.combinations = list(product(*LEVELS.values()))
        features, response, center = [], [], []
        for word, kind in self.combinations:
            filled = table.assign(word=table["word"].fillna(word), kind=table["kind"].fillna(kind))
            rows = make_dataset(filled, self.spec, demand="density").users_rows
            own, given = log_terms(self.spec.blocks, rows, self.parameters)
            features.append(own)
            response.append(given)
            u, p = rows.u, self.parameters
            center.append(p.intercept[:, None] + np.einsum("nr,skr->snk", u, p.slope))
        repeats = np.where(self.gone["word"], 1, 3) * np.where(self.gone["kind"], 1, 2)
        #: log π_k p(x, levels | k) of each combination, as often as it comes, (combination, ...).
        self.features = np.array(features) - np.log(repeats)[:, None]
        self.response, self.center = np.array(response), np.array(center)

    @property
    def joint(self) -> np.ndarray:
        """log p(x, y, k), (draw, obs, cluster)."""
        return logsumexp(self.features + self.response, axis=0)

    @property
    def chance(self) -> np.ndarray:
        """p(k, levels | x), (combination, draw, obs, cluster)."""
        return np.exp(self.features - logsumexp(self.features, axis=(0, 3), keepdims=True))


@pytest.fixture(scope="module")
def filled(tree: xr.DataTree, table: pd.DataFrame) -> Filled:
    return Filled(tree, table)


def test_densities_and_responsibilities(
    tree: xr.DataTree, table: pd.DataFrame, filled: Filled
) -> None:
    joint, feature = logsumexp(filled.joint, axis=-1), logsumexp(filled.features, axis=(0, 3))
    for given in (None, table):
        found = jm.log_density(tree, given)
        for name, expected in {"joint": joint, "feature": feature}.items():
            values = found[name].values.reshape(expected.shape)
            np.testing.assert_allclose(values, expected, rtol=0, atol=TOLERANCE)
        share = np.exp(filled.joint - joint[..., None]).mean(axis=0)
        alone = filled.chance.sum(axis=0).mean(axis=0)
        said = jm.responsibilities(tree, given)
        np.testing.assert_allclose(said["responsibility"], share, atol=TOLERANCE)
        np.testing.assert_allclose(said["responsibility_features"], alone, atol=TOLERANCE)
    without = jm.responsibilities(tree, table.drop(columns="y"))
    np.testing.assert_allclose(without["responsibility_features"], alone, atol=TOLERANCE)


def test_leaving_out(tree: xr.DataTree, table: pd.DataFrame, filled: Filled) -> None:
    scores = jm.loo(tree).pointwise
    pointwise = logsumexp(filled.joint, axis=-1).T
    weight, _ = smoothed(pointwise)
    expected = logsumexp(weight + pointwise, axis=1) - logsumexp(weight, axis=1)
    np.testing.assert_allclose(scores["joint"], expected, atol=TOLERANCE)
    sd, y = filled.parameters.sigma[:, None], table["y"].to_numpy()
    chance = np.exp(filled.features + weight.T[..., None])
    chance /= chance.sum(axis=(0, 1, 3), keepdims=True)

    def distribution(at: np.ndarray, rows: np.ndarray) -> np.ndarray:
        below = norm.cdf((at[:, None] - filled.center[:, :, rows]) / sd)
        return np.asarray((chance[:, :, rows] * below).sum(axis=(0, 1, 3)))

    known = READY[~np.isnan(y[READY])]
    np.testing.assert_allclose(scores["pit"][known], distribution(y[known], known), atol=TOLERANCE)
    # Of the score, for one row, which lacks both levels.
    row, reach = 5, np.linspace(-9, 9, 4001)
    below = distribution(reach, np.full(len(reach), row))
    by_hand = np.trapezoid((below - (reach >= y[row])) ** 2, reach)
    # The jump at y lies between two points, 0.0045 apart; parts in bins of a tenth of a scale.
    assert scores["crps"].values[row] == pytest.approx(by_hand, abs=3e-3)


def test_predictions(tree: xr.DataTree, table: pd.DataFrame, filled: Filled) -> None:
    chance, sd = filled.chance, filled.parameters.sigma[:, None]
    for weighting in ("equal", "joint"):
        density = logsumexp(filled.features, axis=(0, 3))
        of_draw = np.exp(density - logsumexp(density, axis=0))
        if weighting == "equal":
            of_draw = np.full_like(density, 1 / len(density))
        whole = chance * of_draw[None, ..., None]
        mean = (whole * filled.center).sum(axis=(0, 1, 3))
        square = (whole * (filled.center**2 + sd**2)).sum(axis=(0, 1, 3)) - mean**2
        # Forty draws are few.
        with nullcontext() if weighting == "equal" else pytest.warns(PrecisionWarning):
            found = jm.predict(tree, table.drop(columns="y"), [0.1, 0.8], weighting)
        found, mean, square = found.isel(obs=READY), mean[READY], square[READY]
        np.testing.assert_allclose(found["mean"], mean, atol=TOLERANCE)
        np.testing.assert_allclose(found["sd"] ** 2, square, atol=TOLERANCE)
        # Inside a cluster levels that are not known add to the noise.
        inside = chance.sum(axis=0)
        center = (chance * filled.center).sum(axis=0) / inside
        spread = (chance * (filled.center**2 + sd**2)).sum(axis=0) / inside - center**2
        within = (of_draw[..., None] * inside * spread).sum(axis=(0, 2))
        np.testing.assert_allclose(found["variance_within"], within[READY], atol=TOLERANCE)
        parts = sum(found[f"variance_{name}"] for name in ("within", "between", "parameters"))
        np.testing.assert_allclose(parts, found["sd"] ** 2, atol=TOLERANCE)
        share = (of_draw[..., None] * inside).sum(axis=0)
        np.testing.assert_allclose(found["responsibility"], share[READY], atol=TOLERANCE)
        for i, level in enumerate((0.1, 0.8)):
            at = found["quantiles"].values[:, i]
            below = norm.cdf((at[:, None] - filled.center[:, :, READY]) / sd)
            below = (whole[:, :, READY] * below).sum(axis=(0, 1, 3))
            # What quantiles are found to.
            np.testing.assert_allclose(below, level, atol=1e-7)
    points = np.array([-1.0, 0.5])
    curve = jm.predictive_density(tree, table[:9], points.tolist())
    each = norm.pdf(points, filled.center[:, :, :9, :, None], sd[..., None])
    expected = (chance[:, :, :9, :, None] * each).sum(axis=(0, 3)).mean(axis=0)
    np.testing.assert_allclose(curve, expected, atol=TOLERANCE)


def test_draws_are_of_the_predictive_distribution(
    tree: xr.DataTree, table: pd.DataFrame, filled: Filled
) -> None:
    rows = table.iloc[np.repeat([5, 0], 1_500)].reset_index(drop=True)
    drawn = jm.predictive_draws(tree, rows, draws=40).values.reshape(-1, 2, 1_500)
    for place, row in enumerate((5, 0)):
        mean = (filled.chance * filled.center)[:, :, row].sum(axis=(0, 2))
        error = drawn[:, place].std(axis=1) / np.sqrt(1_500)
        z = (drawn[:, place].mean(axis=1) - mean) / error
        assert abs(z).max() < 4.5
    tables = jm.replicate(tree, draws=40)["posterior_predictive"]
    assert np.isnan(tables["word"].values[..., HOLES["word"]]).all()
    assert np.isfinite(tables["y"].values[..., 5]).all()


def test_imputed_levels_numbers_and_responses(tree: xr.DataTree, filled: Filled) -> None:
    found, joint = jm.impute(tree, draws=40), filled.features + filled.response
    both = np.exp(joint - logsumexp(joint, axis=(0, 3), keepdims=True)).sum(axis=3).mean(axis=1)
    for place, (name, levels) in enumerate(LEVELS.items()):
        rows = HOLES[name]
        expected = [
            sum(both[i, rows] for i, each in enumerate(filled.combinations) if each[place] == level)
            for level in levels
        ]
        stated = np.array(expected).T
        # A row without a response, or without levels, has its combinations as often as stated.
        np.testing.assert_allclose(found[f"probability_{name}"], stated, atol=TOLERANCE)
    cell = dict(zip(zip(found["obs"].values.tolist(), found["column"].values.tolist(), strict=True),
                    range(found.sizes["cell"]), strict=True))  # fmt: skip
    # Row 3 lacks its word and its response.
    mean = (filled.chance * filled.center)[:, :, 3].sum(axis=(0, 2)).mean()
    assert found["mean"].values[cell[3, "y"]] == pytest.approx(mean, abs=TOLERANCE)
    assert abs(found["draws"].values[..., cell[3, "y"]].mean() - mean) < 4.5 * float(
        found["sd"].values[cell[3, "y"]]
    ) / np.sqrt(40)


def test_drawn_levels_go_with_drawn_responses(tree: xr.DataTree, filled: Filled) -> None:
    """Row 3 lacks its word and its response: E[y 1(word)] of draws and by enumeration."""
    found = [jm.impute(tree, draws=40, seed=seed) for seed in range(25)]
    place = found[0]["obs_word"].values.tolist().index(3)
    (cell,) = np.flatnonzero((found[0]["obs"].values == 3) & (found[0]["column"].values == "y"))
    y = np.concatenate([each["draws"].values[..., cell].ravel() for each in found])
    word = np.concatenate([each["draws_word"].values[..., place].ravel() for each in found])
    which = list(LEVELS).index("word")
    for code, level in enumerate(LEVELS["word"]):
        own = [i for i, each in enumerate(filled.combinations) if each[which] == level]
        chance = filled.chance[own][:, :, 3].sum(axis=(0, 2)).mean()
        expected = (filled.chance * filled.center)[own][:, :, 3].sum(axis=(0, 2)).mean()
        inside = word == code
        assert abs(inside.mean() - chance) < 4.5 * np.sqrt(chance * (1 - chance) / len(y))
        assert abs((y * inside).mean() - expected) < 4.5 * (y * inside).std() / np.sqrt(len(y))


def test_a_gaussian_predictor_beside_missing_levels(tree: xr.DataTree, table: pd.DataFrame) -> None:
    """Row 9 lacks a, word and kind: the mean of a by quadrature over a and sums over levels."""
    spec, parameters = fitted_spec(tree), posterior_parameters(tree)
    at, total, first = np.linspace(-15, 20, 3001), np.zeros(40), np.zeros(40)
    for word, kind in product(*LEVELS.values()):
        row = table.iloc[np.repeat(9, len(at))].assign(a=at, word=word, kind=kind)
        rows, _ = table_rows(tree, spec, row, "y")
        density = np.exp(logsumexp(component_log_density(spec.blocks, rows, parameters), axis=-1))
        total, first = total + density.sum(axis=1), first + (density * at).sum(axis=1)
    joint = np.log(total * (at[1] - at[0]))
    observed = jm.log_density(tree)["joint"].values.reshape(40, -1)[:, 9]
    # Trapezoids of densities of analytic functions that vanish at both ends.
    np.testing.assert_allclose(observed, joint, atol=TOLERANCE)
    found = jm.impute(tree, draws=40)
    place = np.flatnonzero((found["obs"].values == 9) & (found["column"].values == "a"))
    assert found["mean"].values[place] == pytest.approx((first / total).mean(), abs=TOLERANCE)


def test_complete_rows_are_as_without_the_others(tree: xr.DataTree, table: pd.DataFrame) -> None:
    """To the last digit."""
    whole = np.setdiff1d(np.arange(len(table)), np.concatenate(list(HOLES.values())))
    spec, parameters = fitted_spec(tree), posterior_parameters(tree)
    plain = make_dataset(table.iloc[whole], spec, demand="density").users_rows
    assert plain.complete
    rows = observed_rows(tree, spec)
    for one, other in zip(log_terms(spec.blocks, rows, parameters),
                          log_terms(spec.blocks, plain, parameters), strict=True):  # fmt: skip
        assert np.array_equal(one[:, whole], other)
    together, alone = jm.predict(tree, table), jm.predict(tree, table.iloc[whole])
    for name in ("mean", "sd", "quantiles", "responsibility", "variance_between"):
        assert np.array_equal(together[name].values[whole], alone[name].values)


def test_another_order_of_levels_is_the_same_model(table: pd.DataFrame) -> None:
    parameters, found = None, []
    for order in (["high", "low", "mid"], ["mid", "high", "low"]):
        given = table.assign(word=pd.Categorical(table["word"], order))
        dataset = make_dataset(given, spec_of())
        own = [each for each in dataset.spec.discrete if each.column == "word"]
        assert list(own[0].levels) == order
        if parameters is None:
            rng = np.random.default_rng(2)
            arrays = {name: rng.normal(size=(2, *block_shape)) for name, block_shape in
                      {"intercept": (), "slope": (4,), "mean": (2,)}.items()}  # fmt: skip
            levels = rng.dirichlet(np.ones(3), 2)
            arrays |= {"weight": np.array([0.4, 0.6]), "sigma": np.array([0.5, 0.8]),
                       "sd": rng.uniform(1, 2, (2, 2)), "probability_word": levels,
                       "probability_kind": rng.dirichlet(np.ones(2), 2),
                       "correlation": np.tile(np.eye(2), (2, 1, 1))}  # fmt: skip
        else:
            places = [("high", "low", "mid").index(level) for level in order]
            effect = np.column_stack([np.zeros(2), arrays["slope"][:, 1:3]])[:, places]
            slope = arrays["slope"].copy()
            slope[:, 1:3] = effect[:, 1:] - effect[:, :1]
            arrays |= {"slope": slope, "intercept": arrays["intercept"] + effect[:, 0],
                       "probability_word": levels[:, places]}  # fmt: skip
        parameters = packed(arrays, dataset.spec)
        found.append(component_log_density(dataset.spec.blocks, dataset.users_rows, parameters))
    np.testing.assert_allclose(*found, atol=1e-11)


def one_cluster() -> pd.DataFrame:
    rng = np.random.default_rng(8)
    word = rng.integers(2, size=24)
    table = pd.DataFrame({"word": np.array(["no", "yes"], dtype=object)[word]})
    table["y"] = 0.3 + 0.9 * word + 0.5 * rng.normal(size=24)
    table.loc[::3, "word"] = None
    # Row 3 has nothing.
    table.loc[[1, 3], "y"] = np.nan
    return table


def by_quadrature(table: pd.DataFrame) -> dict[str, tuple[float, float]]:
    """Posterior means and standard deviations, all on a grid: priors and densities by hand."""
    b, slope = np.linspace(-0.7, 1.3, 41), np.linspace(-0.9, 2.7, 41)
    log_sigma, p = np.linspace(-1.6, 0.4, 31), np.linspace(0.005, 0.995, 34)
    b, slope, log_sigma, p = np.meshgrid(b, slope, log_sigma, p, indexing="ij", sparse=True)
    sigma = np.exp(log_sigma)
    total = norm.logpdf(b, 0, 2.5) + norm.logpdf(slope, 0, 2.5)
    # Priors of scales are of the variance.
    total = total + invgamma.logpdf(sigma**2, 1.0, scale=0.01) + 2 * log_sigma + 0 * p
    for word, y in table.dropna(how="all").itertuples(index=False):
        no, yes = np.log(1 - p), np.log(p)
        if not np.isnan(y):
            no, yes = no + norm.logpdf(y, b, sigma), yes + norm.logpdf(y, b + slope, sigma)
        both = np.logaddexp(no, yes)
        total = total + (both if pd.isna(word) else yes if word == "yes" else no)
    chance = np.exp(total - total.max())
    chance /= chance.sum()
    values = {"intercept": b, "slope": slope, "sigma": sigma, "probability_word": p}
    found = {}
    for name, value in values.items():
        mean = float((chance * value).sum())
        found[name] = mean, float(np.sqrt((chance * (value - mean) ** 2).sum()))
    return found


@pytest.mark.parametrize("sampler", ["independence", "nutpie"])
def test_the_posterior_is_that_of_quadrature(sampler: str) -> None:
    """Of one cluster, a word with holes as its only feature, and a response with holes."""
    table = one_cluster()
    tree = jm.fit(table, "y ~ word", features=["word"], n_clusters=1, missing="model",
                  standardize=False, progress=False,
                  sampler=jm.SamplerSpec(sampler=sampler, draws=1_000, chains=2))  # fmt: skip
    assert int(tree.attrs["n_obs"]) == 23
    posterior = tree["posterior"]
    for name, (mean, sd) in by_quadrature(table).items():
        draws = posterior[name].values.reshape(2, 1_000, -1)[..., -1]
        effective = min(float(az.ess(draws)), 2_000.0)
        # 3.5 Monte-Carlo errors.
        assert abs(draws.mean() - mean) < 3.5 * sd / np.sqrt(effective), name
        assert abs(draws.std() / sd - 1) < 3.5 / np.sqrt(2 * effective), name


def test_check_says_that_such_rows_enter(table: pd.DataFrame) -> None:
    said = jm.check(table, spec_of(missing="error"))
    (kept,) = [issue for issue in said.issues if issue.code == "rows_kept"]
    assert 'missing="model" 120' in kept.message
