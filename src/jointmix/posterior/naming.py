"""What clusters are called: by their number, or as whoever looked at them calls them."""

import json
import re
from collections.abc import Mapping

import numpy as np
import xarray as xr
from scipy.optimize import linear_sum_assignment

from jointmix.base.arguments import shown
from jointmix.base.errors import SchemaError, SpecError
from jointmix.base.schema import CLUSTER, OBS, require_dims, require_group

#: The attribute of a tree that holds the names given, JSON by the cluster's number.
NAMES = "cluster_names"
_MOST_SIGNS = 200
#: "cluster 3", "Clusters 1, 2 and 4", "clusters, 1 and 2,", "cluster 1 − cluster 2".
_NUMBERS = re.compile(r"\b[Cc]lusters? \d+(?:(?:, | and )\d+)*\b|\b[Cc]lusters, \d+ and \d+\b")


def with_names(tree: xr.DataTree, names: Mapping[int, str]) -> xr.DataTree:
    """A fit that calls its clusters by names, wherever they are printed or drawn.

    Parameters
    ----------
    tree
        A fitted tree; it is not changed.
    names
        Names by the cluster's number, as ``{1: "Adelie-like", 3: "Gentoo-like"}``; clusters left
        out are called by their number. They take the place of names given before: ``{}`` takes
        all names away.

    Returns
    -------
    xarray.DataTree
        The same fit. Names are saved with it, and `identify` leaves them with the rows.

    Raises
    ------
    SpecError
        If a cluster is unknown, or a name is no text, empty, or another cluster's too.
    SchemaError
        If the tree is not a fit with identified draws.

    Examples
    --------
    >>> import jointmix as jm
    >>> table = jm.simulate(jm.four_clusters(2), 100, seed=1)
    >>> quick = jm.SamplerSpec(sampler="laplace", draws=100, chains=2)
    >>> tree = jm.fit(table, jm.ModelSpec(n_clusters=2, features=["x1", "x2"], sampler=quick))
    >>> named = jm.with_names(tree, {1: "low", 2: "high"})
    >>> jm.summary(named).index[0]
    'weight[low]'
    """
    given = checked_names(names, cluster_numbers(tree))
    kept = tree.copy()
    kept.attrs.pop(NAMES, None)
    if given:
        kept.attrs[NAMES] = json.dumps({str(number): given[number] for number in sorted(given)})
    return kept


def checked_names(names: object, numbers: tuple[int, ...]) -> dict[int, str]:
    """Names by number, if they are names of some of the clusters with these numbers.

    Raises
    ------
    SpecError
        If a cluster is unknown, or a name is no text, empty, or another cluster's too.
    """
    if not isinstance(names, Mapping):
        raise SpecError(
            "Names of clusters must be a mapping of their numbers to texts, as "
            f"{{1: 'small'}}; got {shown(names)}."
        )
    given: dict[int, str] = {}
    for number, name in names.items():
        whole = isinstance(number, int | np.integer) and not isinstance(number, bool)
        if not whole or number not in numbers:
            known = f"1 to {len(numbers)}" if len(numbers) > 1 else "1 only"
            raise SpecError(f"There is no cluster {shown(number)} to name; clusters are {known}.")
        if not isinstance(name, str) or not name.strip():
            raise SpecError(
                f"The name of cluster {number} must be a text that is not empty; got {shown(name)}."
            )
        if len(name) > _MOST_SIGNS:
            raise SpecError(
                f"The name of cluster {number} has {len(name)} signs; {_MOST_SIGNS} are allowed."
            )
        given[int(number)] = name.strip()
    called: dict[str, int] = {}
    for number in numbers:
        name = given.get(number, numbered(number))
        if name in called:
            raise SpecError(
                f"Clusters {called[name]} and {number} would both be called {shown(name)}; give "
                "each a name of its own."
            )
        called[name] = number
    return given


def numbered(number: int) -> str:
    """What a cluster without a name is called."""
    return f"cluster {number}"


def cluster_numbers(tree: xr.DataTree) -> tuple[int, ...]:
    """The clusters' numbers, in their order.

    Raises
    ------
    SchemaError
        If the tree has no draws whose labels were identified.
    """
    posterior = require_group(tree, "posterior")
    if CLUSTER not in posterior.dims:
        for draws in posterior.data_vars.values():
            require_dims(draws, (CLUSTER,))
        raise SchemaError("The posterior has no clusters; fit the model with jointmix.fit.")
    return tuple(int(number) for number in posterior[CLUSTER].values)


def given_names(tree: xr.DataTree) -> dict[int, str]:
    """The names that `with_names` gave, by number; empty where it gave none.

    Raises
    ------
    SchemaError
        If what the tree keeps is damaged.
    """
    kept = tree.attrs.get(NAMES)
    if kept is None:
        return {}
    try:
        return {int(number): str(name) for number, name in json.loads(kept).items()}
    except (AttributeError, TypeError, ValueError) as error:
        raise SchemaError(
            f"The tree's attribute {NAMES!r} is damaged; name the clusters again (with_names)."
        ) from error


def explained(text: str, given: Mapping[int, str]) -> str:
    """A sentence in which names stand behind the numbers of clusters: "cluster 1 (small)"."""

    def named(number: re.Match[str]) -> str:
        name = given.get(int(number[0]))
        return number[0] if name is None else f"{number[0]} ({name})"

    return _NUMBERS.sub(lambda found: re.sub(r"\d+", named, found[0]), text)


def carried_names(tree: xr.DataTree, identified: xr.DataTree) -> xr.DataTree:
    """A fit identified anew, whose names stay with the rows that had them.

    Clusters are matched one to one, so that most responsibility stays (Kuhn 1955).
    """
    given = given_names(tree)
    if not given:
        return identified
    before, after = (
        each["allocation"]["responsibility"].transpose(OBS, CLUSTER).values
        for each in (tree, identified)
    )
    _, moved = linear_sum_assignment(before.T @ after, maximize=True)
    old, new = cluster_numbers(tree), cluster_numbers(identified)
    return with_names(
        identified,
        {new[moved[k]]: given[number] for k, number in enumerate(old) if number in given},
    )


def cluster_names(tree: xr.DataTree) -> dict[int, str]:
    """What each cluster is called inside a sentence: its name, or "cluster 2"."""
    numbers = cluster_numbers(tree)
    given = given_names(tree)
    return {number: given.get(number, numbered(number)) for number in numbers}


def cluster_titles(tree: xr.DataTree) -> dict[int, str]:
    """What each cluster is called where a line begins: its name, or "Cluster 2"."""
    numbers = cluster_numbers(tree)
    given = given_names(tree)
    return {number: given.get(number, numbered(number).capitalize()) for number in numbers}
