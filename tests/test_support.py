"""Draws at the edges of float64 are findings and named refusals, never exceptions from below."""

from collections.abc import Callable

import numpy as np
import pytest
import xarray as xr
from synthetic import fitted_tree

import jointmix as jm
from jointmix.base.errors import SchemaError
from jointmix.posterior.draws import fitted_spec
from jointmix.posterior.support import outside_support

#: What one draw of the first cluster is set to.
EDGES = [
    *(("sd", value) for value in (0.0, 1e-200, 1e200, np.inf, np.nan, -1.0)),
    *(("sigma", value) for value in (0.0, 1e-194, np.inf, np.nan)),
    *(("correlation", value) for value in (1.0, -1.0, 1 - 1e-16, 2.0, np.nan)),
    *(("weight", value) for value in (-0.1, np.inf, np.nan)),
    *(
        (name, value)
        for name in ("mean", "slope", "intercept")
        for value in (-np.inf, 1e200, np.nan)
    ),
]
#: What reads draws and works out densities from them.
READERS: dict[str, Callable[[xr.DataTree], object]] = {
    "predict": jm.predict,
    "responsibilities": jm.responsibilities,
    "log_density": jm.log_density,
    "loo": jm.loo,
    "partition": jm.partition,
    "r_squared": jm.r_squared,
    "replicate": lambda tree: jm.replicate(tree, draws=10),
    "predictive_draws": lambda tree: jm.predictive_draws(tree, draws=10),
}


@pytest.fixture(scope="module")
def whole() -> xr.DataTree:
    return fitted_tree(3, 3, 60)


def doctored(tree: xr.DataTree, name: str, value: float) -> xr.DataTree:
    found = tree.copy(deep=True)
    values = found["posterior"][name].values
    if name == "correlation":
        values[1, 7, 0, 0, 1] = values[1, 7, 0, 1, 0] = value
    else:
        values[1, 7, 0] = value
    return found


@pytest.mark.parametrize(("name", "value"), EDGES)
def test_one_draw_at_an_edge_is_a_failure_by_name(
    name: str, value: float, whole: xr.DataTree
) -> None:
    tree = doctored(whole, name, value)
    (draws,) = outside_support(tree["posterior"].to_dataset(), fitted_spec(tree)).values()
    assert np.argwhere(draws).tolist() == [[1, 7]]
    diagnosis = jm.diagnose(tree)
    assert diagnosis.verdict == "DO NOT USE"
    finding = diagnosis.findings[0]
    assert (finding.code, finding.status) == ("support", "fail")
    assert f"{name} in 1 draw." in finding.message
    assert finding.value == 1 / draws.size
    jm.summary(tree)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(
    ("name", "value"), [("sigma", 0.0), ("correlation", 1.0), ("mean", np.nan)]
)
def test_densities_of_such_draws_are_refused(
    name: str, value: float, reader: str, whole: xr.DataTree
) -> None:
    tree = doctored(whole, name, value)
    with pytest.raises(SchemaError, match=f"A draw of '{name}' left what densities take"):
        READERS[reader](tree)


def test_what_densities_take_passes(whole: xr.DataTree) -> None:
    assert jm.diagnose(whole).findings[0].status == "ok"
    for name, value in (("sd", 1e-140), ("sigma", 1e140), ("weight", 0.0)):
        tree = doctored(whole, name, value)
        assert outside_support(tree["posterior"].to_dataset(), fitted_spec(tree)) == {}
