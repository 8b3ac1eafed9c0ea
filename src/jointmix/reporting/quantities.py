"""Numbers behind the report's pictures and sentences, from draws and responsibilities."""

import numpy as np
import xarray as xr

from jointmix.base.schema import CLUSTER
from jointmix.plots.geometry import Line as Line
from jointmix.plots.geometry import ellipse as ellipse
from jointmix.plots.geometry import feature_covariance as feature_covariance
from jointmix.plots.geometry import regression_line as regression_line
from jointmix.plots.geometry import separating_pair as separating_pair
from jointmix.plots.reading import thinned as thinned
from jointmix.reporting.fitted import FittedView

SHARP = 0.9


def entropy_bits(responsibility: xr.DataArray) -> xr.DataArray:
    """Entropy of each row's responsibilities, −Σ_k r_k log₂ r_k, in bits, [obs]."""
    safe = responsibility.where(responsibility > 0, 1.0)
    return -(safe * np.log2(safe)).sum(CLUSTER)


def sharp_share(view: FittedView, responsibility: xr.DataArray) -> float:
    """Share of rows whose largest responsibility exceeds 0.9."""
    return view.average(responsibility.max(CLUSTER) > SHARP)
