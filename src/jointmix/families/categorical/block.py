"""A feature of levels: p(x = level l | k) = p_kl; of two levels it is a Bernoulli variable."""

from functools import cached_property
from typing import ClassVar

import numpy as np
from scipy.sparse import csr_array

from jointmix.families.categorical.checks import CategoricalChecks
from jointmix.families.checks import Checks
from jointmix.families.feature import Feature
from jointmix.families.parameters import Parameters
from jointmix.families.protocol import Parameter, Scores, Step
from jointmix.families.rows import Rows

#: Groups of levels that are told apart, and the fewest rows of one.
_MOST_GROUPS, _FEWEST_ROWS = 5, 10.0
#: Rows by which the M-step raises each level's count, so that no row is impossible.
_LEAST_COUNT = 1e-8


class CategoricalFeature(Feature):
    """x | k has level l with probability p_kl; levels are codes from 0."""

    family: ClassVar[str] = "categorical"
    words: ClassVar[str] = "a probability of each level of a feature"
    own_priors: ClassVar[tuple[str, ...]] = ("probability",)
    checked: ClassVar[type[Checks]] = CategoricalChecks
    letter: ClassVar[str] = "c"

    @classmethod
    def is_kind_of(cls, family: str) -> bool:
        """Whether a family has levels."""
        return family in ("categorical", "bernoulli")

    @property
    def name(self) -> str:
        """That of its parameter."""
        return f"probability_{self.own.stem}"

    @cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        """The probabilities of the levels."""
        own = self.own
        return (
            Parameter(
                name=self.name, symbol="p", dims=(own.dim,), role="probability",
                prior=self.spec.priors.probability,
                free=(self.spec.n_clusters, max(len(own.levels) - 1, 0)), site=self.name,
                meaning=f"probability of each level of {own.column}",
            ),
        )  # fmt: skip

    def codes(self, rows: Rows) -> np.ndarray:
        """Codes (obs,) as whole numbers; that behind the last level where none is known."""
        column = self.column(rows)
        return np.where(np.isnan(column), len(self.own.levels), column).astype(np.intp)

    def log_density(self, parameters: Parameters, rows: Rows) -> np.ndarray:
        """log p_kl of each row's level, (..., obs, component)."""
        log_p = np.log(parameters[self.name])
        known = np.concatenate([log_p, np.zeros((*log_p.shape[:-1], 1))], axis=-1)
        return np.swapaxes(known[..., self.codes(rows)], -1, -2)

    def draw(
        self, parameters: Parameters, rows: Rows, cluster: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        """Codes of rows of known clusters, (obs, 1)."""
        del rows
        below = np.cumsum(parameters[self.name][cluster], axis=-1)[:, :-1]
        return (below < rng.random(len(cluster))[:, None]).sum(-1, keepdims=True).astype(float)

    def _indicators(self, rows: Rows) -> csr_array:
        """Which level each row has, (obs, level); rows of no known level are empty."""
        codes, n = self.codes(rows), len(self.own.levels)
        place = np.flatnonzero(codes < n)
        found = (np.ones(len(place)), (place, codes[place]))
        return csr_array(found, shape=(len(codes), n))

    def working(self, rows: Rows) -> np.ndarray:
        """A column of zeros and ones for each level; rows of no known one have all rows' shares."""
        found = np.asarray(self._indicators(rows).toarray())
        known = found.any(axis=1)
        if not known.all() and known.any():
            found[~known] = np.average(found[known], axis=0, weights=rows.weights[known])
        return found

    def maximise(self, step: Step) -> dict[str, np.ndarray]:
        """Shares of the levels."""
        made = step.rows.made_of_them
        key = (self.name, self.own.levels)
        if key not in made:
            made[key] = self._indicators(step.rows)
        flat = step.share.reshape(-1, step.share.shape[-1])
        count = np.asarray((made[key].T @ flat.T).T) + _LEAST_COUNT
        probability = count / count.sum(-1, keepdims=True)
        return {self.name: probability.reshape(*step.share.shape[:2], -1)}

    def scores(self, parameters: Parameters, rows: Rows, share: np.ndarray) -> Scores:
        """Of log p_kl / p_kL, all levels but the last."""
        found = self._indicators(rows).toarray()[:, None, :] - parameters[self.name]
        known = (self.codes(rows) < found.shape[-1]) * 1.0
        rest = (share * known[:, None])[..., None] * found
        return Scores({}, rest[..., :-1].reshape(len(share), -1))

    def told_apart(
        self, parameters: Parameters, rows: Rows, cluster: int, held: float
    ) -> np.ndarray:
        """Of groups of levels: the most probable ones, and the rare ones as one."""
        p = parameters[self.name][cluster]
        order = np.argsort(-p, kind="stable")
        alone = int((held * p[order[: _MOST_GROUPS - 1]] >= _FEWEST_ROWS).sum())
        alone = min(alone, len(p) - 1)
        rest = p[order[alone:]].sum()
        if not alone or held * rest < _FEWEST_ROWS:
            alone -= 1
        if alone < 1:
            return np.zeros((0, len(rows.y)))
        own = p[order[:alone]]
        factor = np.linalg.cholesky(np.diag(own) - np.outer(own, own))
        codes = self.codes(rows)
        found = (codes == order[:alone, None]) - own[:, None]
        return np.asarray(np.linalg.solve(factor, found) * (codes < len(p)))

    def overlap(self, parameters: Parameters, one: int, other: int) -> np.ndarray:
        """Σ_l √(p_1l p_2l)."""
        p = parameters[self.name]
        return np.asarray(np.sqrt(p[..., one, :] * p[..., other, :]).sum(-1))

    def compiled_rows(self, rows: Rows) -> np.ndarray:
        """The codes, (1, obs)."""
        return self.codes(rows)[None].astype(float)

    @property
    def aliases(self) -> dict[str, str]:  # type: ignore[override]
        """Compiled functions know logs of probabilities."""
        return {"log_probability": self.name}

    @property
    def compiled_size(self) -> int:
        """The number of levels."""
        return len(self.own.levels)

    def compiled(self, parameters: Parameters) -> dict[str, np.ndarray]:
        """Logs of probabilities."""
        return {self.name: np.log(parameters[self.name])}
