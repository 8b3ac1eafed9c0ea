"""The marginal likelihood of a fit, from the weights of its candidates."""

import json
from dataclasses import dataclass

import numpy as np
import xarray as xr

from jointmix.base.errors import SamplingError, SchemaError
from jointmix.base.numbers import fixed
from jointmix.base.shown import Glance, Shown
from jointmix.model.settings import LARGEST_PARETO_SHAPE, NEARLY_ALL


@dataclass(frozen=True, repr=False)
class Evidence(Shown):
    """log p(data | model), natural log, on the users' scale.

    Attributes
    ----------
    value
        The estimate.
    error
        Its Monte Carlo standard error.

    Examples
    --------
    >>> jm.Evidence(value=-120.5, error=0.02).value
    -120.5
    """

    value: float
    error: float

    def _printed(self) -> list[str]:
        return [f"log p(data) = {fixed(self.value, 2)} ± {fixed(self.error, 3)}"]

    def _glance(self) -> Glance:
        return Glance(
            head="Evidence",
            columns=("", "log p(data)", "Monte Carlo error"),
            rows=(("this model", fixed(self.value, 2), fixed(self.error, 3)),),
        )


def log_evidence(tree: xr.DataTree) -> Evidence:
    """log p(data | model) of a fit by independence chains, with its Monte Carlo error.

    The mean of the posterior's density over the proposal's, at all candidates (importance sampling;
    Hammersley and Handscomb 1964), times K! where one of the K! orders of the labels was sampled.
    Where labels were left free, the proposal is made as symmetric in them as the posterior is, by
    its mean over all K! orders, of up to six clusters.
    It is the joint density of features and response, given the predictors that are no features.
    Unlike a posterior it depends on how wide the priors are: where one parameter of each cluster
    has a prior ten times as wide, it is less by K log 10.

    Parameters
    ----------
    tree
        A fit with ``sampler="independence"``, or with ``"auto"`` where that took it.

    Raises
    ------
    SchemaError
        If the fit was sampled otherwise, or labels of more than six clusters were left free.
    SamplingError
        If the weights are unreliable: their Pareto k̂ above 0.7 (Vehtari et al. 2024), and less than
        nine in ten effective.

    Examples
    --------
    >>> import jointmix as jm
    >>> table = {"width": [1.2, 0.4, -0.3, 2.2, 0.9, 1.1, 0.2, -0.8]}
    >>> settings = jm.SamplerSpec(sampler="independence", draws=250)
    >>> spec = jm.ModelSpec(n_clusters=1, features=["width"], sampler=settings)
    >>> found = jm.log_evidence(jm.fit(table, spec, progress=False))
    >>> found.error < 0.05
    True
    """
    refusal = _refusal(tree)
    if refusal is not None:
        raise refusal
    found = json.loads(tree.attrs["proposal"])
    return Evidence(float(found["log_evidence"]), float(found["log_evidence_error"]))


def has_evidence(tree: xr.DataTree) -> bool:
    """Whether `log_evidence` of a fit is known."""
    return _refusal(tree) is None


def _refusal(tree: xr.DataTree) -> SchemaError | SamplingError | None:
    """Why the evidence of a fit is not known; None where it is."""
    stored = tree.attrs.get("proposal")
    if not stored:
        return SchemaError(
            "The evidence comes with independence chains, and this fit was sampled otherwise; fit "
            "with sampler='independence'."
        )
    found = json.loads(stored)
    if found["log_evidence"] is None:
        return SchemaError(
            "Labels of too many clusters were left free in this fit, so that the weight of their "
            "orders is not known; fit with an ordering."
        )
    stated = found.get("evidence_shape", found["shape"])
    shape = np.inf if stated is None else float(stated)
    if shape <= LARGEST_PARETO_SHAPE or found.get("evidence_share", found["share"]) >= NEARLY_ALL:
        return None
    return SamplingError(
        f"The weights behind the evidence are unreliable (Pareto k = "
        f"{fixed(shape, 2, LARGEST_PARETO_SHAPE)}, above {LARGEST_PARETO_SHAPE}); use fewer "
        "clusters, or tighter priors."
    )
