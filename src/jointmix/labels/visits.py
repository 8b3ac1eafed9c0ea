"""Which of EM's optima draws are near to."""

import numpy as np

from jointmix.families.parameters import Parameters
from jointmix.kernel.allocate import allocate, mode_share
from jointmix.labels.assignment import assign
from jointmix.model.dataset import Dataset
from jointmix.modes.census import Census
from jointmix.posterior.draws import spread

#: Draws of a chain that are looked at, rows by which they are told apart, and optima.
_DRAWS, _ROWS, _MODES = 50, 2_000, 40
#: Responsibilities that are held at a time: 8 MB.
_MOST_NUMBERS = 1_000_000


def mode_visits(
    parameters: Parameters, likelihood: np.ndarray, dataset: Dataset, census: Census
) -> np.ndarray:
    """Share of each chain's draws that is nearest to each optimum, (chain, mode).

    A draw is nearest to the optimum that allocates the rows most alike: by the affinity
    Σ √(p q) of the responsibilities, labels matched as suits it best if clusters are exchangeable.
    An optimum whose likelihood the draw exceeds is not its own, unless it exceeds all.

    Parameters
    ----------
    parameters
        Draws on the users' scale, chains one after the other.
    likelihood
        Their log likelihoods there, (chain, draw).
    dataset, census
        The model and its rows, and EM's optima.
    """
    blocks, modes = dataset.blocks, census.modes[:_MODES]
    chosen = spread(len(dataset.values), _ROWS)
    rows, users = dataset.rows.take(chosen), dataset.users_rows.take(chosen)
    to_model = dataset.scaling.to_model
    share = [mode_share(rows, to_model(mode.parameters), blocks) for mode in modes]
    roots = rows.weighted(np.sqrt(np.concatenate(share, axis=1)))
    highest = np.array([mode.log_likelihood for mode in modes])
    (n_chains, n_draws), k = likelihood.shape, dataset.spec.n_clusters
    at, exchangeable = spread(n_draws, _DRAWS), dataset.spec.exchangeable
    visits = np.zeros((n_chains, len(census.modes)))
    every = (np.arange(n_chains)[:, None] * n_draws + at).ravel()
    step = max(1, _MOST_NUMBERS // (k * len(chosen)))
    for begin in range(0, len(every), step):
        some = every[begin : begin + step]
        joint, _, _ = allocate(users, parameters.take(some), blocks)
        for draw, share_of_draw in zip(some, joint, strict=True):
            reached = likelihood[draw // n_draws, draw % n_draws]
            together = (np.sqrt(share_of_draw) @ roots).reshape(k, len(modes), k)
            together = together.swapaxes(0, 1)
            match = assign(together) if exchangeable else np.arange(k)[None]
            affinity = np.take_along_axis(together, match[..., None], -1).sum((1, 2))
            possible = highest >= reached
            affinity[~possible] = -np.inf if possible.any() else affinity[~possible]
            visits[draw // n_draws, affinity.argmax()] += 1 / len(at)
    return visits
