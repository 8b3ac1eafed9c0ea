"""Is there a mode with some of the posterior's mass that no chain has been to?"""

import numpy as np
import xarray as xr

from jointmix.base.numbers import percent
from jointmix.base.schema import require_group
from jointmix.checks.finding import Finding, listed

CODE = "mass"
SUBJECT = "other modes"
SOURCE = "Laplace's approximation at each mode of the posterior that EM leads to"
#: Mass of a mode from which it matters, and the share of it that draws must have at least.
LEAST_MASS, LEAST_VISITED = 0.05, 0.1


def check(tree: xr.DataTree) -> tuple[Finding, ...]:
    """Judge by the mass of the modes that draws have hardly been near to.

    Chains that are sent to one mode stay there where others are far, and R-hat does not see it.
    """
    modes = require_group(tree, "modes")
    if "mass" not in modes or modes.sizes["mode"] == 1 or np.isnan(modes["mass"]).any():
        return ()
    mass, visits = modes["mass"].values, modes["visits"].values
    missed = np.flatnonzero((mass > LEAST_MASS) & (visits < LEAST_VISITED * mass))
    missed = missed[np.argsort(-mass[missed], kind="stable")]
    return (
        Finding(
            code=CODE,
            subject=SUBJECT,
            status="caution" if missed.size else "ok",
            value=float(mass[missed].sum()),
            threshold=LEAST_MASS,
            message=_message(modes, missed),
            remedy="Fit with scouts, which sends chains there too; report both solutions, or use "
            "fewer clusters."
            if missed.size
            else "",
            source=SOURCE,
        ),
    )


def _message(modes: xr.Dataset, missed: np.ndarray) -> str:
    names, mass, visits = (modes[name].values for name in ("mode", "mass", "visits"))
    if not missed.size:
        return "The draws have been to every mode with more than 5% of the posterior's mass."
    where = listed([f"mode {names[at]} ({percent(mass[at], 0, LEAST_MASS)})" for at in missed])
    home = int(visits.argmax())
    return (
        f"The draws have hardly been to {where}; they are nearest to mode {names[home]}, which "
        f"holds {percent(mass[home], 0)} of the posterior's mass."
    )
