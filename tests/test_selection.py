"""Choosing K: what the criteria say of hand-made tables, of small fits, and of known truths."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from conftest import how_many, more
from scipy.special import logsumexp
from synthetic import screened_models

import jointmix as jm
from jointmix.base.errors import SchemaError, SpecError
from jointmix.families.priors.priors import Fixed
from jointmix.fitting.candidates import (
    least,
    make_grid,
    promising,
    screened,
)
from jointmix.fitting.ranking import choose, describe
from jointmix.fitting.selection import compare, occupied_clusters, sparse
from jointmix.model.simulate import simulate

QUICK = jm.SamplerSpec(draws=150, tune=200, chains=2, starts=8)


def hand_made(**columns: list[float]) -> pd.DataFrame:
    usual = {
        "elpd": [-500.0, -420.0, -419.0, -424.0],
        "elpd_diff": [-81.0, -1.0, 0.0, -5.0],
        "diff_se": [9.0, 1.0, 0.0, 1.0],
        "elpd_conditional": [-300.0, -250.0, -249.5, -251.0],
        "conditional_diff": [-50.5, -0.5, 0.0, -1.5],
        "conditional_diff_se": [7.0, 0.5, 0.0, 1.0],
        "high_k": [0, 0, 0, 0],
        "n_parameters": [5, 11, 17, 23],
        "log_likelihood": [-497.0, -407.0, -400.0, -396.0],
        "bic": [1020.0, 870.0, 890.0, 915.0],
        "icl": [1020.0, 872.0, 905.0, 940.0],
        "collapsed": [False] * 4,
        "verdict": ["OK", "OK", "CAUTION", "OK"],
    }
    return pd.DataFrame(usual | columns, index=pd.Index([1, 2, 3, 4], name="n_clusters"))


@pytest.mark.parametrize(
    ("diff", "se", "best"),
    [
        ([-81, -1, 0, -5], [9, 1, 0, 1], 2),
        # Four units are no difference, five with a small error are.
        ([-81, -3.9, 0, -5], [9, 0.1, 0, 1], 2),
        ([-81, -5, 0, -5], [9, 0.1, 0, 1], 3),
        # Fifteen units that are but one and a half standard errors.
        ([-81, -15, -2, 0], [9, 10, 1, 0], 2),
        ([0, -3, -5, -9], [0, 1, 1, 1], 1),
        ([-400, -200, -100, 0], [20, 15, 9, 0], 4),
    ],
)
def test_the_smallest_number_that_predicts_as_well(
    diff: list[float], se: list[float], best: int
) -> None:
    assert choose(hand_made(elpd_diff=diff, diff_se=se)) == best


def test_agreement_is_said_in_short() -> None:
    text = describe(hand_made(verdict=["OK"] * 4), 2)
    assert text.startswith("The rows are predicted about as well with 2 clusters")
    assert "(joint elpd -420.0); BIC favours 2, ICL 2." in text
    assert "predicted best with 3 clusters, and not clearly worse with 2." in text
    for words in ("BIC asks", "BIC sees", "ICL counts", "Pareto", "not to be used"):
        assert words not in text


@pytest.mark.parametrize(
    ("changes", "best", "words"),
    [
        ({"bic": [1000.0, 870, 860, 915]}, 2, "BIC sees more clusters"),
        ({"bic": [800.0, 870, 860, 915]}, 2, "BIC asks more of each parameter"),
        ({"icl": [800.0, 870, 860, 915]}, 2, "ICL counts separate groups"),
        ({"conditional_diff": [-1.0, -0.5, 0, -1.5]}, 2, "fewer will do"),
        ({"high_k": [0, 3, 0, 1]}, 2, "(K = 2, 4)"),
        ({"verdict": ["OK", "OK", "DO NOT USE", "DO NOT USE"]}, 2, "K = 3, 4 are not to be used"),
    ],
)
def test_disagreement_is_explained(changes: dict, best: int, words: str) -> None:
    assert words in describe(hand_made(**changes), best)


@pytest.mark.parametrize(
    ("verdicts", "next_step"),
    [
        (["OK", "DO NOT USE", "CAUTION", "OK"], "The fit with K = 3 predicts about as well"),
        (["OK", "DO NOT USE", "DO NOT USE", "OK"], "The fit with K = 4 predicts about as well"),
        (["OK", *["DO NOT USE"] * 3], "Compare again when that is done"),
    ],
)
def test_what_to_do_next_where_the_fit_chosen_is_not_to_be_used(
    verdicts: list[str], next_step: str
) -> None:
    table = hand_made(verdict=verdicts, elpd_diff=[-81.0, -1, 0, -2], diff_se=[9.0, 1, 0, 1])
    text = describe(table, 2, "Two chains differ. Raise the number of EM starts.")
    assert "K = 2, is one of them: Two chains differ. Raise the number of EM starts." in text
    assert next_step in text
    assert "is one of them" not in describe(table, 1)


def test_without_a_response_nothing_is_said_of_it() -> None:
    nothing = [np.nan] * 4
    table = hand_made(elpd_conditional=nothing, conditional_diff=nothing)
    assert "response" not in describe(table, 2)


@pytest.fixture(scope="module")
def small() -> tuple[pd.DataFrame, jm.ModelSpec, jm.Comparison]:
    rng = np.random.default_rng(2)
    z = np.arange(120) < 50
    x = rng.normal(size=120) + 8 * z
    table = pd.DataFrame({"x": x, "y": np.where(z, 2 * x, -x) + rng.normal(size=120)})
    spec = jm.ModelSpec(n_clusters=1, features=["x"], predictors=["x"], response="y", sampler=QUICK)
    return table, spec, compare(table, spec, [3, 1, 2, 2], seed=3, jobs=2)


def test_the_table_is_of_the_fits(
    small: tuple[pd.DataFrame, jm.ModelSpec, jm.Comparison],
) -> None:
    table, _, found = small
    assert found.table.index.tolist() == [1, 2, 3]
    assert found.best == 2
    assert " ".join(str(found).split()) == found.text
    for number, tree in found.trees.items():
        row = found.table.loc[number]
        assert tree["posterior"].sizes["cluster"] == number
        assert row["verdict"] == tree.attrs["verdict"]
        assert row["bic"] == float(tree["modes"]["bic"][0])
        assert row["smallest"] <= 120 / number + 1
        # What is known of the rows already predicts them better than from the others alone.
        density = jm.log_density(tree)
        within = logsumexp(density["joint"], axis=(0, 1)) - np.log(density["joint"][..., 0].size)
        assert row["elpd"] < within.sum()
        assert row["elpd"] > within.sum() - 40
    assert found.table["elpd_diff"].max() == 0
    assert found.table.loc[found.table["elpd"].idxmax(), "diff_se"] == 0
    assert len(table) == 120


def test_fits_do_not_depend_on_how_many_run_at_a_time(
    small: tuple[pd.DataFrame, jm.ModelSpec, jm.Comparison],
) -> None:
    table, spec, found = small
    again = compare(table, spec, [1, 2], seed=3, jobs=1)
    for number in (1, 2):
        np.testing.assert_array_equal(
            again.trees[number]["posterior"]["mean"], found.trees[number]["posterior"]["mean"]
        )


def test_refusals() -> None:
    spec = jm.ModelSpec(n_clusters=2, features=["x"])
    with pytest.raises(SpecError, match="two numbers of clusters or more"):
        compare({"x": [1.0]}, spec, [3, 3])
    fixed = jm.ModelSpec(
        n_clusters=2, features=["x"], priors=jm.Priors(weight=Fixed(value=[0.4, 0.6]))
    )
    with pytest.raises(SpecError, match="With 3 clusters"):
        compare({"x": [1.0]}, fixed, [2, 3])
    for wrong, words in (
        ({"covariance": ["round"]}, "covariance must be one of full"),
        ({"covariance": "full"}, "covariance must be a list of names"),
        ({"covariance": ["fixed", "full"]}, "With 1 cluster, fixed covariance: covariance='fixed'"),
        ({"noise": ["shared"]}, "that of the response; the model has none"),
    ):
        with pytest.raises(SpecError, match=words):
            compare({"x": [1.0]}, spec, [1, 2], **wrong)
    regression = jm.ModelSpec(n_clusters=2, predictors=["x"], response="y")
    with pytest.raises(SpecError, match="that of the features; the model has none"):
        compare({"x": [1.0]}, regression, [1, 2], covariance=["full", "tied"])


def test_sparse_keeps_all_but_weights_and_number() -> None:
    spec = jm.ModelSpec(n_clusters=2, features=["x"], priors=jm.Priors(mean=jm.StudentT()))
    found = sparse(spec, n_clusters=6)
    assert found.sampler.adaptation == "low_rank"
    asked = replace(spec, sampler=replace(spec.sampler, adaptation="diag"))
    assert sparse(asked).sampler.adaptation == "diag"
    assert (found.n_clusters, found.ordering) == (6, "none")
    assert found.priors.weight == jm.Dirichlet(concentration=0.05)
    assert found.priors.mean == spec.priors.mean


def test_occupied_clusters_sum_to_one(
    small: tuple[pd.DataFrame, jm.ModelSpec, jm.Comparison],
) -> None:
    *_, found = small
    numbers = occupied_clusters(found.trees[3])
    assert numbers.index.tolist() == [1, 2, 3]
    # A sum of products of probabilities.
    assert numbers.sum() == pytest.approx(1, abs=1e-12)
    assert numbers @ numbers.index == pytest.approx(found.table.loc[3, "occupied"])
    bare = found.trees[2].copy()
    bare["labels"] = bare["labels"].to_dataset().drop_vars("occupied")
    with pytest.raises(SchemaError, match="which clusters are occupied"):
        occupied_clusters(bare)


def screened_table(**columns: list) -> pd.DataFrame:
    """Two numbers of clusters under three structures, of which EM's criteria are known."""
    index = pd.MultiIndex.from_product(
        [[2, 3], ["full", "tied", "diagonal"]], names=["n_clusters", "covariance"]
    )
    usual = {
        "bic": [850.0, 900.0, 880.0, 860.0, 890.0, 885.0],
        "collapsed": [False] * 6,
    }
    return pd.DataFrame(usual | columns, index=index)


def test_the_best_of_each_number_and_of_each_structure_is_sampled() -> None:
    table = screened_table()
    # The least BIC of K = 2 and of K = 3 is full's; tied is best with 3, diagonal with 2.
    models = table.index
    whole = [(2, "full"), (2, "diagonal"), (3, "full"), (3, "tied")]
    assert promising(table, models) == whole
    spike = screened_table(collapsed=[True, *[False] * 5])
    assert promising(spike, models) == [(2, "diagonal"), (3, "full"), (3, "tied")]
    alone = hand_made(collapsed=[False, True, False, False])
    assert promising(alone, alone.index) == [1, 2, 3, 4]
    # What is known of a number or a structure is what stays when the rest is known.
    assert promising(table[:2], models) == []
    assert promising(table[:3], models) == [(2, "full")]
    assert promising(table[:5], models) == [(2, "full"), (3, "tied")]
    assert promising(alone[:2], alone.index) == [1, 2]


def test_a_model_that_is_anothers_stands_once() -> None:
    spec = jm.ModelSpec(n_clusters=1, features=["a", "b"], predictors=["a"], response="y")
    grid = make_grid(spec, [2, 1], ["tied", "full"], ["cluster", "shared"])
    assert grid.names == ("n_clusters", "covariance", "noise")
    assert list(grid.specs) == [
        (1, "tied", "cluster"),
        *((2, covariance, noise) for covariance in ("tied", "full")
          for noise in ("cluster", "shared")),
    ]  # fmt: skip
    chosen = grid.specs[2, "full", "shared"]
    assert (chosen.n_clusters, chosen.covariance, chosen.noise) == (2, "full", "shared")
    one = replace(spec, features=["a"])
    alike = ["spherical", "full", "tied", "diagonal"]
    assert list(make_grid(one, [2], alike, None).specs) == [(2, "spherical"), (2, "tied")]


def test_simplest_is_what_has_the_fewest_parameters() -> None:
    keys = [(2, "full"), (3, "tied"), (3, "full"), (4, "tied")]
    index = pd.MultiIndex.from_tuples(keys, names=["n_clusters", "covariance"])
    table = hand_made(n_parameters=[23, 17, 30, 20], elpd_diff=[-3.0, -1, 0, -2]).set_axis(index)
    assert choose(table) == (3, "tied")
    assert choose(table.assign(elpd_diff=[-3.0, -9, 0, -9], diff_se=0.0)) == (2, "full")
    # Of as many parameters, fewer clusters.
    assert choose(table.assign(n_parameters=17)) == (2, "full")
    text = describe(table.assign(verdict="OK"), (3, "tied"))
    assert "as well with 3 clusters with tied covariance as with any model tried" in text
    assert "BIC favours 3 (tied), ICL 3 (tied)." in text
    assert "were sampled" not in text
    unsampled = ["elpd", "elpd_diff", "diff_se", "elpd_conditional", "conditional_diff"]
    table.loc[[keys[3]], unsampled] = np.nan
    assert choose(table) == (3, "tied")
    assert "EM screened 4 models, of which 3 were sampled" in describe(table, (3, "tied"))


def test_a_likelihood_that_falls_is_said() -> None:
    falls = hand_made(log_likelihood=[-497.0, -407.0, -400.0, -401.5])
    said = "The log likelihood falls from -400.00 with 3 clusters to -401.50 with 4 clusters"
    assert said in describe(falls, 2)
    assert "falls" not in describe(hand_made(), 2)
    spike = hand_made(log_likelihood=[-497.0, -407.0, 20.0, -396.0], collapsed=[0, 0, 1, 0])
    assert "falls" not in describe(spike, 2)


def test_a_spike_of_the_likelihood_is_not_what_bic_favours() -> None:
    spike = hand_made(bic=[1020.0, 870, 890, 100], collapsed=[False, False, False, True])
    assert "BIC favours 2" in describe(spike, 2)


def three_groups(structure: str) -> jm.Truth:
    """Three clusters whose covariances are of one structure and of no simpler one."""
    tied = [[1.0, 0.6], [0.6, 1.0]]
    covariance = {
        "tied": [tied] * 3,
        "diagonal": [np.diag(each) for each in ([0.3, 2.0], [1.5, 0.25], [0.4, 0.4])],
        "full": [[[1.0, 0.8], [0.8, 1.0]], [[1.0, -0.7], [-0.7, 1.0]], [[0.3, 0.0], [0.0, 1.5]]],
    }[structure]
    return jm.Truth(
        weight=np.array([0.4, 0.3, 0.3]),
        mean=np.array([[0.0, 0.0], [4.0, 1.0], [1.0, 5.0]]),
        covariance=np.array(covariance),
        intercept=np.array([0.0, 3.0, -2.0]),
        slope=np.array([[1.0, 0.0], [-1.0, 1.0], [0.5, -1.0]]),
        sigma=np.full(3, 0.5),
        features=["a", "b"],
        predictors=["a", "b"],
        response="y",
    )


COMPARED = ("full", "diagonal", "tied")
FEW = jm.SamplerSpec(draws=150, tune=150, chains=2, starts=8)


@pytest.mark.parametrize("structure", COMPARED)
def test_screening_leaves_the_truth(structure: str) -> None:
    truth = three_groups(structure)
    table = simulate(truth, 300, seed=1)
    grid = make_grid(replace(truth.spec, sampler=FEW), range(2, 5), COMPARED, None)
    lines = [screened(found) for found, _ in screened_models(table, grid).values()]
    frame = pd.DataFrame(lines, index=grid.index(grid.specs))
    assert least(frame, "bic") == least(frame, "icl") == (3, structure)
    assert len(promising(frame, frame.index)) <= 3 + 3 - 1


@pytest.mark.slow
@pytest.mark.parametrize(
    "structure", ["full", *(pytest.param(s, marks=more) for s in COMPARED[1:])]
)
def test_structure_and_number_are_found(structure: str) -> None:
    truth = three_groups(structure)
    spec = replace(truth.spec, sampler=FEW)
    found = [
        compare(simulate(truth, 300, seed), spec, range(2, 5), seed, covariance=COMPARED).best
        for seed in range(1, 1 + how_many(1, 2))
    ]
    assert set(found) == {(3, structure)}


SHORT = jm.SamplerSpec(draws=300, tune=300)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=more)])
def test_four_clusters_are_four(seed: int) -> None:
    truth = jm.four_clusters()
    spec = jm.ModelSpec(
        n_clusters=1,
        features=truth.features,
        predictors=truth.predictors,
        response=truth.response,
        sampler=SHORT,
    )
    found = compare(simulate(truth, 500, seed), spec, range(2, 6), seed=seed)
    assert found.best == 4, found.table


@pytest.mark.slow
@more
@pytest.mark.parametrize("seed", [1, 2])
def test_two_simulated_are_two(seed: int) -> None:
    rng = np.random.default_rng(seed)
    z = rng.random(200) < 0.4
    x = rng.normal(size=(200, 2)) + 4 * z[:, None]
    y = np.where(z, x[:, 0], 1 - x[:, 1]) + 0.5 * rng.normal(size=200)
    table = pd.DataFrame({"a": x[:, 0], "b": x[:, 1], "y": y})
    spec = jm.ModelSpec(
        n_clusters=1, features=["a", "b"], predictors=["a", "b"], response="y", sampler=SHORT
    )
    found = compare(table, spec, range(1, how_many(4, 5)), seed=seed)
    assert found.best == 2, found.table


@pytest.mark.slow
def test_penguins_are_three(penguins: pd.DataFrame, penguin_spec: jm.ModelSpec) -> None:
    found = compare(penguins, replace(penguin_spec, sampler=SHORT), range(1, 6), seed=1)
    assert found.best == 3, found.table
    assert found.table["bic"].idxmin() == 3


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=more)])
def test_a_sparse_mixture_empties_what_is_not_needed(seed: int) -> None:
    truth = jm.four_clusters()
    spec = jm.ModelSpec(
        n_clusters=1,
        features=truth.features,
        predictors=truth.predictors,
        response=truth.response,
        sampler=jm.SamplerSpec(draws=500, tune=700),
    )
    tree = jm.fit(simulate(truth, 500, seed), sparse(spec, n_clusters=7), seed=seed)
    assert occupied_clusters(tree)[4] > 0.9
