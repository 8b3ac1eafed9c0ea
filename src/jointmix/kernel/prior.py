"""From unconstrained values to the model's parameters, with the priors, and gradients back.

One loop over the table of free parameters, whatever the model: each row fills its part of the
vector of values from its part of q, and adds the log density of its prior with the transform's
Jacobian. Transforms and order are those of the PyMC model.
"""

import numpy as np

from jointmix.families.compiling import jit
from jointmix.families.membership.rows import simplex_forward, simplex_pullback
from jointmix.families.priors.rows import (
    location_density,
    location_slope,
    positive_density,
    positive_slope,
    vine_forward,
    vine_pullback,
)
from jointmix.kernel.records import CONE, POSITIVE, SIMPLEX, VINE, columns_of


@jit()
def forward(problem, table, k, q, values):  # type: ignore[no-untyped-def]
    """Fill the free values; returns the log prior density, without its constant."""
    total = 0.0
    for i in range(table.size):
        row = table[i]
        own = q[row.q : row.q + row.n_rows * row.n_columns]
        if row.transform == SIMPLEX:
            total += _simplex_forward(row, own, values)
        elif row.transform == CONE:
            total += _cone_forward(problem, row, k, own, values)
        elif row.transform == POSITIVE:
            total += _positive_forward(row, k, own, values)
        elif row.transform == VINE:
            total += _vine_forward(row, k, own, values)
        else:
            centre = problem[row.centre : row.centre + row.width]
            for c in range(k):
                source = row.source + c * row.source_step
                for j in range(row.width):
                    values[row.value + c * row.step] += values[source + j] * centre[j]
    return total


@jit()
def pullback(problem, table, k, q, values, from_values, gradient):  # type: ignore[no-untyped-def]
    """Fill the gradient in q (zeros), given that of the rows in the values, which is changed.

    The latter is in the logarithms of weights and of positive values.
    """
    # Backwards: a line's slopes get their share from its intercept first.
    for i in range(table.size - 1, -1, -1):
        row = table[i]
        last = row.q + row.n_rows * row.n_columns
        own, out = q[row.q : last], gradient[row.q : last]
        if row.transform == SIMPLEX:
            _simplex_pullback(row, values, from_values, out)
        elif row.transform == CONE:
            _cone_pullback(problem, row, k, own, values, from_values, out)
        elif row.transform == POSITIVE:
            _positive_pullback(row, k, own, from_values, out)
        elif row.transform == VINE:
            _vine_pullback(row, k, own, from_values, out)
        else:
            centre = problem[row.centre : row.centre + row.width]
            for c in range(k):
                source = row.source + c * row.source_step
                for j in range(row.width):
                    from_values[source + j] += from_values[row.value + c * row.step] * centre[j]


@jit()
def _simplex_forward(row, q, values):  # type: ignore[no-untyped-def]
    """Logs of weights, or of the probabilities of each component."""
    n, result = row.n_columns, 0.0
    for c in range(row.n_rows):
        first = row.value + c * row.step
        own = values[first : first + n + 1]
        result += simplex_forward(row.concentration, q[c * n : (c + 1) * n], own)
    return result


@jit()
def _simplex_pullback(row, values, from_values, gradient):  # type: ignore[no-untyped-def]
    n = row.n_columns
    for c in range(row.n_rows):
        first = row.value + c * row.step
        own, pull = values[first : first + n + 1], from_values[first : first + n + 1]
        simplex_pullback(row.concentration, own, pull, gradient[c * n : (c + 1) * n])


@jit()
def _cone_forward(problem, row, k, q, values):  # type: ignore[no-untyped-def]
    """ξ (component, location) inside the cone, if ordered, and the locations loc + scale ξ."""
    n, columns = row.n_columns, columns_of(problem, row)
    reflection = problem[row.reflection : row.reflection + n * n]
    result, first = 0.0, 0.0
    for c in range(k):
        if c > 0 and row.ordered != 0:
            result += q[c * n]
            first += np.exp(q[c * n])
        else:
            first = q[c * n]
        for j in range(n):
            xi = first * reflection[j]
            for i in range(1, n):
                xi += q[c * n + i] * reflection[i * n + j]
            column = columns[j]
            values[row.value + c * n + j] = xi
            values[column.value + c * column.step] = column.loc + column.scale * xi
            result += location_density(column.df, xi)
    return result


@jit()
def _cone_pullback(problem, row, k, q, values, from_values, gradient):  # type: ignore[no-untyped-def]
    n, columns = row.n_columns, columns_of(problem, row)
    reflection = problem[row.reflection : row.reflection + n * n]
    from_xi = from_values[row.value : row.value + k * n]
    for c in range(k):
        for j in range(n):
            column = columns[j]
            from_rows = from_values[column.value + c * column.step] * column.scale
            xi = values[row.value + c * n + j]
            from_xi[c * n + j] = from_rows + location_slope(column.df, xi)
        for i in range(n):
            for j in range(n):
                gradient[c * n + i] += reflection[i * n + j] * from_xi[c * n + j]
    if row.ordered != 0:
        above = 0.0
        for c in range(k - 1, 0, -1):
            above += gradient[c * n]
            gradient[c * n] = 1.0 + above * np.exp(q[c * n])
        gradient[0] += above


@jit()
def _positive_forward(row, k, q, values):  # type: ignore[no-untyped-def]
    result = 0.0
    for i in range(q.size):
        result += positive_density(row, q[i])
    for c in range(k):
        first = c * row.n_columns if row.n_rows > 1 else 0
        for j in range(row.width):
            own = q[first + (j if row.n_columns > 1 else 0)]
            values[row.value + c * row.step + j] = np.exp(row.power * own)
    return result


@jit()
def _positive_pullback(row, k, q, from_values, gradient):  # type: ignore[no-untyped-def]
    for c in range(k):
        first = c * row.n_columns if row.n_rows > 1 else 0
        for j in range(row.width):
            own = from_values[row.value + c * row.step + j]
            gradient[first + (j if row.n_columns > 1 else 0)] += row.power * own
    for i in range(q.size):
        gradient[i] += positive_slope(row, q[i])


@jit()
def _vine_forward(row, k, q, values):  # type: ignore[no-untyped-def]
    d, n, result = row.side, row.n_columns, 0.0
    for c in range(k):
        place = row.value + c * row.step
        if c < row.n_rows:
            factor = values[place : place + d * d].reshape((d, d))
            result += vine_forward(row.concentration, q[c * n : (c + 1) * n], factor)
        else:
            for i in range(d * d):
                values[place + i] = values[row.value + i]
    return result


@jit()
def _vine_pullback(row, k, q, from_values, gradient):  # type: ignore[no-untyped-def]
    d, n = row.side, row.n_columns
    for c in range(k - 1, -1, -1):
        place = row.value + c * row.step
        if c < row.n_rows:
            factor = from_values[place : place + d * d].reshape((d, d))
            part = slice(c * n, (c + 1) * n)
            vine_pullback(row.concentration, q[part], factor, gradient[part])
        else:
            for i in range(d * d):
                from_values[row.value + i] += from_values[place + i]
