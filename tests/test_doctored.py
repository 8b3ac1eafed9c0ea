"""Forty doctored results, each with one thing wrong: none is missed, and each is named."""

import json
from collections.abc import Callable

import numpy as np
import pytest
import xarray as xr
from synthetic import N_DRAWS, fitted_tree

from jointmix.checks import diagnose

Doctor = Callable[[xr.DataTree], None]
RNG = np.random.default_rng(17)


def likelihood(tree: xr.DataTree) -> np.ndarray:
    return tree["invariant"]["log_likelihood"].values


def attribute(name: str, **changes: object) -> Doctor:
    def doctor(tree: xr.DataTree) -> None:
        tree.attrs[name] = json.dumps(json.loads(tree.attrs[name]) | changes)

    return doctor


def attributes(**changes: object) -> Doctor:
    return lambda tree: tree.attrs.update(changes)


def statistic(name: str, value: float, share: float) -> Doctor:
    """A share of the draws of every chain, evenly spaced, gets another value."""

    def doctor(tree: xr.DataTree) -> None:
        count = max(1, round(share * N_DRAWS))
        tree["sample_stats"][name].values[:, np.linspace(0, N_DRAWS - 1, count).astype(int)] = value

    return doctor


def one_divergence(tree: xr.DataTree) -> None:
    tree["sample_stats"]["diverging"].values[2, 17] = True


def low_energy(tree: xr.DataTree) -> None:
    tree["sample_stats"]["energy"].values[1] = np.cumsum(RNG.normal(size=N_DRAWS))


def shifted_level(chain: int, gap: float) -> Doctor:
    def doctor(tree: xr.DataTree) -> None:
        likelihood(tree)[chain] -= gap

    return doctor


def two_levels(tree: xr.DataTree) -> None:
    likelihood(tree)[[0, 2]] -= 12


def drifting_level(tree: xr.DataTree) -> None:
    likelihood(tree)[:] += np.linspace(-15, 0, N_DRAWS)


def shifted(name: str, chain: int, by: float) -> Doctor:
    """A chain's draws of a parameter shifted by so many of their standard deviations."""

    def doctor(tree: xr.DataTree) -> None:
        values = tree["posterior"][name].values
        values[chain] += by * values.std(axis=(0, 1))

    return doctor


def wide(name: str, chain: int) -> Doctor:
    """A chain with the right mean and three times the spread."""

    def doctor(tree: xr.DataTree) -> None:
        values = tree["posterior"][name].values
        center = values[chain].mean(axis=0)
        values[chain] = center + 3 * (values[chain] - center)

    return doctor


def slow(name: str) -> Doctor:
    """Each draw repeated fifty times: few effective draws."""

    def doctor(tree: xr.DataTree) -> None:
        values = tree["posterior"][name].values
        values[:] = np.repeat(values[:, ::50], 50, axis=1)

    return doctor


def slow_level(tree: xr.DataTree) -> None:
    likelihood(tree)[:] = np.repeat(likelihood(tree)[:, ::50], 50, axis=1)
    likelihood(tree)[:] += 1e-9 * RNG.normal(size=likelihood(tree).shape)


def frozen(chain: int, length: int) -> Doctor:
    """A chain that stands still for its last draws, in all that it reports."""

    def doctor(tree: xr.DataTree) -> None:
        for group in ("posterior", "invariant"):
            for variable in tree[group].data_vars.values():
                variable.values[chain, -length:] = variable.values[chain, -length]

    return doctor


def free(name: str, chain: int) -> Doctor:
    """A label-free quantity of one chain shifted by three standard deviations."""

    def doctor(tree: xr.DataTree) -> None:
        values = tree["invariant"][name].values
        values[chain] += 3 * values.std(axis=(0, 1))

    return doctor


def switched(
    share: float,
    known: float = 0.0,
    agreement: float = 1.0,
    method: str = "ecr",
    other: str = "stephens",
) -> Doctor:
    """Two labels exchanged in a share of the draws, and what identification knows of it."""

    def doctor(tree: xr.DataTree) -> None:
        values, count = tree["labels"]["permutation"].values, round(share * N_DRAWS)
        values[:, :count, :2] = values[:, :count, 1::-1]
        attribute(
            "identification", switch_rate=known, agreement=agreement, method=method, other=other
        )(tree)

    return doctor


def switched_chain(tree: xr.DataTree) -> None:
    values = tree["labels"]["permutation"].values
    values[3, :, :2] = values[3, :, 1::-1]


def unsorted_chain(tree: xr.DataTree) -> None:
    """A chain whose clusters carry other labels, unnoticed by identification."""
    for variable in tree["posterior"].data_vars.values():
        variable.values[2] = variable.values[2][:, [1, 0, 2]]


def unsorted_draws(tree: xr.DataTree) -> None:
    for variable in tree["posterior"].data_vars.values():
        variable.values[0, 100:160] = variable.values[0, 100:160][:, [1, 0, 2]]


def share_of(cluster: int, value: float) -> Doctor:
    """A cluster that holds such a share of the rows."""

    def doctor(tree: xr.DataTree) -> None:
        share = tree["allocation"]["responsibility"].values
        share[:, cluster] *= value / share[:, cluster].mean()

    return doctor


def unoccupied(share: float) -> Doctor:
    def doctor(tree: xr.DataTree) -> None:
        tree["labels"]["occupied"].values[:, : round(share * N_DRAWS), 2] = 0

    return doctor


def duplicated(tree: xr.DataTree) -> None:
    for variable in tree["posterior"].data_vars.values():
        variable.values[:, :, 2] = variable.values[:, :, 0]


def near_duplicate(tree: xr.DataTree) -> None:
    for name, variable in tree["posterior"].data_vars.items():
        values = variable.values
        values[:, :, 2] = values[:, :, 0] * (1.001 if name in ("mean", "sd") else 1)


def note(code: str, subject: str) -> Doctor:
    return attributes(
        notes=json.dumps([{"code": code, "subject": subject, "value": 1e7, "message": "Noted."}])
    )


def scouts(group: int, home: int, weight: float) -> Doctor:
    def doctor(tree: xr.DataTree) -> None:
        modes = tree["modes"].to_dataset()
        modes["chain_group"].values[:] = home
        if max(group, home) > 1:
            weights = np.full(2, weight)
            weights[home - 1] = 1 - weight
            modes = modes.assign_coords(group=[1, 2])
            modes["stacking_weight"] = ("group", weights)
        tree["modes"] = xr.DataTree(modes)
        columns = {"start_mode": [2, 2], "scout_mode": [2, 2], "scout_group": [group] * 2}
        tree["scouts"] = xr.DataTree(
            xr.Dataset({name: ("scout", value) for name, value in columns.items()})
        )

    return doctor


#: What was done, who must notice, and how gravely.
DOCTORED: dict[str, tuple[Doctor, str, str]] = {
    "one divergence": (one_divergence, "divergences:draws", "caution"),
    "divergences in 0.8%": (statistic("diverging", 1, 0.008), "divergences:draws", "caution"),
    "divergences in 2%": (statistic("diverging", 1, 0.02), "divergences:draws", "fail"),
    "depth limit in 2%": (statistic("tree_depth", 10, 0.02), "tree depth:draws", "caution"),
    "depth limit always": (statistic("tree_depth", 10, 1), "tree depth:draws", "caution"),
    "energy that wanders": (low_energy, "energy:chains", "caution"),
    "a chain 5 lower": (shifted_level(0, 5), "modes:chains", "fail"),
    "a chain 30 lower": (shifted_level(3, 30), "modes:chains", "fail"),
    "a chain 1000 lower": (shifted_level(1, 1000), "modes:chains", "fail"),
    "a chain 20 higher": (shifted_level(2, -20), "modes:chains", "fail"),
    "two chains lower": (two_levels, "modes:chains", "fail"),
    "a level that drifts": (drifting_level, "rhat:label-free quantities", "fail"),
    "a mean shifted": (shifted("mean", 1, 1.5), "rhat:parameters", "fail"),
    "a slope shifted": (shifted("slope", 0, 1.5), "rhat:parameters", "fail"),
    "an intercept shifted": (shifted("intercept", 2, 2), "rhat:parameters", "fail"),
    "a noise shifted a little": (shifted("sigma", 3, 0.5), "rhat:parameters", "caution"),
    "a weight shifted": (shifted("weight", 3, 2), "rhat:parameters", "fail"),
    "an sd shifted": (shifted("sd", 1, 2), "rhat:parameters", "fail"),
    "a wide slope": (wide("slope", 1), "rhat:parameters", "fail"),
    "a wide mean": (wide("mean", 2), "rhat:parameters", "fail"),
    "few draws of a mean": (slow("mean"), "ess:bulk", "fail"),
    "few draws of a noise": (slow("sigma"), "ess:bulk", "fail"),
    "few draws of the level": (slow_level, "ess:bulk", "fail"),
    "a frozen chain": (frozen(1, N_DRAWS), "frozen:chains", "fail"),
    "a chain frozen at its end": (frozen(0, 150), "frozen:chains", "caution"),
    "a prediction apart": (free("prediction", 1), "rhat:label-free quantities", "fail"),
    "a density apart": (free("density", 2), "rhat:label-free quantities", "fail"),
    "an overall mean apart": (free("overall_mean", 0), "rhat:label-free quantities", "fail"),
    "a covariance apart": (free("overall_covariance", 3), "rhat:label-free quantities", "fail"),
    "labels switched in 3%": (switched(0.03), "labels:within chains", "caution"),
    "labels switched in 20%": (switched(0.2), "labels:within chains", "fail"),
    "labels switched in 20%, put back": (switched(0.2, 0.2), "labels:within chains", "caution"),
    "labels switched in 20%, 3% unsure": (
        switched(0.2, 0.2, 0.97), "labels:within chains", "fail",
    ),
    "sorted clusters that cross in 9%": (
        switched(0.09, 0.09, 0.91, "order_by", "ecr"), "labels:within chains", "caution",
    ),
    "sorted clusters that cross in 20%": (
        switched(0.2, 0.2, 0.8, "order_by", "ecr"), "labels:within chains", "fail",
    ),
    "labels of one chain": (switched_chain, "labels:between chains", "caution"),
    "a chain left unsorted": (unsorted_chain, "rhat:parameters", "fail"),
    "draws left unsorted": (unsorted_draws, "rhat:parameters", "fail"),
    "methods disagree on 3%": (
        attribute("identification", agreement=0.97), "identification:methods", "caution",
    ),
    "methods disagree on 30%": (
        attribute("identification", agreement=0.7), "identification:methods", "fail",
    ),
    "no true permutations": (
        attribute("identification", true_permutations=0.6),
        "identification:parameters", "caution",
    ),
    "weak separation": (
        attribute("ordering", separation=2.1, kind="none"), "separation:clusters", "caution",
    ),
    "a superfluous neighbour": (
        attribute("ordering", evidence=-12.5, kind="none"), "separation:clusters", "caution",
    ),
    "a nearly empty cluster": (share_of(1, 0.01), "empty clusters:clusters", "caution"),
    "an empty cluster": (share_of(1, 1e-4), "empty clusters:clusters", "fail"),
    "a cluster without rows": (unoccupied(0.1), "empty clusters:occupied", "caution"),
    "a duplicate": (duplicated, "duplicate clusters:clusters", "caution"),
    "nearly a duplicate": (near_duplicate, "duplicate clusters:clusters", "caution"),
    "interrupted": (attributes(partial=1), "partial:draws", "caution"),
    "duplicate rows": (note("duplicate_rows", "table"), "duplicate rows:table", "caution"),
    "near collinearity": (note("near_collinear", "x1"), "near collinear:x1", "caution"),
    "an approximation": (
        attributes(approximation="laplace", pareto_shape=0.3), "approximation:draws", "caution",
    ),
    "a bad approximation": (
        attributes(approximation="pathfinder", pareto_shape=1.2), "approximation:draws", "fail",
    ),
    "scouts found better": (scouts(1, 2, 0.99), "scouts:other modes", "fail"),
    "scouts found as good": (scouts(2, 1, 0.4), "scouts:other modes", "caution"),
}  # fmt: skip


@pytest.fixture(scope="module")
def clean() -> xr.DataTree:
    tree = fitted_tree()
    assert diagnose(tree).verdict == "OK"
    return tree


@pytest.mark.parametrize("name", DOCTORED)
def test_none_is_missed(name: str, clean: xr.DataTree) -> None:
    doctor, check, status = DOCTORED[name]
    tree = clean.copy(deep=True)
    doctor(tree)
    diagnosis = diagnose(tree)
    found = {f"{each.code}:{each.subject}": each for each in diagnosis.concerns}
    # What one check finds grave may be graver to another.
    assert diagnosis.verdict in ("DO NOT USE", *(["CAUTION"] if status == "caution" else []))
    assert found[check].status == status
    assert found[check].remedy
    assert found[check].source


def test_scouts_that_joined_or_matter_little_are_no_concern(clean: xr.DataTree) -> None:
    for doctor, words in (
        (scouts(1, 1, 0.0), "All 2 scouts joined"),
        (scouts(2, 1, 0.01), "stayed in other modes, whose stacking weight is 1.0%"),
    ):
        tree = clean.copy(deep=True)
        doctor(tree)
        diagnosis = diagnose(tree)
        assert diagnosis.verdict == "OK"
        (finding,) = (each for each in diagnosis.findings if each.code == "scouts")
        assert words in finding.message


def test_there_are_at_least_forty() -> None:
    assert len(DOCTORED) >= 40
