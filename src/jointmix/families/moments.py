"""Means and covariances of a cluster's columns, which blocks add one after another."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Outside:
    """Predictors that are no features; zeros stand for those that are.

    Attributes
    ----------
    rows
        Where they are held, (row, predictor).
    covariance
        Their own about each of these, (predictor, predictor).
    """

    rows: np.ndarray
    covariance: np.ndarray


@dataclass(frozen=True, eq=False)
class Imputed:
    """Missing features of a row in each cluster, given the entries that are there: Gaussian.

    Attributes
    ----------
    coefficient
        Of the mean in w = (1, columns), zero in what is missing, (..., cluster, missing,
        1 + column).
    covariance
        (..., cluster, missing, missing).
    """

    coefficient: np.ndarray
    covariance: np.ndarray


@dataclass(frozen=True, eq=False)
class Moments:
    """Of the columns in each cluster, in the columns' units.

    Attributes
    ----------
    columns
        Their names; columns of families without such moments are left out.
    mean
        At each row of what is outside, (draw, row, cluster, column).
    explained
        Covariance of the features, and of the response's line with them, (draw, cluster, column,
        column).
    noise
        Squared scale of each column about that, (draw, cluster, column).
    """

    columns: tuple[str, ...]
    mean: np.ndarray
    explained: np.ndarray
    noise: np.ndarray

    @property
    def covariance(self) -> np.ndarray:
        """Of the columns, (draw, cluster, column, column).

        The squared scale stands for a variance about the line, as a Student-t response need not
        have one: the sum stays finite, and moves smoothly as degrees of freedom pass two.
        """
        return np.asarray(self.explained + self.noise[..., None] * np.eye(len(self.columns)))
