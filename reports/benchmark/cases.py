"""The posteriors that are sampled: a model, simulated rows, and the parameters they came from."""

import re
from dataclasses import dataclass, replace

import numpy as np

from jointmix.base.errors import SpecError
from jointmix.families import block_class, response_families
from jointmix.families.parameters import Parameters
from jointmix.families.priors.priors import Dirichlet, Fixed, Normal, Priors
from jointmix.model.dataset import Dataset, make_dataset
from jointmix.model.packing import unpacked
from jointmix.model.settings import SamplerSpec
from jointmix.model.simulate import four_clusters, simulate
from jointmix.model.spec import ModelSpec
from jointmix.model.truth import Truth
from jointmix.modes.census import Mode
from jointmix.modes.em import fit_em
from jointmix.modes.initial import Start, make_start
from jointmix.modes.ordering import choose_ordering

#: Models by name, with what they are for people.
MODELS = {
    "script": "the original script's model",
    "full": "full covariances",
    "student_t": "full covariances and a Student-t response",
    **{
        name: f"full covariances and a response of the family {name}"
        for name in response_families()
        if name not in ("normal", "student_t")
    },
}
_DATA_SEED = 1


@dataclass(frozen=True, order=True)
class Case:
    """A model and the size of its data.

    Attributes
    ----------
    model
        "script", the original script's model with known covariances and noise, "full", or a
        family of the response.
    n, k, d
        Rows, clusters and features; the features are the predictors too.
    """

    model: str
    n: int
    k: int
    d: int

    @property
    def name(self) -> str:
        """As `parse_case` reads it."""
        return f"{self.model}-{self.n}-{self.k}-{self.d}"

    @property
    def size(self) -> str:
        """N, K and D for people."""
        return f"N = {self.n:,}, K = {self.k}, D = {self.d}"

    @property
    def title(self) -> str:
        """Model and size for people."""
        return f"{MODELS[self.model]}, {self.size}"


def parse_case(text: str) -> Case:
    """The case of a name such as "full-1000-4-2": model, rows, clusters, features.

    Raises
    ------
    SpecError
        If the text is no such name.
    """
    found = re.fullmatch(rf"({'|'.join(MODELS)})-(\d+)-(\d+)-(\d+)", text)
    if found is None:
        raise SpecError(f"A case is named as in 'full-1000-4-2'; got {text!r}.")
    model, *numbers = found.groups()
    return Case(model, *(int(number) for number in numbers))


@dataclass(frozen=True, eq=False)
class Posterior:
    """What is sampled, with the truth behind it.

    Attributes
    ----------
    truth
        Parameters the rows were drawn from, on the users' scale.
    values
        The same on the model's scale by name: weight (K), mean and sd (K, D), correlation
        (K, D, D), intercept (K), slope (K, D), sigma (K).
    """

    case: Case
    dataset: Dataset
    truth: Parameters
    values: dict[str, np.ndarray]

    @property
    def spec(self) -> ModelSpec:
        """The model."""
        return self.dataset.spec


def _truth(case: Case) -> Truth:
    family = "normal" if case.model in ("script", "full") else case.model
    trials = "trials" if block_class(family).counts_successes else None
    return four_clusters(case.k, case.d, family, trials=trials)


def make_spec(case: Case, sampler: SamplerSpec | None = None) -> ModelSpec:
    """The specification of a case: the package's defaults, or the original script's priors."""
    spec = replace(_truth(case).spec, sampler=sampler or SamplerSpec())
    if case.model != "script":
        return spec
    priors = Priors(
        weight=Dirichlet(concentration=1 / case.k),
        mean=Normal(scale=10**0.5),
        slope=Normal(scale=10**0.5),
        intercept=Normal(scale=10.0),
        covariance=Fixed(value=0.1),
        sigma=Fixed(value=0.5),
    )
    return replace(spec, covariance="fixed", noise="fixed", standardize=False, priors=priors)


def make_posterior(case: Case, sampler: SamplerSpec | None = None) -> Posterior:
    """Draw the rows of a case, always the same ones, and put truth and model beside them.

    Parameters
    ----------
    sampler
        How the package is to sample; defaults if None.
    """
    truth, spec = _truth(case), make_spec(case, sampler)
    dataset = make_dataset(simulate(truth, case.n, _DATA_SEED), spec)
    values = unpacked(dataset.scaling.to_model(truth.parameters), spec)
    return Posterior(case, dataset, truth.parameters, values)


def start_by_em(posterior: Posterior, seed: int) -> Start:
    """Where `jointmix.fit` would start its chains."""
    census = fit_em(posterior.dataset, posterior.spec, seed)
    return _start(posterior, census.best, seed)


def start_at_truth(posterior: Posterior, seed: int) -> Start:
    """Starts around the truth: quicker to find, where a gradient's cost is all that is asked."""
    nan = float("nan")
    smallest = float(posterior.truth.weight.min())
    return _start(posterior, Mode(posterior.truth, nan, 0, nan, nan, smallest, nan, False), seed)


def _start(posterior: Posterior, mode: Mode, seed: int) -> Start:
    dataset = posterior.dataset
    return make_start(mode, dataset, choose_ordering(mode, dataset, seed))
