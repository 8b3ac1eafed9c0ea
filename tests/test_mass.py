"""Modes are ranked by the posterior's mass, and what draws have not been to is said."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy import stats
from scipy.special import logsumexp
from sklearn.metrics import adjusted_rand_score

from jointmix import Fixed, HalfNormal, ModelSpec, Normal, Priors, SamplerSpec, fit, fit_em
from jointmix.checks import mass
from jointmix.kernel.allocate import mode_share
from jointmix.model.dataset import make_dataset
from jointmix.model.simulate import four_clusters, simulate
from jointmix.modes.census import Mode
from jointmix.modes.starts import moves

BEETLES = ("a", "b", "c", "d", "e", "f")


def allocation(table: pd.DataFrame, spec: ModelSpec, mode: Mode) -> np.ndarray:
    dataset = make_dataset(table, spec)
    parameters = dataset.scaling.to_model(mode.parameters)
    return mode_share(dataset.rows, parameters, dataset.blocks).argmax(1)


def three_species(seed: int) -> tuple[pd.DataFrame, np.ndarray]:
    """Seventy-four rows of six columns: no cluster has the rows for its 27 parameters."""
    rng = np.random.default_rng(seed)
    sizes, parts = (21, 31, 22), []
    centre = 4 * np.linalg.qr(rng.normal(size=(6, 3)))[0].T
    for mean, n in zip(centre, sizes, strict=True):
        turn = rng.normal(size=(6, 6))
        parts.append(rng.multivariate_normal(mean, 0.4 * np.eye(6) + turn @ turn.T / 12, n))
    return pd.DataFrame(np.concatenate(parts), columns=list(BEETLES)), np.repeat([0, 1, 2], sizes)


@pytest.mark.parametrize("n", [50, 400])
def test_the_mass_is_the_integral(n: int) -> None:
    y = np.random.default_rng(n).normal(0.4, 1.3, n)
    priors = Priors(mean=Normal(scale=2.0), sd=HalfNormal(scale=1.5))
    spec = ModelSpec(n_clusters=1, features=("y",), priors=priors, standardize=False)
    (mode,) = fit_em({"y": y}, spec).modes
    mean, log_sd = np.meshgrid(np.linspace(-1.5, 2.5, 1201), np.linspace(-1, 1.5, 1201))
    sd = np.exp(log_sd)
    squares = ((y**2).sum() - 2 * mean * y.sum() + n * mean**2) / sd**2
    log_density = -squares / 2 - n * (log_sd + np.log(2 * np.pi) / 2)
    log_density += stats.norm.logpdf(mean, 0, 2) + stats.halfnorm.logpdf(sd, 0, 1.5) + log_sd
    integral = logsumexp(log_density) + np.log(4 / 1200 * 2.5 / 1200)
    # Stirling's series gives what Laplace's approximation lacks under flat priors, 11/(12 n); the
    # priors' curvature and the next order, 1/n², are less than a fifth of 1/n here.
    assert integral - mode.log_mass == pytest.approx(11 / (12 * n), abs=0.2 / n)


def test_the_mass_of_many_rows_is_climbed_to_by_some(monkeypatch: pytest.MonkeyPatch) -> None:
    table = simulate(four_clusters(4, 2), 2_000, 5)
    spec = ModelSpec(n_clusters=4, features=("x1", "x2"), predictors=("x1",), response="y")
    whole = fit_em(table, spec).best
    monkeypatch.setattr("jointmix.modes.density._MANY_ROWS", 1_000)
    monkeypatch.setattr("jointmix.modes.density._SOME_ROWS", 500)
    some = fit_em(table, spec).best
    # Differences to one side are off by their step of 1e-5 times the bend of the density.
    assert some.log_mass == pytest.approx(whole.log_mass, abs=1e-3)
    assert some.log_likelihood == whole.log_likelihood


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_species_come_before_spikes(seed: int) -> None:
    table, species = three_species(seed)
    spec = ModelSpec(n_clusters=3, features=BEETLES)
    census = fit_em(table, spec, seed)
    assert adjusted_rand_score(species, allocation(table, spec, census.best)) > 0.95
    assert not census.best.collapsed
    # By its likelihood it is not the first.
    assert max(mode.log_likelihood for mode in census.modes) > census.best.log_likelihood + 5


def test_both_solutions_of_a_mirrored_table_are_kept() -> None:
    quarter = 1 + np.random.default_rng(3).normal(0, 0.25, (30, 2))
    corners = [quarter * signs for signs in ([1, 1], [-1, 1], [1, -1], [-1, -1])]
    rows = np.concatenate([*corners, *(corner[:, ::-1] for corner in corners)])
    sampler = SamplerSpec(starts=40)
    spec = ModelSpec(n_clusters=2, features=("a", "b"), covariance="tied", sampler=sampler)
    one, other = fit_em(pd.DataFrame(rows, columns=["a", "b"]), spec).modes[:2]
    assert one.log_likelihood == pytest.approx(other.log_likelihood, abs=1e-3)
    assert one.log_mass == pytest.approx(other.log_mass, abs=1e-3)
    split = [np.abs(np.diff(mode.parameters.mean, axis=0)[0]) for mode in (one, other)]
    assert {int(each.argmax()) for each in split} == {0, 1}


def test_clusters_that_differ_across_the_main_direction_are_found() -> None:
    """Five measurements that all grow with size, of four groups that differ in proportions."""
    rng = np.random.default_rng(1)
    size, shift = rng.gamma(16, 2, (200, 1)), rng.normal(0, 0.035, (4, 5))
    rows = size * (np.array([0.5, 0.4, 1.0, 1.1, 0.45]) + np.repeat(shift, 50, 0))
    table = pd.DataFrame(rows + rng.normal(0, 0.15, (200, 5)), columns=list("abcde"))
    spec = ModelSpec(n_clusters=4, features=tuple("abcde"))
    found = [fit_em(table, spec, seed).best for seed in range(4)]
    groups = np.repeat(range(4), 50)
    assert adjusted_rand_score(groups, allocation(table, spec, found[0])) > 0.95
    # Optima that agree to 0.01 are one.
    assert np.ptp([mode.log_likelihood for mode in found]) < 0.01


def test_moves_change_two_clusters_and_no_more() -> None:
    rng = np.random.default_rng(5)
    x, allocated = rng.normal(size=(60, 2)), np.repeat(range(3), 20)
    share = np.eye(3)[:, allocated] * 0.8 + 0.2 / 3
    found = moves(x, x[:, :1], x[:, 1], share, 1_000, rng)
    # Each of two others is given up for each of three that is split in six ways.
    assert found.shape == (36, 60)
    for each in found:
        assert set(each) <= {0, 1, 2}
        kept = [k for k in range(3) if (each[allocated == k] == k).all()]
        assert len(kept) >= 1
    assert len(moves(x, x[:, :1], x[:, 1], share, 10, rng)) == 10


def modes_tree(masses: list[float], visits: list[float]) -> xr.DataTree:
    modes = xr.Dataset(
        {"mass": ("mode", masses), "visits": ("mode", visits)},
        coords={"mode": np.arange(1, len(masses) + 1)},
    )
    return xr.DataTree.from_dict({"modes": modes})


@pytest.mark.parametrize(
    ("masses", "visits", "named"),
    [
        ([0.87, 0.13], [0.0, 1.0], "mode 1 (87%)"),
        ([0.6, 0.4], [1.0, 0.0], "mode 2 (40%)"),
        ([0.5, 0.3, 0.2], [1.0, 0.0, 0.0], "mode 2 (30%) and mode 3 (20%)"),
        ([0.96, 0.04], [1.0, 0.0], ""),
        ([0.6, 0.4], [0.7, 0.3], ""),
    ],
)
def test_a_mode_with_mass_that_draws_have_not_been_to_is_named(
    masses: list[float], visits: list[float], named: str
) -> None:
    (finding,) = mass.check(modes_tree(masses, visits))
    assert finding.status == ("caution" if named else "ok")
    assert named in finding.message


@pytest.mark.parametrize(
    "modes", [xr.Dataset(coords={"mode": [1, 2]}), modes_tree([1.0], [1.0])["modes"].to_dataset()]
)
def test_there_is_nothing_to_say_of_one_mode_or_an_older_fit(modes: xr.Dataset) -> None:
    assert mass.check(xr.DataTree.from_dict({"modes": modes})) == ()


def unequal(seed: int) -> tuple[np.ndarray, float]:
    """Two groups under weights of 0.55 and 0.45: which is the larger cluster is not certain.

    And the posterior mass of the lesser of the two modes, by quadrature over both means.
    """
    rng = np.random.default_rng([23, seed])
    y = np.concatenate([rng.normal(-3, 1, 15), rng.normal(3, 1, int(rng.integers(15, 29)))])
    grid = np.linspace(-6, 6, 301)
    density = stats.norm.pdf(y[:, None], grid)
    both = 0.55 * density[:, :, None] + 0.45 * density[:, None, :]
    log_prior = stats.norm.logpdf(grid, 0, 5)
    value = np.log(both).sum(axis=0) + log_prior[:, None] + log_prior
    mass = np.exp(value - logsumexp(value))
    above = float(np.triu(mass).sum())
    return y, min(above, 1 - above)


def mass_findings(rows: np.ndarray, **options: object) -> tuple[xr.DataTree, str]:
    columns = ["a", "b"][: rows.shape[1]]
    # Whose chains stay in one mode; independence chains go to both, as often as these deserve.
    sampler = SamplerSpec(sampler="nutpie", draws=100, tune=200, chains=2)
    spec = ModelSpec(n_clusters=2, features=columns, sampler=sampler, **options)  # type: ignore[arg-type]
    tree = fit(pd.DataFrame(rows, columns=columns), spec, progress=False)
    found = mass.check(tree)
    return tree, found[0].status if found else "ok"


@pytest.mark.slow
def test_a_second_mode_of_known_mass_is_named_in_twenty_of_twenty() -> None:
    priors = Priors(
        weight=Fixed(value=[0.55, 0.45]), covariance=Fixed(value=1.0), mean=Normal(scale=5.0)
    )
    lesser = []
    for seed in range(20):
        y, known = unequal(seed)
        tree, status = mass_findings(
            y[:, None], priors=priors, covariance="fixed", standardize=False
        )
        computed = np.sort(tree["modes"]["mass"].values)[-2]
        # Laplace's approximation is off by about 1/n in the log.
        assert computed == pytest.approx(known, rel=0.1)
        assert status == ("caution" if known > 0.05 else "ok"), (seed, known)
        lesser.append(known)
    assert min(lesser) > 0.05


@pytest.mark.slow
def test_a_single_mode_raises_no_such_finding_in_twenty_of_twenty() -> None:
    for seed in range(20):
        rng = np.random.default_rng([29, seed])
        rows = rng.normal(size=(120, 2)) + 6 * rng.integers(2, size=120)[:, None]
        assert mass_findings(rows)[1] == "ok", seed


@pytest.mark.slow
def test_spikes_never_come_first_in_twenty_tables_with_fewer_rows_than_parameters() -> None:
    spec = ModelSpec(n_clusters=3, features=BEETLES)
    for seed in range(20):
        table, _ = three_species(100 + seed)
        assert len(table) < 3 * spec.n_own_parameters
        best = fit_em(table, spec, seed).best
        assert not best.collapsed, seed
        # The species have 21, 22 and 31 rows; a spike holds few.
        assert best.smallest_share * len(table) > 14, seed
