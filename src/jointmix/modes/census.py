"""An optimum that EM found, and the census of them."""

from dataclasses import dataclass

from jointmix.families.parameters import Parameters
from jointmix.modes.mass import Peak

#: Nats below which a mode's mass is negligible beside another's, and how many others are counted.
_NEGLIGIBLE, _MOST_RIVALS = 7.0, 4


@dataclass(frozen=True, eq=False)
class Mode:
    """One optimum of the likelihood.

    Attributes
    ----------
    parameters
        On the users' scale, clusters by decreasing weight (as given, if they are not
        exchangeable).
    log_likelihood
        Joint log likelihood of all rows, natural log, on the users' scale.
    n_starts
        Number of runs of EM that reached it.
    bic, icl
        Schwarz's criterion −2 log L + p log N, and with twice the entropy of the
        responsibilities added (Biernacki et al. 2000): smaller is better.
    smallest_share
        Smallest weight.
    log_mass
        Log of the posterior's mass around it, up to a constant that all modes of a model share, by
        Laplace's approximation at the posterior mode that is climbed to from here. NaN where it was
        not computed, because the likelihood is far below that of others; −inf where the
        posterior has no mode: a spike of the likelihood, not a cluster.
    collapsed
        Whether it is such a spike, a cluster's variance shrank to the floor, or, where no mass was
        computed, a cluster holds fewer rows than it has parameters of its own.
    peak
        The mode of the posterior whose mass that is, labels as here; None where there is none, or
        it was not looked for.
    """

    parameters: Parameters
    log_likelihood: float
    n_starts: int
    bic: float
    icl: float
    smallest_share: float
    log_mass: float
    collapsed: bool
    peak: Peak | None = None


@dataclass(frozen=True, eq=False)
class Census:
    """The optima that ``n_starts`` runs of EM found: most posterior mass first, spikes last.

    `reached` are the places of the optima that starts which were given led to, from 0; `home` is
    the place of the optimum that chains start from.
    """

    modes: tuple[Mode, ...]
    n_starts: int
    reached: tuple[int, ...] = ()
    home: int = 0

    @property
    def best(self) -> Mode:
        """The optimum with the most posterior mass, collapsed only if all are."""
        return self.modes[0]

    @property
    def start(self) -> Mode:
        """The optimum that chains start from."""
        return self.modes[self.home]

    @property
    def rivals(self) -> tuple[Mode, ...]:
        """Other optima whose mass is not negligible beside that of the one chains start from."""
        least = self.start.log_mass - _NEGLIGIBLE
        return tuple(
            mode
            for mode in self.modes
            if mode is not self.start and not mode.collapsed and mode.log_mass > least
        )[:_MOST_RIVALS]

    @property
    def log_likelihood(self) -> float:
        """The highest log likelihood of an optimum that is no spike; of all, if all are."""
        sound = [mode for mode in self.modes if not mode.collapsed] or self.modes
        return max(mode.log_likelihood for mode in sound)
