"""What every block must keep, as functions of a block: for the package's own and for others'."""

from dataclasses import dataclass, replace

import numpy as np
from scipy.integrate import quad

from jointmix.families.parameters import Parameters
from jointmix.families.protocol import Block, Predicted, Step
from jointmix.families.rows import Rows
from jointmix.families.steps import Products
from jointmix.model.rows import by_role, scaled_rows
from jointmix.model.scaling import Scaling
from jointmix.model.spec import ModelSpec

STEP = 1e-5


@dataclass(frozen=True)
class Case:
    """A block, and the model that it is a part of."""

    block: Block
    spec: ModelSpec

    @property
    def scaling(self) -> Scaling:
        """Of columns that are standardised already."""
        width = len(self.spec.columns)
        return Scaling(self.spec, np.zeros(width), np.ones(width))


def cases_of(spec: ModelSpec) -> list[Case]:
    """A case for each block of a model."""
    return [Case(block, spec) for block in spec.blocks]


def random_correlation(rng: np.random.Generator, n: int, d: int) -> np.ndarray:
    root = rng.normal(size=(n, d, 2 * d))
    gram = root @ np.swapaxes(root, 1, 2)
    sd = np.sqrt(np.diagonal(gram, axis1=1, axis2=2))
    return gram / (sd[:, :, None] * sd[:, None, :])


def random_parameters(case: Case, rng: np.random.Generator) -> Parameters:
    """Of order one, equal where the model shares them and known where it fixes them."""
    spec, k = case.spec, case.spec.n_clusters
    sizes = {dim: len(entries) for dim, entries in spec.entries.items()}
    variables = {}
    for item in case.block.parameters:
        shape = (k, *(sizes[dim] for dim in item.dims))
        free = item.free or shape
        if item.role == "location":
            variables[item.name] = rng.normal(size=shape)
        elif item.role == "probability":
            variables[item.name] = rng.dirichlet(np.ones(shape[-1]), shape[0])
        elif item.role == "correlation":
            matrices = np.eye(shape[-1])[None]
            if item.free:
                matrices = random_correlation(rng, free[0], shape[-1])
            variables[item.name] = np.broadcast_to(matrices, shape)
        else:
            low, high = (0.4, 1.5) if item.role == "scale" else (2.0, 5.0)
            variables[item.name] = np.broadcast_to(rng.uniform(low, high, free), shape)
    return Parameters(**(case.block.packed(variables) | case.block.known(case.scaling)))


def random_rows(case: Case, parameters: Parameters, n: int, rng: np.random.Generator) -> Rows:
    """Rows whose columns of the block are its own draws, of clusters in turn."""
    values = random_columns(case, n, rng)
    return with_draws(case, parameters, values, np.arange(n) % case.spec.n_clusters, rng)


def random_columns(case: Case, n: int, rng: np.random.Generator) -> np.ndarray:
    """Standard normal columns, and of trials whole numbers."""
    values = rng.normal(size=(n, len(case.spec.columns)))
    if case.spec.trials is not None:
        values[:, case.spec.columns.index(case.spec.trials)] = rng.integers(1, 9, n)
    return values


def with_draws(
    case: Case,
    parameters: Parameters,
    values: np.ndarray,
    cluster: np.ndarray,
    rng: np.random.Generator,
) -> Rows:
    drawn = case.block.draw(parameters, by_role(values, case.spec), cluster, rng)
    own = [case.spec.columns.index(name) for name in case.block.columns]
    values[:, own] = drawn.reshape(len(values), -1)
    return by_role(values, case.spec)


def columns_of(rows: Rows, case: Case) -> np.ndarray:
    """The rows in the order of the model's columns, (obs, column)."""
    named = dict(zip(case.spec.predictors, rows.u.T, strict=True))
    named |= dict(zip(case.spec.features, rows.x.T, strict=True))
    for i, own in enumerate(case.spec.discrete):
        named[own.column] = rows.discrete[:, i]
    if case.spec.response is not None:
        named[case.spec.response] = rows.y
    if case.spec.offset is not None:
        named[case.spec.offset] = rows.offset
    if case.spec.trials is not None:
        named[case.spec.trials] = rows.trials
    return np.stack([named[name] for name in case.spec.columns], axis=1)


def step_of(case: Case, rows: Rows, share: np.ndarray, previous: Parameters | None) -> Step:
    values = columns_of(rows, case)
    return Step(rows, values, Products(values), case.scaling, share, previous)


def mass_is_one(case: Case, seed: int = 1) -> None:
    """∫ p(columns | k) = 1: of features on a grid, of a response by quadrature."""
    rng = np.random.default_rng(seed)
    parameters = random_parameters(case, rng)
    rows = random_rows(case, parameters, 300 * case.spec.n_clusters, rng)
    for k in range(case.spec.n_clusters):
        own = rows.take(slice(k, None, case.spec.n_clusters))
        if case.block.of_response:
            one = own.take(slice(1))

            def density(y: float, one: Rows = one, k: int = k) -> float:
                at = replace(one, y=np.array([y]))
                return float(np.exp(case.block.log_density(parameters, at)[0, k]))

            if case.block.whole:
                most = 2 if case.block.family == "bernoulli" else 20_000
                many = np.arange(float(most if one.trials is None else one.trials[0] + 1))
                at = replace(one.take(np.zeros(len(many), dtype=int)), y=many)
                density_of_all = np.exp(case.block.log_density(parameters, at)[:, k])
                assert abs(density_of_all.sum() - 1) < 1e-9
                continue
            # Where a density may have a kink.
            assert isinstance(case.block, Predicted)
            middle = float(case.block.mean(parameters, one)[0, k])
            least = 0.0 if case.block.positive else -np.inf
            total = quad(density, least, middle, limit=200)[0]
            total += quad(density, middle, np.inf, limit=200)[0]
            assert abs(total - 1) < 1e-6
            continue
        if case.block.columns[0] not in case.spec.features:
            # A feature of counts has no levels.
            many = np.arange(float(len(case.spec.discrete[0].levels) or 20_000))
            at = replace(own.take(np.zeros(len(many), dtype=int)), discrete=many[:, None])
            density_of_all = np.exp(case.block.log_density(parameters, at)[:, k])
            assert abs(density_of_all.sum() - 1) < 1e-9
            continue
        # At the sinh of equal steps, 600,000 standard deviations about the draws' mean: a sum over
        # a grid is as exact for smooth densities as the tails that it cuts off.
        center, sd = own.x.mean(axis=0), own.x.std(axis=0)
        step = np.linspace(-14, 14, 601)
        axes = [c + s * np.sinh(step) for c, s in zip(center, sd, strict=True)]
        grid = np.stack([axis.ravel() for axis in np.meshgrid(*axes)], axis=1)
        cells = [s * np.cosh(step) * (step[1] - step[0]) for s in sd]
        cell = np.prod(np.stack(np.meshgrid(*cells)), axis=0).ravel()
        at = Rows(grid, np.zeros((len(grid), 0)), np.zeros(len(grid)))
        total = (np.exp(case.block.log_density(parameters, at)[:, k]) * cell).sum()
        assert abs(total - 1) < 1e-8


def draws_follow_the_density(case: Case, seed: int = 2, n: int = 40_000) -> None:
    """E[q(row) / p(row)] = 1 over draws of p, for densities q of the same block nearby."""
    rng = np.random.default_rng(seed)
    parameters = random_parameters(case, rng)
    variables = case.block.variables(parameters)
    roles = {item.name: item.role for item in case.block.parameters}
    for location, scale in ((0.0, 0.8), (0.2, 0.9), (-0.2, 0.9)):
        moved = {
            name: value + location if roles[name] == "location"
            else value * scale if roles[name] in ("scale", "shape")
            else value**scale / (value**scale).sum(-1, keepdims=True)
            if roles[name] == "probability" else value
            for name, value in variables.items()
        }  # fmt: skip
        other = Parameters(**case.block.packed(moved))
        for k in range(case.spec.n_clusters):
            # Predictors are held at one row: the ratio of densities depends on them.
            one = random_columns(case, 1, rng)
            one[:, [name != case.spec.trials for name in case.spec.columns]] *= 0.5
            values = np.repeat(one, n, axis=0)
            rows = with_draws(case, parameters, values, np.full(n, k), rng)
            gap = case.block.log_density(other, rows) - case.block.log_density(parameters, rows)
            ratio = np.exp(gap[:, k])
            # Five standard errors: a false alarm in 1e6. A block without scales has not moved.
            assert abs(ratio.mean() - 1) <= 5 * ratio.std() / np.sqrt(n) + 1e-12


def the_step_climbs(case: Case, seed: int = 3, n: int = 90, steps: int = 8) -> None:
    """Σ r log p never falls, from anywhere, in a batch of starts."""
    rng = np.random.default_rng(seed)
    truth = random_parameters(case, rng)
    rows = random_rows(case, truth, n, rng)
    starts = [random_parameters(case, rng) for _ in range(4)]
    at = Parameters(**{name: np.stack([each[name] for each in starts]) for name in truth})
    share = np.swapaxes(rng.dirichlet(np.full(case.spec.n_clusters, 0.5), size=(4, n)), 1, 2)

    def height(parameters: Parameters) -> np.ndarray:
        density = case.block.log_density(parameters, rows)
        return (np.swapaxes(share, 1, 2) * density).sum(axis=(1, 2))

    before = height(at)
    for _ in range(steps):
        at = Parameters(**case.block.maximise(step_of(case, rows, share, at)))
        now = height(at)
        # The floor of variances, 1e-8, is added in each step.
        assert (now >= before - 1e-6 * n).all()
        before = now


def steps_end_where_scores_vanish(case: Case, seed: int = 4, n: int = 200) -> None:
    """Repeated M-steps at fixed responsibilities reach a stationary point of Σ r log p."""
    rng = np.random.default_rng(seed)
    truth = random_parameters(case, rng)
    rows = random_rows(case, truth, n, rng)
    cluster = np.eye(case.spec.n_clusters)[np.arange(n) % case.spec.n_clusters]
    share = 0.9 * cluster + 0.1 / case.spec.n_clusters
    at = None
    for _ in range(300):
        found = case.block.maximise(step_of(case, rows, share.T[None], at))
        at = Parameters(**found)
    assert at is not None
    scores = case.block.scores(at.take(0), rows, share)
    free = [item.name for item in case.block.parameters if item.role == "location" and item.free]
    for each in (*(scores.location[name].reshape(n, -1) for name in free), scores.rest):
        # In units of their own standard deviation over the rows.
        assert (np.abs(each.sum(axis=0)) < 1e-4 * np.sqrt((each**2).sum(axis=0)) + 1e-12).all()


def scores_are_derivatives(case: Case, seed: int = 5, n: int = 20) -> None:
    """Of locations; and of scales and shapes, on log scales, those of Gaussian features apart."""
    rng = np.random.default_rng(seed)
    parameters = random_parameters(case, rng)
    rows = random_rows(case, parameters, n, rng)
    share = rng.dirichlet(np.ones(case.spec.n_clusters), size=n)
    scores = case.block.scores(parameters, rows, share)

    def slope(name: str, direction: np.ndarray) -> np.ndarray:
        """Of Σ_k r_k log p along a direction of one array, (obs,)."""
        sides = [
            case.block.log_density(parameters.replace(**{name: parameters[name] + s}), rows)
            for s in (STEP * direction, -STEP * direction)
        ]
        return (share * (sides[0] - sides[1])).sum(axis=1) / (2 * STEP)

    rest = []
    for item in case.block.parameters:
        if not item.free:
            continue
        if item.role == "location":
            value = parameters[item.name]
            found = scores.location[item.name].reshape(n, *value.shape)
            for place in np.ndindex(value.shape):
                unit = np.zeros(value.shape)
                unit[place] = 1
                assert np.allclose(slope(item.name, unit), found[:, *place], rtol=1e-6, atol=1e-7)
        elif item.role == "probability":
            value = parameters[item.name]
            for place in np.ndindex(value.shape[0], value.shape[1] - 1):
                # Along its log odds to the last level.
                unit = np.zeros(value.shape)
                unit[place] = 1
                unit -= value[place] * (np.arange(len(value)) == place[0])[:, None]
                rest.append(slope(item.name, unit * value))
        elif case.block.of_response or case.block.columns[0] not in case.spec.features:
            value = parameters[item.name]
            for place in range(item.free[0]):
                unit = np.eye(len(value))[place] if item.free[0] > 1 else np.ones(len(value))
                rest.append(slope(item.name, unit * value))
    if rest or case.block.of_response:
        expected = np.stack(rest, axis=1) if rest else np.zeros((n, 0))
        assert np.allclose(scores.rest, expected, rtol=1e-6, atol=1e-7)


def rescaling_goes_there_and_back(case: Case, seed: int = 6) -> None:
    """Parameters come back, and densities differ by the units of the block's columns alone."""
    rng = np.random.default_rng(seed)
    spec, width = case.spec, len(case.spec.columns)
    scale = rng.uniform(0.1, 30, width)
    if spec.covariance == "spherical":
        # As `standard_scaling` has it, so that a spherical covariance stays one.
        scale[: len(spec.features)] = 3.0
    center = rng.normal(size=width) * 10
    if spec.linked:
        center[-1], scale[-1] = 0.7, case.block.unit(np.array([3.0, 5.0]), np.ones(2))
    for name in spec.given:
        center[spec.columns.index(name)], scale[spec.columns.index(name)] = 0.0, 1.0
    for own in spec.discrete:
        place = spec.columns.index(own.column)
        center[place], scale[place] = 0.0, 1.0
    scaling = Scaling(spec, center, scale)
    parameters = random_parameters(case, rng)
    users = Parameters(**(parameters.each() | case.block.to_users(parameters, scaling)))
    back = case.block.to_model(users, scaling)
    for name, value in back.items():
        assert np.allclose(value, parameters[name], rtol=1e-12, atol=1e-10)
    values = rng.normal(size=(30, width)) * scale + scaling.center
    if case.block.whole:
        values[:, -1] = rng.integers(0, 2, 30)
    if spec.trials is not None:
        values[:, spec.columns.index(spec.trials)] = rng.integers(1, 9, 30)
    if case.block.positive:
        values[:, -1] = np.exp(rng.normal(size=30))
    for own in spec.discrete:
        values[:, spec.columns.index(own.column)] = rng.integers(0, len(own.levels) or 9, 30)
    rows = by_role(values, spec)
    own = [spec.columns.index(name) for name in case.block.columns]
    ours = case.block.log_density(parameters, scaled_rows(rows, scaling))
    theirs = case.block.log_density(users, rows)
    assert np.allclose(ours - np.log(scale[own]).sum(), theirs, rtol=1e-9, atol=1e-9)


def trees_and_arrays_agree(case: Case, seed: int = 7) -> None:
    """`packed` and `variables` undo each other, and name what the parameters are called."""
    parameters = random_parameters(case, np.random.default_rng(seed))
    variables = case.block.variables(parameters)
    assert list(variables) == [item.name for item in case.block.parameters]
    for name, value in case.block.packed(variables).items():
        assert np.allclose(value, parameters[name], rtol=1e-12, atol=1e-12)


def counts_are_those_of_the_scores(case: Case, seed: int = 8) -> None:
    """As many free values as there are scores, all moving the density on their own."""
    rng = np.random.default_rng(seed)
    parameters = random_parameters(case, rng)
    rows = random_rows(case, parameters, 200, rng)
    k = case.spec.n_clusters
    scores = case.block.scores(parameters, rows, rng.dirichlet(np.ones(k), size=200))
    items = case.block.parameters
    free = [item.name for item in items if item.role == "location" and item.free]
    columns = [scores.location[name].reshape(200, -1) for name in free]
    joined = np.concatenate([*columns, scores.rest], axis=1)
    assert joined.shape[1] == sum(item.n_free for item in items)
    assert joined.shape[1] == 0 or np.linalg.matrix_rank(joined) == joined.shape[1]


CONTRACTS = (
    mass_is_one,
    draws_follow_the_density,
    the_step_climbs,
    steps_end_where_scores_vanish,
    scores_are_derivatives,
    rescaling_goes_there_and_back,
    trees_and_arrays_agree,
    counts_are_those_of_the_scores,
)
