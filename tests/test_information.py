"""Scores of the mixture density are its derivatives, in every structure."""

import numpy as np
import oracles
import pytest
from densities import component_log_density
from scipy.special import logsumexp

from jointmix.families.parameters import Parameters
from jointmix.families.priors.priors import Fixed, Priors
from jointmix.families.rows import Rows
from jointmix.model.location import coordinates
from jointmix.model.spec import ModelSpec
from jointmix.modes.information import _scores, location_errors

K, D, R, N = 3, 2, 2, 25
STEP = 1e-5


def spec_of(**changes: object) -> ModelSpec:
    usual = {"n_clusters": K, "features": ("a", "b"), "predictors": ("c", "a"), "response": "y"}
    return ModelSpec(**(usual | changes))


SPECS = {
    "full": spec_of(),
    "diagonal": spec_of(covariance="diagonal"),
    "spherical": spec_of(covariance="spherical"),
    "tied": spec_of(covariance="tied"),
    "shared noise": spec_of(noise="shared"),
    "no intercept": spec_of(intercept=False),
    "fixed slope": spec_of(priors=Priors(slope=Fixed(value=1.0))),
    "no response": spec_of(predictors=(), response=None),
    "no features": spec_of(features=(), predictors=("c", "p")),
}


def material(spec: ModelSpec, seed: int) -> tuple[Rows, Parameters]:
    rng = np.random.default_rng(seed)
    values = oracles.draw_values(rng, K, len(spec.features), len(spec.predictors))
    if spec.covariance == "tied":
        values["covariance"][:] = values["covariance"][0]
    if spec.covariance in ("diagonal", "spherical"):
        values["covariance"] = values["covariance"] * np.eye(D)
    if spec.covariance == "spherical":
        values["covariance"] = values["covariance"][:, :1, :1] * np.eye(D)
    if spec.noise == "shared":
        values["sigma"][:] = values["sigma"][0]
    drop = () if spec.features else ("mean", "covariance")
    drop += () if spec.response else ("intercept", "slope", "sigma")
    values = {name: value for name, value in values.items() if name not in drop}
    x = rng.normal(size=(N, len(spec.features)))
    rows = Rows(x, rng.normal(size=(N, len(spec.predictors))), rng.normal(size=N))
    return rows, Parameters(**oracles.factored(values))


def moves(parameters: Parameters, spec: ModelSpec) -> list:
    """Functions of a step that move one parameter, in the order of the scores."""
    columns = {"mean": spec.features, "slope": spec.predictors}
    found = []

    def along(name: str, place: tuple[int, ...], scale: float) -> None:
        def move(step: float) -> Parameters:
            value = parameters.each()[name].copy()
            value[place] += scale * step
            return parameters.replace(**{name: value})

        found.append(move)

    for k in range(K):
        for item in coordinates(spec):
            place = (k,)
            if item.column is not None:
                place += (columns[item.parameter].index(item.column),)
            along(item.parameter, place, item.prior.scale)
    for k in range(K):
        found.append(partial_weight(parameters, k))
    found += scale_moves(parameters, spec)
    return found


def partial_weight(parameters: Parameters, k: int):
    def move(step: float) -> Parameters:
        logit = np.log(parameters.weight) + step * np.eye(K)[k]
        return parameters.replace(weight=np.exp(logit - logsumexp(logit)))

    return move


def scale_moves(parameters: Parameters, spec: ModelSpec) -> list:
    found = []
    if spec.features:
        lower = np.zeros((0, D, D))
        if spec.covariance in ("full", "tied"):
            lower = np.stack(
                [np.eye(D)[[i]].T @ np.eye(D)[[j]] for i in range(D) for j in range(i + 1)]
            )
        elif spec.covariance == "diagonal":
            lower = np.stack([np.diag(np.eye(D)[i]) for i in range(D)])
        else:
            lower = np.eye(D)[None]
        groups = [range(K)] if spec.covariance == "tied" else [[k] for k in range(K)]
        for group in groups:
            for part in lower:

                def move(step: float, group=tuple(group), part=part) -> Parameters:
                    factor = parameters.cholesky.copy()
                    for k in group:
                        factor[k] = factor[k] @ (np.eye(D) + step * part)
                    return parameters.replace(cholesky=factor)

                found.append(move)
    if spec.response:
        for group in [range(K)] if spec.noise == "shared" else [[k] for k in range(K)]:

            def louder(step: float, group=tuple(group)) -> Parameters:
                sigma = parameters.sigma.copy()
                sigma[list(group)] *= np.exp(step)
                return parameters.replace(sigma=sigma)

            found.append(louder)
    return found


def log_density(rows: Rows, parameters: Parameters) -> np.ndarray:
    return logsumexp(component_log_density(rows.x, rows.u, rows.y, parameters), axis=-1)


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("name", SPECS)
def test_scores_are_derivatives(name: str, seed: int) -> None:
    spec = SPECS[name]
    rows, parameters = material(spec, seed)
    found = _scores(rows, parameters, spec)
    steps = moves(parameters, spec)
    assert found.shape == (N, len(steps))
    for column, move in zip(found.T, steps, strict=True):
        numeric = (log_density(rows, move(STEP)) - log_density(rows, move(-STEP))) / (2 * STEP)
        # A central difference: its error is the third derivative times the step squared.
        np.testing.assert_allclose(column, numeric, rtol=1e-5, atol=1e-6)


def test_large_tables_are_taken_in_part(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, parameters = material(SPECS["full"], 3)
    many = Rows(np.tile(rows.x, (8, 1)), np.tile(rows.u, (8, 1)), np.tile(rows.y, 8))
    whole = location_errors(many, parameters, SPECS["full"])
    monkeypatch.setattr("jointmix.modes.information._BATCH_ROWS", 7)
    parts = location_errors(many, parameters, SPECS["full"])
    # The sums of another order, inverted: roundings of the largest entry.
    np.testing.assert_allclose(parts, whole, rtol=0, atol=1e-12 * np.abs(whole).max())
    # Every eighth row of eight copies of the table.
    shuffled = many.take(np.arange(8 * N).reshape(8, N).T.ravel())
    monkeypatch.setattr("jointmix.modes.information._MOST_ROWS", N)
    part = location_errors(shuffled, parameters, SPECS["full"])
    scale = np.sqrt(np.einsum("kiki->ki", whole))
    assert np.abs(np.sqrt(np.einsum("kiki->ki", part)) / scale - 1).max() < 0.5
