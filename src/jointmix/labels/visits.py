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


def mode_visits(
    parameters: Parameters, n_chains: int, dataset: Dataset, census: Census
) -> np.ndarray:
    """Share of each chain's draws that is nearest to each optimum, (chain, mode).

    A draw is nearest to the optimum that allocates the rows most alike: by the affinity
    Σ √(p q) of the responsibilities, labels matched as suits it best if clusters are exchangeable.
    An optimum whose likelihood the draw exceeds is not its own, unless it exceeds all.

    Parameters
    ----------
    parameters
        Draws on the users' scale, chains one after the other.
    n_chains
        Number of chains, all of the same length.
    dataset, census
        The model and its rows, and EM's optima.
    """
    scaling, blocks, modes = dataset.scaling, dataset.blocks, census.modes[:_MODES]
    chosen = spread(len(dataset.values), _ROWS)
    share = [
        mode_share(dataset.rows, scaling.to_model(mode.parameters), blocks)[chosen]
        for mode in modes
    ]
    roots = np.sqrt(np.concatenate(share, axis=1))
    highest = np.array([mode.log_likelihood for mode in modes])
    n_draws, k = len(parameters.weight) // n_chains, dataset.spec.n_clusters
    exchangeable = dataset.spec.exchangeable
    visits = np.zeros((n_chains, len(census.modes)))
    for chain in range(n_chains):
        at = chain * n_draws + spread(n_draws, _DRAWS)
        for draw in at.tolist():
            joint, _, level = allocate(dataset.users_rows, parameters.take([draw]), blocks)
            together = (np.sqrt(joint[0][:, chosen]) @ roots).reshape(k, len(modes), k)
            together = together.swapaxes(0, 1)
            match = assign(together) if exchangeable else np.arange(k)[None]
            affinity = np.take_along_axis(together, match[..., None], -1).sum((1, 2))
            possible = highest >= level[0]
            affinity[~possible] = -np.inf if possible.any() else affinity[~possible]
            visits[chain, affinity.argmax()] += 1 / len(at)
    return visits
