"""How to sample: the frozen specification of the sampler."""

from dataclasses import dataclass

from jointmix.base.arguments import choice, shown, whole_number
from jointmix.base.errors import SpecError

#: Samplers, and the backends that each can run on.
SAMPLERS = {
    "auto": ("kernel", "numba", "jax"),
    "nutpie": ("kernel", "numba", "jax"),
    "numpyro": ("jax",),
    "blackjax": ("jax",),
    "pymc": ("numba",),
    "independence": ("kernel", "jax"),
    "laplace": ("kernel",),
    "pathfinder": ("jax",),
}
JAX_SAMPLERS = tuple(name for name, backends in SAMPLERS.items() if backends == ("jax",))
APPROXIMATIONS = ("laplace", "pathfinder")
#: Largest k̂ at which importance weights are reliable (Vehtari et al. 2024, JMLR 25(72)).
LARGEST_PARETO_SHAPE = 0.7
#: Pareto shape beyond which the weights of independence chains have no variance, and the effective
#: share of the candidates from which a tail does not matter.
MOST_SHAPE, NEARLY_ALL = 0.5, 0.9
#: Candidates that an approximation weighs for each draw that is kept.
CANDIDATES = 4
BACKENDS = ("auto", "kernel", "numba", "jax")
CHAIN_METHODS = ("vectorized", "parallel")
ADAPTATIONS = ("auto", "laplace", "low_rank", "diag")


@dataclass(frozen=True, kw_only=True)
class SamplerSpec:
    """How to sample.

    Parameters
    ----------
    draws, tune, chains
        Kept draws and adaptation steps of each chain, and the number of chains. Independence chains
        have no steps of adaptation.
    sampler
        "auto": "independence" where a thousand candidates say that it does, and "nutpie" where they
        do not, where labels are left free, and where an adaptation, a backend, scouts or a stream
        ask for gradients; which it was, and why, stands in the result. "independence" takes one
        density a candidate, for posteriors that are nearly normal in straight coordinates, as
        clusters well apart or many rows make them; "nutpie", "numpyro" (through
        ``pymc.sampling.jax``), "blackjax" and "pymc" follow gradients (NUTS). Or a quick
        approximation, "laplace" (at the mode) or "pathfinder", marked as such in the result.
    backend
        "kernel" (the package's own compiled density), "numba" or "jax" (the PyMC model, compiled
        by PyTensor), or "auto": chosen by cost; the choice stands in the result. On "jax" the
        samplers "blackjax", "numpyro" with vectorized chains, and "independence", which weighs its
        candidates there, spread the rows over all devices that JAX has.
    adaptation
        Of the metric: "low_rank" (dense with NumPyro and BlackJAX), "diag", or "laplace", with
        the kernel: values are first whitened by the curvature at the mode. "auto" takes the last
        where that curvature describes the posterior, and "low_rank" elsewhere; the choice stands
        in the result.
    chain_method
        How NumPyro runs chains, "vectorized" or "parallel".
    target_accept
        Target acceptance rate of the step-size adaptation, in (0, 1).
    starts
        Number of EM starts in a round; `fit_em` says when further rounds follow.
    scouts
        Number of further EM optima from each of which two chains are sent, to see where they end;
        with "auto" all chains are nutpie's then.
    retry_budget
        Gradients times rows that a fit may take besides, where draws are short or a few diverged:
        it is sampled again, with more draws and a higher target acceptance rate, and says so. Done
        by nutpie on the kernel alone, and not where fewer draws, tuning steps or chains are asked
        for than by default; 0 never does. By default some seconds.
    cores
        Chains sampled at a time; None uses what the machine has.

    Raises
    ------
    SpecError
        If a count is too small or a name unknown.

    Examples
    --------
    >>> jm.SamplerSpec(sampler="nutpie", draws=500).chains
    4
    """

    draws: int = 1000
    tune: int = 1000
    chains: int = 4
    sampler: str = "auto"
    backend: str = "auto"
    adaptation: str = "auto"
    chain_method: str = "vectorized"
    target_accept: float = 0.8
    starts: int = 20
    scouts: int = 0
    retry_budget: int = 200_000_000
    cores: int | None = None

    def __post_init__(self) -> None:
        least_counts = {"draws": 4, "tune": 1, "chains": 1, "starts": 1, "scouts": 0}
        for name, least in (least_counts | {"retry_budget": 0}).items():
            object.__setattr__(self, name, whole_number(name, getattr(self, name), least))
        if self.cores is not None:
            object.__setattr__(self, "cores", whole_number("cores", self.cores, 1))
        choice("sampler", self.sampler, SAMPLERS)
        choice("backend", self.backend, BACKENDS)
        choice("adaptation", self.adaptation, ADAPTATIONS)
        choice("chain_method", self.chain_method, CHAIN_METHODS)
        if self.adaptation == "laplace" and (
            self.sampler not in ("nutpie", "auto") or self.backend not in ("auto", "kernel")
        ):
            raise SpecError(
                "adaptation='laplace' needs the sampler 'nutpie' on the kernel; got "
                f"sampler={shown(self.sampler)} and backend={shown(self.backend)}."
            )
        if self.backend not in ("auto", *SAMPLERS[self.sampler]):
            raise SpecError(
                f"The sampler {shown(self.sampler)} runs on {' or '.join(SAMPLERS[self.sampler])}; "
                f"got backend={shown(self.backend)}."
            )
        rate = self.target_accept
        if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 < rate < 1:
            raise SpecError(f"target_accept must lie in (0, 1); got {shown(self.target_accept)}.")
