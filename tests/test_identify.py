"""Draws whose labels were permuted at random come back labelled, with the right sums over draws."""

from dataclasses import dataclass, replace

import numpy as np
import oracles
import pytest
import xarray as xr
from conftest import PARAMETERS
from scipy.special import logsumexp

from jointmix.families.parameters import Parameters
from jointmix.families.priors.priors import Fixed, Priors
from jointmix.labels import switch_rate
from jointmix.labels.draws import (
    Identified,
    draw_parameters,
    identify_draws,
)
from jointmix.labels.visits import mode_visits
from jointmix.model.dataset import Dataset, make_dataset
from jointmix.model.settings import SamplerSpec
from jointmix.model.spec import ModelSpec
from jointmix.modes.census import Census, Mode
from jointmix.modes.em import fit_em
from jointmix.modes.ordering import Ordering, choose_ordering

N, CHAINS, DRAWS, K = 90, 2, 25, 3
TRUTH = {
    "weight": np.array([0.5, 0.3, 0.2]),
    "mean": np.array([[10.0, 200.0], [14.0, 200.0], [10.0, 260.0]]),
    "covariance": np.array([[[0.5, 2.0], [2.0, 60.0]], [[0.3, 0.0], [0.0, 40.0]],
                            [[0.6, -3.0], [-3.0, 50.0]]]),
    "intercept": np.array([1.0, -4.0, 3.0]),
    "slope": np.array([[0.5, 1.0], [-0.5, 2.0], [1.0, 0.0]]),
    "sigma": np.array([0.5, 1.0, 0.7]),
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Known:
    """Draws on the users' scale in known labels, and the sampler's view of them.

    ``plan`` (draw, component) is the cluster that each component is; ``raw`` has the dims chain,
    draw, component, on the model's scale.
    """

    dataset: Dataset
    spec: ModelSpec
    census: Census
    ordering: Ordering
    draws: list[oracles.Values]
    plan: np.ndarray
    raw: xr.Dataset


def part_of(spec: ModelSpec) -> oracles.Values:
    """The truth, as far as the model has it."""
    names = {"weight"} | ({"mean", "covariance"} if spec.features else set())
    names |= {"intercept", "slope", "sigma"} if spec.response else set()
    values = {name: TRUTH[name] for name in names}
    if not spec.intercept:
        values["intercept"] = np.zeros(K)
    if spec.response and not spec.predictors:
        values["slope"] = np.zeros((K, 0))
    return values


def known(spec: ModelSpec, seed: int = 1, n: int = N) -> Known:
    rng, truth = np.random.default_rng(seed), part_of(spec)
    table = oracles.draw_columns(rng, truth, spec.features, spec.predictors, spec.response, n)
    dataset = make_dataset(table, spec)
    census, scaling = fit_em(dataset, spec), dataset.scaling
    ordering = choose_ordering(census.best, dataset, 1)
    best = oracles.unfactored(census.best.parameters.each())
    fixed = () if spec.intercept else ("intercept",)
    u = dataset.select(spec.predictors)
    draws = [
        oracles.displaced(best, oracles.draw_direction(rng, best, fixed=fixed), 0.05, u)
        for _ in range(CHAINS * DRAWS)
    ]
    plan = np.stack([rng.permutation(K) for _ in draws])
    arrays: dict[str, list[np.ndarray]] = {}
    for draw, order in zip(draws, plan, strict=True):
        model = scaling.to_model(Parameters(**oracles.factored(draw)))
        for name, value in sampled(model).items():
            arrays.setdefault(name, []).append(value[order])
    raw = xr.Dataset(
        {
            name: (
                ("chain", "draw", "component", *PARAMETERS[name]),
                np.array(value).reshape(CHAINS, DRAWS, *value[0].shape),
            )
            for name, value in arrays.items()
        },
        coords={
            "chain": [0, 1],
            "draw": np.arange(DRAWS),
            "component": np.arange(K),
            "feature": list(spec.features),
            "feature_bis": list(spec.features),
            "predictor": list(spec.predictors),
        },
    )
    return Known(dataset, spec, census, ordering, draws, plan, raw)


def sampled(parameters: Parameters) -> dict[str, np.ndarray]:
    """Parameters as the sampler has them: sd and correlation in place of the Cholesky factor."""
    arrays = dict(parameters.each())
    if "cholesky" in arrays:
        covariance = oracles.unfactored(arrays)["covariance"]
        arrays.pop("cholesky")
        arrays["sd"] = np.sqrt(np.diagonal(covariance, axis1=1, axis2=2))
        arrays["correlation"] = covariance / arrays["sd"][:, :, None] / arrays["sd"][:, None, :]
    return arrays


def identified(case: Known) -> Identified:
    return identify_draws(case.raw, case.dataset.under(case.spec), case.census, case.ordering)


def by_role(case: Known) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    spec, dataset = case.spec, case.dataset
    y = dataset.select([spec.response])[:, 0] if spec.response else np.zeros(N)
    return dataset.select(spec.features), dataset.select(spec.predictors), y


def spec_of(**changes: object) -> ModelSpec:
    usual = {"n_clusters": K, "features": ("a", "b"), "predictors": ("c", "d"), "response": "y"}
    return ModelSpec(**(usual | {"sampler": SamplerSpec(starts=12)} | changes))


SPECS = {
    "joint": spec_of(),
    "raw scale": spec_of(standardize=False),
    "no response": spec_of(predictors=(), response=None),
    "no features": spec_of(features=()),
    "no predictors": spec_of(predictors=()),
    "no intercept": spec_of(intercept=False),
}


@pytest.mark.parametrize("name", SPECS)
def test_planted_permutations_are_undone(name: str) -> None:
    case = known(SPECS[name])
    result = identified(case)
    # Component permutation[j] became cluster j, and it was cluster plan[component].
    order = result.gathered.permutation
    np.testing.assert_array_equal(
        np.take_along_axis(case.plan, order, axis=1), np.tile(np.arange(K), (len(order), 1))
    )
    assert result.method == "ecr"
    assert result.confidence.switch_rate == switch_rate(order)
    assert f"{100 * result.confidence.switch_rate:.2g}%" in result.text


@pytest.mark.parametrize("name", SPECS)
def test_the_posterior_is_on_the_users_scale(name: str) -> None:
    case = known(SPECS[name])
    posterior = identified(case).posterior
    assert posterior["cluster"].values.tolist() == [1, 2, 3]
    assert "component" not in posterior.dims
    expected = [sampled(Parameters(**oracles.factored(draw))) for draw in case.draws]
    assert set(posterior.data_vars) == set(expected[0])
    for name_, dims in PARAMETERS.items():
        if name_ not in posterior:
            continue
        variable = posterior[name_]
        assert variable.dims == ("chain", "draw", "cluster", *dims)
        by_hand = np.array([draw[name_] for draw in expected])
        flat = variable.values.reshape(by_hand.shape)
        # There and back between scales: some roundings of numbers of up to ten sd.
        np.testing.assert_allclose(flat, by_hand, rtol=1e-11, atol=1e-11)
    if "intercept" in posterior and not case.spec.intercept:
        assert not posterior["intercept"].any()


@pytest.mark.parametrize("name", SPECS)
def test_sums_over_draws_equal_brute_force(name: str) -> None:
    case = known(SPECS[name])
    result, rows = identified(case), by_role(case)
    likelihood = [oracles.log_density(draw, *rows).sum() for draw in case.draws]
    # Sums of N logs, each good to 1e-12 after scaling.
    np.testing.assert_allclose(
        result.gathered.log_likelihood.ravel(), likelihood, rtol=0, atol=1e-9
    )
    both = np.array([oracles.responsibility(draw, *rows) for draw in case.draws])
    np.testing.assert_allclose(result.gathered.share, both.mean(0), rtol=0, atol=1e-11)
    terms = [np.log(draw["weight"]) + oracles.feature_terms(draw, rows[0]) for draw in case.draws]
    features = np.mean([np.exp(t - logsumexp(t, axis=1, keepdims=True)) for t in terms], axis=0)
    np.testing.assert_allclose(result.gathered.share_features, features, rtol=0, atol=1e-11)
    # Rows are independent given a draw: none in the cluster, or at least one.
    occupied = 1 - np.prod(1 - both, axis=1)
    np.testing.assert_allclose(result.gathered.occupied, occupied, rtol=0, atol=1e-11)


def test_a_cluster_without_rows_is_not_occupied() -> None:
    case = known(SPECS["joint"])
    raw = case.raw.copy(deep=True)
    # One component far from all rows in one draw.
    component = int(case.plan[3].tolist().index(1))
    raw["mean"].values.reshape(-1, K, 2)[3, component] = 60.0
    spec = replace(case.spec, ordering="none")
    occupied = identified(replace(case, raw=raw, spec=spec)).gathered.occupied
    x, u, y = by_role(case)
    scaling = case.dataset.scaling
    users = scaling.to_users(draw_parameters(raw, "component", case.spec).take(3)).each()
    both = oracles.responsibility(oracles.unfactored(users), x, u, y)
    by_hand = 1 - np.prod(1 - both, axis=0)
    np.testing.assert_allclose(np.sort(occupied[3]), np.sort(by_hand), rtol=0, atol=1e-10)
    assert by_hand[component] < 1e-6


def test_batches_of_draws_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    case = known(SPECS["joint"])
    whole = identified(case)
    # Seven draws at a time: the last batch of each chain is a short one.
    monkeypatch.setattr("jointmix.labels.gathering._BATCH_NUMBERS", 7 * N * K)
    parts = identified(case)
    np.testing.assert_array_equal(parts.gathered.permutation, whole.gathered.permutation)
    np.testing.assert_allclose(
        parts.gathered.log_likelihood, whole.gathered.log_likelihood, rtol=1e-14
    )
    np.testing.assert_allclose(parts.gathered.share, whole.gathered.share, rtol=0, atol=1e-14)


@pytest.mark.parametrize(
    "ordering", ["weight", "sigma", "intercept", "mean[a]", "mean[b]", "sd[b]", "slope[d]"]
)
def test_a_named_variable_increases_over_the_clusters(ordering: str) -> None:
    case = known(SPECS["joint"])
    case = replace(case, spec=replace(case.spec, ordering=ordering))
    result = identified(case)
    name, _, column = ordering.rstrip("]").partition("[")
    values = result.posterior[name]
    if column:
        values = values.sel({"predictor" if name == "slope" else "feature": column})
    assert (values.diff("cluster") > 0).all()
    assert result.method == "order_by"
    assert ordering in result.text


def test_clusters_told_apart_by_fixed_values_keep_their_numbers() -> None:
    case = known(SPECS["joint"])
    spec = replace(case.spec, priors=Priors(weight=Fixed(value=[0.5, 0.3, 0.2])))
    result = identified(replace(case, spec=spec))
    np.testing.assert_array_equal(
        result.gathered.permutation,
        np.broadcast_to(np.arange(K), result.gathered.permutation.shape),
    )
    assert (result.method, result.confidence.switch_rate) == ("none", 0.0)


def test_one_cluster() -> None:
    spec = spec_of(n_clusters=1)
    rng = np.random.default_rng(3)
    truth = {name: value[:1] for name, value in TRUTH.items()} | {"weight": np.ones(1)}
    table = oracles.draw_columns(rng, truth, spec.features, spec.predictors, spec.response, N)
    dataset = make_dataset(table, spec)
    census, scaling = fit_em(dataset, spec), dataset.scaling
    model = sampled(scaling.to_model(census.best.parameters))
    raw = xr.Dataset(
        {
            name: (("chain", "draw", "component", *PARAMETERS[name]), value[None, None])
            for name, value in model.items()
        }
    )
    none = Ordering("none", None, float("nan"), "")
    result = identify_draws(raw, dataset, census, none)
    assert not result.gathered.permutation.any()
    np.testing.assert_array_equal(result.gathered.share, np.ones((N, 1)))
    # The mode's own likelihood, to the roundings of a sum.
    assert result.gathered.log_likelihood.item() == pytest.approx(
        census.best.log_likelihood, abs=1e-9
    )


def test_draws_as_parameters() -> None:
    case = known(SPECS["joint"])
    parameters = draw_parameters(case.raw, "component", case.spec)
    for index in (0, 7, CHAINS * DRAWS - 1):
        one = case.raw.isel(chain=index // DRAWS, draw=index % DRAWS)
        sd, factor = one["sd"].values, parameters.cholesky[index]
        covariance = one["correlation"].values * sd[:, :, None] * sd[:, None, :]
        # A factor's product: some roundings.
        np.testing.assert_allclose(factor @ factor.transpose(0, 2, 1), covariance, rtol=1e-13)
        np.testing.assert_array_equal(parameters.slope[index], one["slope"].values)
    turned = case.raw.transpose("predictor", "component", "draw", "chain", ...)
    for name, value in draw_parameters(turned, "component", case.spec).each().items():
        np.testing.assert_array_equal(value, parameters.each()[name])


def test_chains_are_told_their_modes() -> None:
    case = known(SPECS["joint"])
    result, best = identified(case), case.census.best
    values = oracles.unfactored(best.parameters.each())
    # Another mode: the same weights in the wrong places, far from the draws' clusters.
    moved = oracles.factored(values | {"mean": values["mean"] + [[0, 60], [-4, 0], [4, -60]]})
    other = replace(best, parameters=Parameters(**moved))
    census = Census((other, relabelled(best)), 2)
    draws = draw_parameters(result.posterior, "cluster", case.spec)
    own, levels = [1.0, 0.0], result.gathered.log_likelihood.reshape(CHAINS, -1)
    # Shares of 25 draws, added up.
    visits = mode_visits(draws, levels, case.dataset, census)
    np.testing.assert_allclose(visits, [own[::-1]] * CHAINS, rtol=1e-12)
    census = Census((relabelled(best), other), 2)
    visits = mode_visits(draws, levels, case.dataset, census)
    np.testing.assert_allclose(visits, [own] * CHAINS, rtol=1e-12)
    # Draws cannot sit below an optimum whose likelihood they exceed.
    level = result.gathered.log_likelihood.min()
    census = Census((replace(best, log_likelihood=level - 1), other), 2)
    visits = mode_visits(draws, levels, case.dataset, census)
    np.testing.assert_allclose(visits, [own[::-1]] * CHAINS, rtol=1e-12)


def relabelled(mode: Mode) -> Mode:
    return replace(mode, parameters=mode.parameters.permute(np.array([2, 0, 1])))
