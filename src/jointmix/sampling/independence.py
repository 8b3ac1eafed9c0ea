"""Independence Metropolis chains: one density a candidate, no gradients.

Candidates come from a proposal that is nearly the posterior (`jointmix.sampling.proposal`); a chain
moves to one with probability min(1, w'/w), w being the posterior's density over the proposal's
(Hastings 1970; Mengersen and Tweedie 1996). The same weights give p(data).
"""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import gammaln

from jointmix.base.errors import NotNormalError, SumsError
from jointmix.base.numbers import fixed, percent
from jointmix.base.progress import Progress
from jointmix.kernel.densities import prior_densities
from jointmix.kernel.values import parameters as expanded
from jointmix.model.settings import LARGEST_PARETO_SHAPE, MOST_SHAPE, NEARLY_ALL
from jointmix.sampling.backends import cores_used
from jointmix.sampling.control import LEAST_DRAWS, Control
from jointmix.sampling.copies import Copies
from jointmix.sampling.proposal import Posterior, make_proposal
from jointmix.sampling.result import Draws
from jointmix.sampling.target import LARGEST_DIM, Target
from jointmix.sampling.weights import Weights, require_density, weigh

if TYPE_CHECKING:
    from jointmix.sampling.nutpie_runs import NutsChains

#: Candidates of all chains before the first draw: they say how well the proposal does.
PILOT = 1000
#: Most candidates between two draws, and the effective share of them that is aimed at.
_MOST_BETWEEN, _AIM = 4, 0.8
#: Effective share from which the proposal is not adapted to the pilot.
_ENOUGH = 0.8
#: Where the effective share is less, or the weights' tail heavier, gradients are worth their price.
_LEAST_SHARE = 0.3
_NEAR = "the posterior is nearly normal in its coordinates"
_NOT_NEAR = "the posterior is not near enough to a normal in its coordinates"
#: Why "auto" takes nutpie where draws are streamed.
STREAMED = "nutpie, as it alone streams its draws."
_TOO_EARLY = "Interrupted before the first draws were finished."


@dataclass(eq=False)
class Chains:
    """Independence chains side by side, as they grow by blocks of steps.

    Parameters
    ----------
    n_chains
        How many.
    """

    n_chains: int
    log_weight: list[np.ndarray] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._now: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None

    def step(
        self, values: np.ndarray, log_density: np.ndarray, log_weight: np.ndarray,
        rng: np.random.Generator,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # fmt: skip
        """Offer candidates (step · chain, …), chains side by side.

        Returns
        -------
        values (step, chain, dim), log densities and acceptance probabilities (step, chain).
        """
        shape = (-1, self.n_chains)
        offered, density = values.reshape(*shape, values.shape[1]), log_density.reshape(shape)
        weight = log_weight.reshape(shape)
        self.log_weight.append(log_weight)
        if self._now is None:
            # A chain begins with the best of a few of its candidates.
            best = weight.argmax(axis=0), np.arange(self.n_chains)
            self._now = (offered[best].copy(), density[best].copy(), weight[best].copy())
        at, height, own = self._now
        found = np.empty(offered.shape), np.empty(density.shape), np.empty(density.shape)
        chance = np.log(rng.uniform(size=density.shape))
        for i in range(len(offered)):
            with np.errstate(invalid="ignore"):
                ratio = np.nan_to_num(weight[i] - own, nan=0.0, posinf=np.inf, neginf=-np.inf)
            moves = chance[i] < ratio
            at = np.where(moves[:, None], offered[i], at)
            height, own = np.where(moves, [density[i], weight[i]], [height, own])
            found[0][i], found[1][i], found[2][i] = at, height, np.exp(np.minimum(ratio, 0.0))
        self._now = at, height, own
        return found

    @property
    def n(self) -> int:
        """Number of candidates until now."""
        return sum(map(len, self.log_weight))

    @property
    def weights(self) -> Weights:
        """What the weights of all candidates until now say."""
        return weigh(np.concatenate(self.log_weight))


def run(target: Target, backend: str, seed: int, report: Progress, control: Control) -> Draws:
    """Draws by independence Metropolis chains.

    Raises
    ------
    SamplingError
        If the posterior has no mode with curvature in all directions near the start.
    """
    posterior = Posterior(target.dataset, target.start.direction, backend)
    compiling = _compiled(target, posterior, seed, report)
    sampler = Sampler(target, posterior, seed, report)
    for _ in sampler.blocks(report, control):
        pass
    draws = sampler.draws()
    draws.attrs["compile_seconds"] = compiling
    if backend == "jax":
        draws.attrs["devices"] = posterior.on_devices.devices
    return draws


def begin_auto(
    target: Target,
    backend: str,
    seed: int,
    report: Progress,
    control: Control,
    streams: bool = False,
) -> "Draws | NutsChains":
    """Draws by independence chains where the pilot says that they do; elsewhere nutpie's chains.

    Raises
    ------
    SumsError
        If the rows lie elsewhere, and the pilot says that independence chains do not serve.
    SamplingError
        If no chain could start.
    """
    from jointmix.sampling import nutpie_runs

    reason, compiling, began = _unfit(target, backend, streams), 0.0, time.perf_counter()
    if not reason:
        posterior = Posterior(target.dataset, target.start.direction)
        compiling = _compiled(target, posterior, seed, report)
        sampler, reason = _tried(target, posterior, seed, report, control)
        if sampler is not None:
            draws = sampler.draws()
            draws.attrs.update(
                sampler="independence", sampler_reason=reason, compile_seconds=compiling
            )
            return draws
    if target.dataset.elsewhere is not None:
        raise SumsError(reason.removeprefix("nutpie").lstrip(",: ").rstrip("."))
    chains = nutpie_runs.begin(target, backend, seed, report)
    compiling += chains.compiling
    return replace(
        chains,
        compiling=compiling,
        spent=time.perf_counter() - began - compiling,
        attrs=chains.attrs | {"sampler": "nutpie", "sampler_reason": reason},
    )


def _unfit(target: Target, backend: str, streams: bool) -> str:
    """Why independence chains are not tried; "" where they are."""
    spec = target.spec
    if streams:
        return STREAMED
    if spec.sampler.scouts:
        return "nutpie, as scouts follow the posterior's gradient."
    if spec.sampler.adaptation != "auto":
        return "nutpie, as its adaptation was asked for."
    if backend != "kernel":
        return f"nutpie, as here candidates are weighed by the kernel, not by {backend}."
    if target.start.direction is None and spec.exchangeable and spec.n_clusters > 1:
        return "nutpie, as labels are left free."
    if target.dim > LARGEST_DIM:
        return f"nutpie, as no normal is made of more than {LARGEST_DIM:,} values."
    return ""


def _compiled(target: Target, posterior: Posterior, seed: int, report: Progress) -> float:
    """Seconds that compiling took.

    Raises
    ------
    SamplingError
        If the density at the start is not finite.
    """
    began = time.perf_counter()
    report("compile", 0, 1, posterior.backend)
    target.check_start(seed)
    posterior.log_densities(posterior.point(target.start.parameters)[None], 1)
    report("compile", 1, 1, posterior.backend)
    return time.perf_counter() - began


def _tried(
    target: Target, posterior: Posterior, seed: int, report: Progress, control: Control
) -> tuple["Sampler | None", str]:
    """Independence chains that have run, or None, and why."""
    try:
        sampler = Sampler(target, posterior, seed, report)
    except NotNormalError as error:
        return None, f"nutpie: {str(error).partition(';')[0].rstrip('.')}."
    limits = f"(at least {percent(_LEAST_SHARE, 0)}, at most {MOST_SHAPE})"
    reason = f"independence, as {_NEAR}: of {sampler.numbers} {limits}."
    going = sampler.holds()
    for _ in sampler.blocks(report, control) if going else ():
        # What is near the limit may come back from beyond it.
        if not sampler.holds(LARGEST_PARETO_SHAPE):
            break
    if going and (sampler.interrupted or sampler.holds()):
        return sampler, reason
    return None, f"nutpie, as {_NOT_NEAR}: of {sampler.numbers} {limits}."


class Sampler:
    """A proposal, its pilot, and the chains over its candidates."""

    def __init__(self, target: Target, posterior: Posterior, seed: int, report: Progress) -> None:
        self._began, self._done, self.interrupted = time.perf_counter(), 0, False
        self._parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        report("sample", 0, 1, "mode")
        start, settings = target.start, target.spec.sampler
        self._spec, self._settings = target.spec, settings
        self._posterior = posterior
        self.proposal = make_proposal(self._posterior, start.parameters, start.others, start.known)
        draws, chances = np.random.SeedSequence(seed).spawn(2)
        self._rng, self._chances = np.random.default_rng(draws), np.random.default_rng(chances)
        self._copies = Copies(self._spec, posterior.direction)
        values = self._pilot()
        if len(self.proposal.normals) == 1 and 0 < self.weights.share < _ENOUGH:
            self.proposal = self.proposal.adapted(values, np.concatenate(self._chains.log_weight))
            self._pilot()
        self.between = int(np.clip(np.ceil(_AIM / max(self.weights.share, 1e-9)), 1, _MOST_BETWEEN))
        require_density(bool(np.isfinite(self.weights.log_mean)), self.weights.n)

    def _pilot(self) -> np.ndarray:
        """Begin chains anew, with candidates that say how well the proposal does: (n, dim)."""
        self._chains = Chains(self._settings.chains)
        self._copies.begin()
        found = self._candidates(-(-PILOT // self._settings.chains))
        self._chains.step(*found, self._chances)
        self.weights = self._chains.weights
        return found[0]

    def _candidates(self, steps: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Values, log densities and log weights of candidates for so many steps of all chains."""
        values, log_proposal = self.proposal.draw(steps * self._settings.chains, self._rng)
        log_density = np.full(len(values), -np.inf)
        usable = np.isfinite(log_proposal)
        cores = cores_used(self._spec)
        log_density[usable] = self._posterior.log_densities(values[usable], cores)
        self._copies.keep(values, log_density)
        return values, log_density, np.where(usable, log_density - log_proposal, -np.inf)

    def holds(self, most_shape: float = MOST_SHAPE) -> bool:
        """Whether the proposal is near enough to the posterior for chains to be relied on."""
        found = self.weights
        light = found.shape <= most_shape or found.share >= NEARLY_ALL
        return found.share >= _LEAST_SHARE and light

    @property
    def numbers(self) -> str:
        """What that is judged by, as a sentence goes on."""
        found = self.weights
        return (
            f"{found.n:,} candidates {percent(found.share, 0, _LEAST_SHARE)} are effective, their "
            f"weights' Pareto shape is {fixed(found.shape, 2, MOST_SHAPE)}"
        )

    def blocks(self, report: Progress, control: Control) -> Iterator[None]:
        """Draw some at a time, until there are as many as asked for or it is stopped."""
        settings, between = self._settings, self.between
        n_chains, n_draws = settings.chains, settings.draws
        block = max(1, PILOT // (n_chains * between))
        try:
            while self._done < n_draws and not control.stopped:
                control.hold()
                steps = min(block, n_draws - self._done)
                found = self._candidates(steps * between)
                values, density, chance = self._chains.step(*found, self._chances)
                rate = chance.reshape(steps, between, n_chains).mean(axis=1)
                kept = slice(between - 1, None, between)
                if self._chains.n >= 2 * self.weights.n:
                    self.weights = self._chains.weights
                self._parts.append((values[kept], density[kept], rate))
                self._done += steps
                note = f"acceptance {np.mean(rate):.2f}"
                report("sample", self._done * n_chains, n_draws * n_chains, note)
                yield
        except KeyboardInterrupt:
            pass
        self.weights, self.interrupted = self._chains.weights, self._done < n_draws

    def draws(self) -> Draws:
        """All draws, or those finished when it was stopped."""
        if self._done < LEAST_DRAWS:
            raise KeyboardInterrupt(_TOO_EARLY)
        values, density, rate = (
            np.concatenate([part[i] for part in self._parts]).swapaxes(0, 1) for i in range(3)
        )
        problem = self._posterior.problem
        prior = prior_densities(problem, values.reshape(-1, values.shape[-1]))
        likelihood = density - prior.reshape(density.shape)
        return Draws(
            expanded(problem, self._spec, values),
            {"logp": density, "log_likelihood": likelihood, "acceptance_rate": rate},
            np.arange(self._settings.chains),
            {
                "sample_seconds": time.perf_counter() - self._began,
                "partial": int(self.interrupted),
                "proposal": json.dumps(self._described(float(rate.mean()))),
            },
        )

    def _described(self, acceptance: float) -> dict[str, object]:
        weights = self.weights
        return {
            "acceptance": acceptance,
            "share": weights.share,
            "shape": weights.shape if np.isfinite(weights.shape) else None,
            "largest": weights.largest,
            "candidates": weights.n,
            "between": self.between,
            "modes": len({id(normal.chart) for normal in self.proposal.normals}),
            **self._evidence(weights),
        }

    def _evidence(self, weights: Weights) -> dict[str, object]:
        """log p(data) on the users' scale and its Monte Carlo error; None of too many copies."""
        spec, of_copies = self._spec, {}
        scaled = self._posterior.log_density.log_jacobian
        if self._copies.free:
            symmetric = self._copies.log_weights(self.proposal)
            if symmetric is None:
                return {"log_evidence": None, "log_evidence_error": None}
            weights = weigh(symmetric)
            shape = weights.shape if np.isfinite(weights.shape) else None
            of_copies = {"evidence_shape": shape, "evidence_share": weights.share}
        elif spec.n_clusters > 1 and spec.exchangeable:
            scaled += float(gammaln(spec.n_clusters + 1))
        found = float(weights.log_mean + scaled)
        return {"log_evidence": found, "log_evidence_error": weights.error, **of_copies}
