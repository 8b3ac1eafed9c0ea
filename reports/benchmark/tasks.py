"""What is done with fits, timed: labels of many draws, predictions, and comparisons on workers."""

import time
from collections.abc import Callable
from tempfile import TemporaryDirectory

import numpy as np

from benchmark.cases import Case
from benchmark.measure import peak_memory
from benchmark.results import Task
from benchmark.samplers import Settings
from jointmix.labels.relabel import ecr, ecr_iterative, pivotal, stephens
from jointmix.model.settings import SamplerSpec
from jointmix.model.simulate import Truth, four_clusters, simulate
from jointmix.model.spec import ModelSpec

#: Share of rows whose drawn allocation is any cluster.
_NOISE = 0.1
_CERTAIN = 0.9
#: Rows predicted before the clock starts, so that what is compiled or loaded does not count.
_WARM_ROWS, _FEW_ROWS = 300, 2_000
_MOST_CLUSTERS = 6
_INTERVAL = (0.05, 0.5, 0.95)
#: Standard errors, were all rows' clusters known, within which weights are taken as recovered.
_ERRORS, _RECOVERED = 5, "weights within 5 errors"

#: Seconds, and how well it was done, in [0, 1].
Done = tuple[float, float]


class Planted:
    """Allocations of rows in draws whose labels were permuted at random.

    Attributes
    ----------
    allocation
        The rows' clusters before, (obs,).
    permutation
        Component that cluster k became, (draw, cluster).
    drawn
        Allocations after, (draw, obs), a byte each.
    """

    def __init__(self, n: int, k: int, n_draws: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.allocation = rng.integers(0, k, n)
        self.permutation = np.stack([rng.permutation(k) for _ in range(n_draws)])
        self.drawn = np.empty((n_draws, n), dtype=np.int8)
        for draw, order in enumerate(self.permutation):
            moved = rng.random(n) < _NOISE
            z = np.where(moved, rng.integers(0, k, n), self.allocation)
            self.drawn[draw] = order[z]

    def recovered(self, found: np.ndarray) -> float:
        """Share of draws with the planted permutation, up to one that all share."""
        common = np.argsort(self.permutation[0])[found[0]]
        return float((found == self.permutation[:, common]).all(axis=1).mean())


class _Responsibilities:
    """Responsibilities of planted allocations, made as they are read: (draw, obs, component)."""

    def __init__(self, planted: Planted) -> None:
        self._drawn = planted.drawn
        self._k = planted.permutation.shape[1]

    @property
    def shape(self) -> tuple[int, ...]:
        return (*self._drawn.shape, self._k)

    def __getitem__(self, key: slice) -> np.ndarray:
        own = self._drawn[key][..., None] == np.arange(self._k)
        return np.where(own, _CERTAIN, (1 - _CERTAIN) / (self._k - 1))


def _labels(method: Callable[[Planted], np.ndarray]) -> Callable[[Case, Settings], Done]:
    def run(case: Case, settings: Settings) -> Done:
        planted = Planted(case.n, case.k, settings.draws * settings.chains, settings.seed)
        began = time.perf_counter()
        found = method(planted)
        return time.perf_counter() - began, planted.recovered(found)

    return run


def _pivotal(case: Case, settings: Settings) -> Done:
    truth = four_clusters(case.k, case.d)
    rng = np.random.default_rng(settings.seed)
    values = np.hstack([truth.mean, truth.slope])
    drawn = values + 0.1 * rng.normal(size=(settings.draws * settings.chains, *values.shape))
    order = np.stack([rng.permutation(case.k) for _ in drawn])
    # Cluster k's parameters stand at the component that it became.
    scrambled = np.empty_like(drawn)
    np.put_along_axis(scrambled, order[..., None], drawn, axis=1)
    began = time.perf_counter()
    found = pivotal(scrambled, values)
    return time.perf_counter() - began, float((found == order).all(axis=1).mean())


def _spec_of(truth: Truth, n_clusters: int, settings: Settings) -> ModelSpec:
    """The model of simulated rows, with so many clusters."""
    return ModelSpec(
        n_clusters=n_clusters,
        features=list(truth.features),
        predictors=list(truth.predictors),
        response=truth.response,
        sampler=SamplerSpec(draws=settings.draws, tune=settings.tune, chains=settings.chains),
    )


def _predict(case: Case, settings: Settings) -> Done:
    from jointmix.fitting.workflow import fit
    from jointmix.posterior.prediction import predict

    truth = four_clusters(case.k, case.d)
    spec = _spec_of(truth, case.k, settings)
    tree = fit(simulate(truth, 1_000, settings.seed), spec, settings.seed)
    new = simulate(truth, case.n, settings.seed + 1)
    predict(tree, new[:_WARM_ROWS], _INTERVAL)
    began = time.perf_counter()
    found = predict(tree, new, _INTERVAL)["quantiles"].values
    seconds = time.perf_counter() - began
    y = new[truth.response].to_numpy()
    return seconds, float(((y >= found[:, 0]) & (y <= found[:, -1])).mean())


def _compared(workers: int) -> Callable[[Case, Settings], Done]:
    def run(case: Case, settings: Settings) -> Done:
        from distributed import Client, LocalCluster

        from jointmix.fitting.selection import compare

        truth = four_clusters(case.k, case.d)
        spec = _spec_of(truth, 1, settings)
        table = simulate(truth, case.n, settings.seed)
        with (
            LocalCluster(
                n_workers=workers, threads_per_worker=1, dashboard_address=":0"
            ) as cluster,
            Client(cluster, set_as_default=False) as client,
        ):
            compare(table[:_WARM_ROWS], spec, [1, 2], pool=client, progress=False)
            began = time.perf_counter()
            found = compare(
                table, spec, range(1, _MOST_CLUSTERS + 1), settings.seed,
                pool=client, progress=False,
            )  # fmt: skip
            return time.perf_counter() - began, float(found.spec.n_clusters == case.k)

    return run


def _in_parts(workers: int) -> Callable[[Case, Settings], Done]:
    def run(case: Case, settings: Settings) -> Done:
        from distributed import Client, LocalCluster

        from jointmix.fitting.workflow import fit

        truth = four_clusters(case.k, case.d)
        spec = _spec_of(truth, case.k, settings)
        with (
            TemporaryDirectory() as folder,
            LocalCluster(
                n_workers=workers, threads_per_worker=1, dashboard_address=":0"
            ) as cluster,
            Client(cluster, set_as_default=False) as client,
        ):
            few, many = (
                simulate(truth, n, settings.seed, out=f"{folder}/{n}") for n in (_FEW_ROWS, case.n)
            )
            fit(few, spec, settings.seed, pool=client, progress=False)
            began = time.perf_counter()
            tree = fit(many, spec, settings.seed, pool=client, progress=False)
            seconds = time.perf_counter() - began
        weight = tree["posterior"].to_dataset()["weight"].mean(["chain", "draw"]).values
        error = np.sqrt((1 / case.k) * (1 - 1 / case.k) / case.n)
        return seconds, float((np.abs(weight - 1 / case.k) < _ERRORS * error).mean())

    return run


#: Tasks by name: for people, what the share of success is, and the task.
TASKS: dict[str, tuple[str, str, Callable[[Case, Settings], Done]]] = {
    "ecr": (
        "ECR",
        "recovered",
        _labels(lambda planted: ecr(planted.drawn, planted.allocation)),
    ),
    "ecr-iterative": (
        "iterative ECR, version 1",
        "recovered",
        _labels(lambda planted: ecr_iterative(planted.drawn)),
    ),
    "stephens": (
        "Stephens",
        "recovered",
        _labels(lambda planted: stephens(_Responsibilities(planted))),
    ),
    "pivotal": ("pivotal reordering", "recovered", _pivotal),
    "compare-one-worker": ("K = 1 to 6 on one Dask worker", "true K chosen", _compared(1)),
    "compare-two-workers": ("K = 1 to 6 on two Dask workers", "true K chosen", _compared(2)),
    "fit-one-worker": ("a Parquet folder fitted by one Dask worker", _RECOVERED, _in_parts(1)),
    "fit-two-workers": ("a Parquet folder fitted by two Dask workers", _RECOVERED, _in_parts(2)),
    "predict": ("mean and three quantiles of y given x", "in the 90% interval", _predict),
}


def run_task(case: Case, name: str, settings: Settings) -> Task:
    """Time a task, in a process that does nothing else.

    Parameters
    ----------
    case
        The size of what is labelled or predicted.
    name
        Of `TASKS`.
    settings
        Draws and chains: their product is the number of draws.
    """
    _, _, run = TASKS[name]
    seconds, share = run(case, settings)
    return Task(
        case=case.name,
        task=name,
        draws=settings.draws * settings.chains,
        seconds=seconds,
        peak_memory=peak_memory(),
        share=share,
    )
