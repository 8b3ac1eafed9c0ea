"""What prints in a script and shows in a notebook is short, and made for people."""

from importlib.metadata import version

import pandas as pd
from synthetic import fitted_tree

import jointmix as jm


def test_values_print_as_their_texts() -> None:
    tree = fitted_tree(2, 2, 60)
    table = pd.DataFrame(tree["observed_data"]["x"].values, columns=["x1", "x2"])
    spec = jm.ModelSpec(n_clusters=2, features=("x1", "x2"))
    for found in (jm.diagnose(tree), jm.loo(tree), jm.check(table, spec)):
        assert repr(found) == str(found)
        assert len(str(found)) < 1_000
        assert not str(found).startswith(type(found).__name__)


def test_the_version_is_that_of_the_package() -> None:
    assert jm.__version__ == version("jointmix")
