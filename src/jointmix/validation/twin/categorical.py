"""A feature of levels a second time: x | k has level l with probability p_kl."""

from collections.abc import Iterator

import numpy as np

from jointmix.families.parameters import Parameters
from jointmix.families.rows import Rows
from jointmix.validation.twin.discrete import DiscreteTwin
from jointmix.validation.twin.family import Array, Candidate, Density, orders


class CategoricalTwin(DiscreteTwin):
    """Levels are codes from 0, of which Bernoulli features have two."""

    def known(self, column: Array) -> Array:
        """Whole numbers; the first level where none is known."""
        return np.where(np.isnan(column), 0, column).astype(int)

    def family(self, parameter: Array) -> Array:
        """Categorical(p)."""
        import numpyro.distributions as dist

        return dist.Categorical(probs=parameter)

    def log_pmf(self, code: np.ndarray, parameter: np.ndarray) -> np.ndarray:
        """Σ_l [code = l] log p_l, codes (obs, 1), by SciPy's convention that 0 log 0 = 0."""
        from scipy.special import xlogy

        indicator = code[..., None] == np.arange(parameter.shape[-1])
        return np.asarray(xlogy(indicator, parameter).sum(-1))

    def magnitude(self, code: np.ndarray, parameter: np.ndarray) -> np.ndarray:
        """|log p|, wrong by a rounding of the ratios that p is made of."""
        log_p = np.log(parameter)
        return np.asarray(1 + np.abs(np.swapaxes(log_p[:, :, code[:, 0]], 1, 2)))

    def mistakes(self, parameters: Parameters, rows: Rows, at: Density) -> Iterator[Candidate]:
        """Of levels and of components."""
        yield from super().mistakes(parameters, rows, at)
        p = parameters[self.name]
        for order, words in orders(p.shape[-1]):
            told = words.replace("component k has those", "level l has the probability")
            sentence = (
                f"The levels of {self.label} are in another order: {told.replace('[k]', '[l]')}."
            )
            yield sentence, at(parameters.replace(**{self.name: p[..., order]}))
        turned = np.swapaxes(p, -1, -2)
        if turned.shape == p.shape:
            sentence = (
                f"The probabilities of {self.label} are transposed: they are (component, level)."
            )
            yield sentence, at(parameters.replace(**{self.name: turned}))
        even = np.full_like(p, 1 / p.shape[-1])
        sentence = f"The levels of {self.label} are all taken for equally probable."
        yield sentence, at(parameters.replace(**{self.name: even}))
