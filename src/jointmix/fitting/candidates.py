"""The models of a comparison: numbers of clusters under structures, screened by EM."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import pandas as pd

from jointmix.base.arguments import choice, several, whole_number
from jointmix.base.errors import SpecError
from jointmix.fitting.stages import Searched
from jointmix.model.spec import COVARIANCES, NOISES, ModelSpec

#: A model's place in the table of a comparison: K, or K and its structures.
Key = int | tuple[int | str, ...]

N_CLUSTERS = "n_clusters"
#: Structures that can be compared, what each may be, and whose it is.
_STRUCTURES = {
    "covariance": (COVARIANCES, "features"),
    "noise": (NOISES, "response"),
}
_NOISE_WORDS = {"cluster": "noise by cluster", "shared": "shared noise", "fixed": "fixed noise"}


@dataclass(frozen=True)
class Grid:
    """Models by their keys, and the names of the parts of a key."""

    names: tuple[str, ...]
    specs: dict[Key, ModelSpec]

    def index(self, keys: Iterable[Key]) -> pd.Index:
        """Keys as the index of a table."""
        if self.names == (N_CLUSTERS,):
            return pd.Index(list(keys), name=N_CLUSTERS)
        return pd.MultiIndex.from_tuples(list(keys), names=self.names)


def make_grid(
    spec: ModelSpec,
    n_clusters: Iterable[int],
    covariance: Iterable[str] | None,
    noise: Iterable[str] | None,
) -> Grid:
    """Every number of clusters under every structure; a model that is another's stands once.

    Raises
    ------
    SpecError
        If fewer than two models are asked for, a structure is unknown, or it is one of columns
        that the model has not.
    """
    given = several(N_CLUSTERS, n_clusters, "numbers of clusters")
    parts: dict[str, list[Any]] = {
        N_CLUSTERS: sorted({whole_number(N_CLUSTERS, number, 1) for number in given})
    }
    for name, values in (("covariance", covariance), ("noise", noise)):
        if values is not None:
            parts[name] = _structures(spec, name, values)
    specs: dict[Key, ModelSpec] = {}
    seen = set()
    for key in product(*parts.values()):
        each = _changed(spec, dict(zip(parts, key, strict=True)))
        if _identity(each) not in seen:
            seen.add(_identity(each))
            specs[key if len(parts) > 1 else key[0]] = each
    if len(specs) < 2:
        raise SpecError(
            "compare needs two numbers of clusters or more, or two structures; "
            f"got {parts[N_CLUSTERS]}."
        )
    return Grid(tuple(parts), specs)


def _structures(spec: ModelSpec, name: str, values: Iterable[str]) -> list[str]:
    allowed, role = _STRUCTURES[name]
    found = several(name, values, f"names of a {name}")
    for value in found:
        choice(name, value, allowed)
    if not getattr(spec, role):
        raise SpecError(f"A {name} to compare is that of the {role}; the model has none.")
    return list(dict.fromkeys(found))


def _changed(spec: ModelSpec, parts: dict[str, Any]) -> ModelSpec:
    try:
        return replace(spec, **parts)
    except SpecError as error:
        words = [_cluster_words(parts), *_structure_words(parts)]
        raise SpecError(f"With {', '.join(words)}: {error}") from error


def _identity(spec: ModelSpec) -> tuple[int, str, str]:
    """What tells models apart: one cluster's covariance is tied, one feature's is spherical."""
    covariance, noise = spec.covariance, spec.noise
    if (spec.n_clusters == 1 and covariance == "tied") or (
        len(spec.features) == 1 and covariance in ("diagonal", "spherical")
    ):
        covariance = "full"
    if spec.n_clusters == 1 and noise == "shared":
        noise = "cluster"
    return spec.n_clusters, covariance, noise


def screened(found: Searched) -> dict[str, Any]:
    """What EM says of a model: one row of a comparison's table."""
    best = found.census.best
    return {
        "n_parameters": found.spec.n_parameters,
        "log_likelihood": best.log_likelihood,
        "bic": best.bic,
        "icl": best.icl,
        "collapsed": best.collapsed,
    }


def promising(table: pd.DataFrame, models: pd.Index) -> list[Key]:
    """Of each number of clusters the structure with the least BIC, of each structure the number.

    Their number is at most the sum of the two, not the product; where only K varies, all are. A
    spike of the likelihood has no BIC worth the name: it comes after all others. Numbers and
    structures of which not all models have been screened have none yet.

    Parameters
    ----------
    table
        With ``bic`` and ``collapsed``, one row a model that has been screened.
    models
        All of them.
    """
    names, every = list(models.names), pd.DataFrame(index=models)
    groups = [[N_CLUSTERS], *([names[1:]] if names[1:] else [])]
    kept: set[Key] = set()
    for levels in groups:
        sizes = {label: len(part) for label, part in every.groupby(level=levels)}
        for label, part in table.groupby(level=levels, sort=False):
            if len(part) == sizes[label]:
                kept.add(least(part, "bic"))
    return [plain_key(key) for key in models if plain_key(key) in kept]


def least(table: pd.DataFrame, criterion: str) -> Key:
    """The model whose criterion is smallest, a collapsed one only where all are."""
    return plain_key(table.sort_values(["collapsed", criterion], kind="stable").index[0])


def plain_key(label: Any) -> Key:
    """A label of a table's index as a key, its number one of Python's own."""
    return (int(label[0]), *label[1:]) if isinstance(label, tuple) else int(label)


def parts_of(table: pd.DataFrame, key: Key) -> dict[str, Any]:
    """K and structures of a model, by name."""
    values = key if isinstance(key, tuple) else (key,)
    return dict(zip(table.index.names, values, strict=True))


def model_words(table: pd.DataFrame, key: Key) -> str:
    """A model in words: "3 clusters", "3 clusters with tied covariance and shared noise"."""
    parts = parts_of(table, key)
    structure = _structure_words(parts)
    return _cluster_words(parts) + (f" with {' and '.join(structure)}" if structure else "")


def short_words(table: pd.DataFrame, key: Key) -> str:
    """A model in short: "3", "3 (tied, shared noise)"."""
    parts = parts_of(table, key)
    structure = ", ".join(
        _NOISE_WORDS[value] if name == "noise" else str(value)
        for name, value in parts.items()
        if name != N_CLUSTERS
    )
    return f"{parts[N_CLUSTERS]} ({structure})" if structure else str(parts[N_CLUSTERS])


def _cluster_words(parts: dict[str, Any]) -> str:
    number = int(parts[N_CLUSTERS])
    return "1 cluster" if number == 1 else f"{number} clusters"


def _structure_words(parts: dict[str, Any]) -> list[str]:
    words = {
        "covariance": lambda value: f"{value} covariance",
        "noise": lambda value: _NOISE_WORDS[value],
    }
    return [words[name](value) for name, value in parts.items() if name in words]
