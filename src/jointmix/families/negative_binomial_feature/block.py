"""A feature of counts that are spread: n | k has the mean λ_k and the variance λ_k + λ_k²/s_k."""

from typing import ClassVar

import numpy as np
from scipy.sparse import csr_array

from jointmix.families.checks import Checks
from jointmix.families.climbing import better_shape
from jointmix.families.count_feature import CountFeature
from jointmix.families.negative_binomial_feature.checks import NegativeBinomialFeatureChecks
from jointmix.families.negative_binomial_feature.overlap import overlap
from jointmix.families.parameters import Parameters
from jointmix.families.priors.priors import Fixed
from jointmix.families.protocol import Parameter, Scores, Step, freed
from jointmix.families.rows import Rows
from jointmix.families.specified import Scaled
from jointmix.families.spread_counts import draws, log_mass, pull, size_bounds, size_slope


class NegativeBinomialFeature(CountFeature):
    """n | k with the mean λ_k and the size s_k, a Poisson count of gamma rates of that shape."""

    family: ClassVar[str] = "negative_binomial_feature"
    words: ClassVar[str] = "a negative binomial probability of a feature"
    own_priors: ClassVar[tuple[str, ...]] = ("size",)
    checked: ClassVar[type[Checks]] = NegativeBinomialFeatureChecks
    kind: ClassVar[str] = "negative_binomial"

    @property
    def size_name(self) -> str:
        """That of its size."""
        return f"size_{self.own.stem}"

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """The rate, and the size, one a cluster."""
        prior = self.spec.priors.size
        return (
            self.rate,
            Parameter(
                name=self.size_name, symbol="s", role="shape", prior=prior,
                free=freed(prior, self.spec.n_clusters), site=self.size_name,
                meaning=f"size s of the variance m + m²/s of {self.own.column} at its mean m",
                stated="size",
            ),
        )  # fmt: skip

    def known(self, scaling: Scaled) -> dict[str, np.ndarray]:
        """A fixed size."""
        del scaling
        prior = self.spec.priors.size
        if not isinstance(prior, Fixed):
            return {}
        return {self.size_name: np.broadcast_to(prior.array, (self.spec.n_clusters,))}

    def log_density(self, parameters: Parameters, rows: Rows) -> np.ndarray:
        """log NB(n | λ, s), (..., obs, component)."""
        n, known = self.counts(rows)[..., None]
        rate, size = (parameters[item.name][..., None, :] for item in self.parameters)
        return known * log_mass(n, np.log(rate), size)

    def draw(
        self, parameters: Parameters, rows: Rows, cluster: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        """Counts of rows of known clusters, (obs, 1)."""
        del rows
        rate, size = (parameters[item.name][cluster] for item in self.parameters)
        return draws(rate, size, rng)[:, None]

    def central(self, parameters: Parameters, cluster: int) -> tuple[float, float, float]:
        """v = λ + λ²/s, (1 + 2λ/s)/√v and 3 + 6/s + 1/v."""
        rate, size = (float(parameters[item.name][cluster]) for item in self.parameters)
        variance = rate + rate * (rate / size)
        return variance, (1 + 2 * rate / size) / variance**0.5, 3 + 6 / size + 1 / variance

    def working(self, rows: Rows) -> np.ndarray:
        """log(n + ½); of those unknown the mean of the others."""
        return self.filled(np.log(self.counts(rows)[0] + 0.5), rows)

    def _values(self, rows: Rows) -> tuple[np.ndarray, csr_array]:
        """The counts that occur, (value,), and which rows have each, (value, obs)."""
        made, key = rows.made_of_them, (self.name, "values")
        if key not in made:
            n, known = self.counts(rows)
            place = np.flatnonzero(known)
            value, which = np.unique(n[place], return_inverse=True)
            shape = (len(value), len(n))
            made[key] = value
            made[*key, "rows"] = csr_array((np.ones(len(place)), (which, place)), shape=shape)
        return made[key], made[*key, "rows"]

    def maximise(self, step: Step) -> dict[str, np.ndarray]:
        """Mean counts, and a step of the sizes uphill; the latter over the counts that occur."""
        rate = self.mean_counts(step)
        if isinstance(self.spec.priors.size, Fixed):
            size = np.broadcast_to(self.known(step.scaling)[self.size_name], rate.shape)
            return {self.name: rate, self.size_name: size}
        value, which = self._values(step.rows)
        flat = step.share.reshape(-1, step.share.shape[-1])
        share = np.asarray((which @ flat.T).T).reshape(*rate.shape, len(value))
        total = share.sum((0, 1))
        bounds = size_bounds(float(total @ value / max(float(total.sum()), 1e-300)))
        if step.previous is None:
            before = _by_moments(share, value, rate, bounds)
        else:
            before = step.previous[self.size_name]
        eta = np.log(rate)[..., None]
        found = better_shape(
            share,
            before,
            lambda at: log_mass(value, eta, at),
            lambda at: size_slope(value, eta, at),
            bounds,
        )
        return {self.name: rate, self.size_name: found}

    def scores(self, parameters: Parameters, rows: Rows, share: np.ndarray) -> Scores:
        """In the logs of λ and, where it is free, of s."""
        n, known = self.counts(rows)[..., None]
        rate, size = (parameters[item.name] for item in self.parameters)
        own, eta = share * known, np.log(rate)
        found = [own * pull(n, eta, size)]
        if not isinstance(self.spec.priors.size, Fixed):
            found.append(own * size * size_slope(n, eta, size))
        return Scores({}, np.hstack(found))

    def overlap(self, parameters: Parameters, one: int, other: int) -> np.ndarray:
        """Σ √(p_1 p_2) over counts."""
        rate, size = (parameters[item.name] for item in self.parameters)
        return overlap(rate[..., one], size[..., one], rate[..., other], size[..., other])

    @property
    def aliases(self) -> dict[str, str]:  # type: ignore[override]
        """Compiled functions know a rate and a size."""
        return {"rate": self.name, "size": self.size_name}


def _by_moments(
    share: np.ndarray, value: np.ndarray, rate: np.ndarray, bounds: tuple[float, float]
) -> np.ndarray:
    """m²/(variance − m), (start, cluster), of shares (start, cluster, value)."""
    held = np.maximum(share.sum(-1), 1e-10)
    variance = (share * (value - rate[..., None]) ** 2).sum(-1) / held
    excess = np.maximum(variance - rate, 1e-300)
    return np.clip(rate * np.minimum(rate / excess, bounds[1]), *bounds)
