"""Fits saved by version 0.1.0 (schema 1) load, predict and report as they did then.

``response.nc`` and ``features.zarr.zip`` in ``saved/`` were written by 0.1.0, and the values beside
them are what it computed from them. They were made once, with `outputs` below, by

    z, noise = rng.integers(0, 2, 40), rng.normal(size=(3, 40))     # rng = default_rng(7)
    width = 14 + 3 * z + 0.8 * noise[0]
    table = {
        "width_mm": width.round(1),
        "length/depth": (2.4 - 0.7 * z + 0.05 * (width - 14) + 0.15 * noise[1]).round(2),
        "age": (age := rng.integers(1, 12, 40)),
        "mass_g": (
            3500 + 1400 * z + (90 - 40 * z) * (width - 14) + 25 * age + 120 * noise[2]
        ).round(),
    }
    features = ("width_mm", "length/depth")
    few = {"sampler": jm.SamplerSpec(chains=2, draws=40, tune=200), "n_clusters": 2}
    response = {"predictors": ("width_mm", "age"), "response": "mass_g"}
    tree = jm.fit(table, jm.ModelSpec(features=features, **response, **few))
    other = jm.fit(table, jm.ModelSpec(features=features, covariance="tied", **few))

    jm.save(tree, path), and path with the suffix .json: json.dumps(outputs(tree))

and are not to be made anew: a later version that needs other files has broken those of its users.
Forty draws a chain are too few for any use, which is part of what is held: the verdict says so.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import jointmix as jm

SAVED = Path(__file__).parent / "saved"
FITS = {"response": SAVED / "response.nc", "features": SAVED / "features.zarr.zip"}

#: Formulas are deterministic in the draws, so that another order of summation, another BLAS or
#: another libm may change the last digits alone: a few hundred roundings of 2e-16.
TOLERANCE = 1e-12
#: ArviZ's estimators, which a later ArviZ may refine.
ARVIZ, ARVIZ_TOLERANCE = {"mcse_mean", "mcse_probability", "ess_bulk", "ess_tail", "r_hat"}, 1e-6

#: Rows that the fits have not seen: typical ones, one between the clusters, one far off, and one
#: without its width, which is a predictor too.
NEW = pd.DataFrame(
    {
        "width_mm": [16.8, 13.9, 15.4, 22.0, np.nan],
        "length/depth": [1.82, 2.41, 2.07, 2.9, 2.3],
        "age": [3, 7, 5, 1, 11],
        "mass_g": [5000.0, 3700.0, 4300.0, 5200.0, 3900.0],
    }
)


def outputs(tree: xr.DataTree) -> dict[str, Any]:
    """What the public functions say of a fit, as JSON has it: the verdict, the spec, numbers."""
    whole = NEW.dropna()
    found = {
        "log_density": jm.log_density(tree, whole),
        "responsibilities": jm.responsibilities(tree, NEW),
        "responsibilities of the fit": jm.responsibilities(tree),
        "summary": jm.summary(tree),
        "contrasts": jm.contrasts(tree, ("weight", "mean", "sd", "intercept", "slope", "sigma")),
    }
    if "y" in tree["observed_data"]:
        found["predict"] = jm.predict(tree, NEW, quantiles=(0.05, 0.5, 0.95))
        found["r_squared"] = jm.r_squared(tree)
    return {
        "verdict": jm.diagnose(tree).verdict,
        "spec": json.loads(tree.attrs["spec"]),
        "numbers": {name: _lists(value) for name, value in found.items()},
    }


def _lists(found: xr.Dataset | pd.DataFrame) -> dict[str, Any]:
    """Its numbers by name, NaN and infinities among them, which Python's JSON writes and reads."""
    if isinstance(found, pd.DataFrame):
        return {"rows": list(found.index)} | {name: found[name].tolist() for name in found}
    return {str(name): values.values.tolist() for name, values in found.data_vars.items()}


@pytest.fixture(scope="module", params=FITS)
def fit(request: pytest.FixtureRequest) -> tuple[xr.DataTree, dict[str, Any]]:
    """A saved fit, and what 0.1.0 computed from it."""
    golden = SAVED / f"{request.param}.json"
    return jm.load(FITS[request.param]), json.loads(golden.read_text(encoding="utf-8"))


def test_a_saved_fit_says_what_it_said(fit: tuple[xr.DataTree, dict[str, Any]]) -> None:
    tree, golden = fit
    found = outputs(tree)
    assert found["verdict"] == golden["verdict"]
    assert found["spec"] == golden["spec"]
    # A later version may say more, not less.
    assert set(golden["numbers"]) <= set(found["numbers"])
    for function, values in golden["numbers"].items():
        for name, expected in values.items():
            where, now = f"{function}: {name}", found["numbers"][function][name]
            if name == "rows":
                assert now == expected, where
                continue
            tolerance = ARVIZ_TOLERANCE if name in ARVIZ else TOLERANCE
            # Differences of what is nearly equal are as exact as what they were taken from.
            size = np.nanmax(np.abs(expected), initial=0.0, where=np.isfinite(expected))
            np.testing.assert_allclose(
                now, expected, rtol=tolerance, atol=tolerance * size, err_msg=where
            )


def test_a_saved_fit_has_a_report(fit: tuple[xr.DataTree, dict[str, Any]], tmp_path: Path) -> None:
    tree, golden = fit
    page = jm.report(tree, tmp_path / "report.html").read_text(encoding="utf-8")
    assert golden["verdict"] in page
    assert "length/depth" in page
