"""Parameters of a joint mixture as arrays by name, with any batch dims in front."""

from collections.abc import Iterator, Mapping

import numpy as np


class Parameters(Mapping[str, np.ndarray]):
    """Arrays by name, each (..., component, *core): one value of all parameters, or many.

    Which names there are, the blocks of the model say: ``weight`` (..., K) always; ``mean``
    (..., K, D) and ``cholesky`` (..., K, D, D), the lower factor of Σ, of Gaussian features;
    ``intercept`` (..., K), ``slope`` (..., K, R) and ``sigma`` (..., K) of a regression, and
    what its family adds. A name is an attribute too.
    """

    __slots__ = ("_arrays",)
    _arrays: dict[str, np.ndarray]

    def __init__(self, **arrays: np.ndarray) -> None:
        object.__setattr__(self, "_arrays", arrays)

    def __getitem__(self, name: str) -> np.ndarray:
        return self._arrays[name]

    def __getattr__(self, name: str) -> np.ndarray:
        arrays: dict[str, np.ndarray] = object.__getattribute__(self, "_arrays")
        if name not in arrays:
            raise AttributeError(f"These parameters have no {name}; they have {', '.join(arrays)}.")
        return arrays[name]

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("Parameters cannot be changed.")

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def __reduce__(self) -> tuple[object, ...]:
        return _restored, (dict(self._arrays),)

    @property
    def log_weight(self) -> np.ndarray:
        """log π (..., component), −∞ of a weight that is too small for a double."""
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(self["weight"]))

    def each(self) -> dict[str, np.ndarray]:
        """The arrays by name, in a dict of its own."""
        return dict(self._arrays)

    def replace(self, **arrays: np.ndarray) -> "Parameters":
        """The same with some arrays exchanged or added."""
        return Parameters(**{**self._arrays, **arrays})

    def take(self, index: int | slice | list[int] | np.ndarray) -> "Parameters":
        """The parameters at ``index`` of the leading batch dim, a number, slice, list or array."""
        return Parameters(**{name: value[index] for name, value in self.items()})

    def batched(self) -> "Parameters":
        """The same with one leading batch dim of length one."""
        return Parameters(**{name: value[None] for name, value in self.items()})

    def permute(self, permutation: np.ndarray) -> "Parameters":
        """Reorder the clusters: entry k of ``permutation`` (K,) becomes cluster k."""
        axis = self["weight"].ndim - 1
        return Parameters(
            **{name: np.take(value, permutation, axis=axis) for name, value in self.items()}
        )


def _restored(arrays: dict[str, np.ndarray]) -> Parameters:
    return Parameters(**arrays)
