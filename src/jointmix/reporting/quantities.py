"""Numbers behind the report's pictures and sentences, from draws and responsibilities."""

import numpy as np
import xarray as xr

from jointmix.base.schema import CLUSTER
from jointmix.plots.geometry import Line as Line
from jointmix.plots.geometry import ellipse as ellipse
from jointmix.plots.geometry import feature_covariance as feature_covariance
from jointmix.plots.geometry import regression_line as regression_line
from jointmix.plots.geometry import separating_pair as separating_pair
from jointmix.plots.reading import MOST_ROWS
from jointmix.plots.reading import thinned as thinned
from jointmix.reporting.fitted import FittedView

SHARP = 0.9
#: Panels of one figure beyond which each draws few rows, and how many.
_FEW_PANELS, _FEW_ROWS = 4, 250


def most_rows(n_panels: int) -> int:
    """Rows that each panel of a figure draws, so that a page stays small enough to send."""
    return MOST_ROWS if n_panels <= _FEW_PANELS else _FEW_ROWS


def entropy_bits(responsibility: xr.DataArray) -> xr.DataArray:
    """Entropy of each row's responsibilities, −Σ_k r_k log₂ r_k, in bits, [obs]."""
    safe = responsibility.where(responsibility > 0, 1.0)
    return -(safe * np.log2(safe)).sum(CLUSTER)


def sharp_share(view: FittedView, responsibility: xr.DataArray) -> float:
    """Share of rows whose largest responsibility exceeds 0.9."""
    return view.average(responsibility.max(CLUSTER) > SHARP)
