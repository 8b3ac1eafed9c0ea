"""Log prior of identified draws against PyMC, and sensitivities against what they must be."""

import json

import numpy as np
import pymc as pm
import pytensor
import pytest
import xarray as xr
from synthetic import fitted_tree

from jointmix.base.errors import SchemaError
from jointmix.base.schema import COMPONENT
from jointmix.families.priors.priors import Normal, Priors
from jointmix.fitting.workflow import fit
from jointmix.kernel.fused import build_model
from jointmix.model.dataset import make_dataset
from jointmix.model.serialised import spec_from_dict
from jointmix.model.settings import SamplerSpec
from jointmix.model.spec import ModelSpec
from jointmix.posterior.draws import draw_parameters, fitted_scaling, observed_table
from jointmix.posterior.sensitivity import log_prior, sensitivity

N_DRAWS = 20
FAST = {"mode": "FAST_COMPILE"}

STRUCTURES: dict[str, dict] = {
    "full": {},
    "diagonal": {"covariance": "diagonal"},
    "spherical": {"covariance": "spherical"},
    "tied": {"covariance": "tied", "noise": "shared"},
}
OTHER_PRIORS = {
    "weight": {"family": "dirichlet", "concentration": 3.5},
    "mean": {"family": "student_t", "df": 4.0, "loc": 0.3, "scale": 1.5},
    "sd": {"family": "gamma", "shape": 2.0, "rate": 3.0},
    "correlation": {"family": "lkj", "eta": 1.0},
    "intercept": {"family": "normal", "loc": -0.2, "scale": 1.1},
    "slope": {"family": "student_t", "df": 5.0, "loc": 0.0, "scale": 0.8},
    "sigma": {"family": "log_normal", "loc": -0.5, "scale": 0.7},
}


def prior_tree(model: dict, priors: dict) -> tuple[xr.DataTree, pm.Model]:
    """Draws of a PyMC model's prior as a fit on the users' scale, and the model."""
    tree = fitted_tree(n_obs=80, n_features=2)
    stored = json.loads(tree.attrs["spec"])
    stored["model"] |= model
    stored["priors"] = stored["priors"] | priors
    tree.attrs["spec"] = json.dumps(stored)
    spec = spec_from_dict(stored)
    dataset = make_dataset(observed_table(tree, spec), spec)
    compiled = build_model(dataset, spec)
    with compiled:
        sampled = pm.sample_prior_predictive(N_DRAWS, random_seed=3, compile_kwargs=FAST)
    drawn = sampled["prior"].to_dataset()
    names = [name for name in tree["posterior"].data_vars if name in drawn]
    parameters = fitted_scaling(tree, spec).to_users(draw_parameters(drawn[names], COMPONENT, spec))
    posterior = tree["posterior"].to_dataset().isel(chain=[0], draw=slice(N_DRAWS)).copy(deep=True)
    for name, values in parameters.each().items():
        if name in posterior:
            posterior[name].values[:] = values[None]
    assert parameters.cholesky is not None
    sd = np.linalg.norm(parameters.cholesky, axis=-1)
    factor = parameters.cholesky / sd[..., None]
    posterior["sd"].values[:] = sd[None]
    posterior["correlation"].values[:] = (factor @ factor.swapaxes(-1, -2))[None]
    found = xr.DataTree.from_dict({"posterior": posterior, "scaling": tree["scaling"].to_dataset()})
    found.attrs = tree.attrs
    return found, compiled


@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize("priors", [{}, OTHER_PRIORS], ids=["default", "others"])
def test_the_log_prior_is_pymcs(structure: str, priors: dict) -> None:
    tree, model = prior_tree(STRUCTURES[structure], priors)
    with model:
        drawn = pm.sample_prior_predictive(N_DRAWS, random_seed=3, compile_kwargs=FAST)["prior"]
    # Of the variables as the model has them; with η = 1 and two features the partial correlation
    # is uniform.
    expected = np.zeros(N_DRAWS)
    for variable in model.free_RVs:
        value = variable.type("value")
        density = pytensor.function([value], pm.logp(variable, value).sum(), mode="FAST_COMPILE")
        expected += [float(density(one)) for one in drawn[variable.name].values[0]]
    gap = log_prior(tree).values[0] - expected
    # Up to a constant, and the rounding of the way to the users' scale and back.
    assert np.ptp(gap) <= 1e-8 * np.abs(expected).max()


def test_a_prior_against_the_data_is_felt_and_a_wide_one_is_not() -> None:
    rng = np.random.default_rng(8)
    x = rng.normal(size=60)
    table = {"x": x, "y": 0.5 * x + rng.normal(size=60)}
    sampler = SamplerSpec(chains=2, draws=500, tune=300)
    found = {}
    for name, prior in (("wide", Normal(scale=2.5)), ("against", Normal(loc=3.0, scale=0.3))):
        spec = ModelSpec(
            n_clusters=1,
            predictors=["x"],
            response="y",
            priors=Priors(slope=prior),
            sampler=sampler,
        )
        found[name] = sensitivity(fit(table, spec)).filter(like="slope", axis=0).iloc[0]
    assert found["wide"]["prior"] < 0.05
    assert found["wide"]["likelihood"] > 0.05
    assert not found["wide"]["diagnosis"]
    assert found["against"]["prior"] > 0.05
    assert "conflict" in found["against"]["diagnosis"]


def test_a_tree_without_draws_is_refused() -> None:
    tree = fitted_tree(n_obs=60)
    del tree["posterior"]
    with pytest.raises(SchemaError, match="posterior"):
        sensitivity(tree)
