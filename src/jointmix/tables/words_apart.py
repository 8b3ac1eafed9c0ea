"""Columns of numbers apart from columns of words, in a table that is otherwise left as it is."""

from collections.abc import Sequence

import narwhals as nw
import numpy as np

from jointmix.base.arguments import shown
from jointmix.base.errors import DataError
from jointmix.tables.levels import coded_column


def words_apart(X: object) -> tuple[object, dict[str, object]]:
    """X without its columns of words or categories, and those by name.

    Anything but a table is all numbers.
    """
    try:
        table = nw.from_native(X, eager_only=True, pass_through=True)
    except nw.exceptions.DuplicateError:
        # Refused by name with the model's columns.
        return X, {}
    if not isinstance(table, nw.DataFrame):
        return X, {}
    columns = (table.get_column(name) for name in table.columns)
    of_words = [coded_column(column, True) is not None for column in columns]
    return split_columns(X, of_words) if any(of_words) else (X, {})


def split_columns(X: object, of_words: Sequence[bool]) -> tuple[object, dict[str, object]]:
    """The columns of a table that hold no words, as it is one, and those that do by name.

    Raises
    ------
    DataError
        If X is no table.
    """
    table = nw.from_native(X, eager_only=True, pass_through=True)
    if not isinstance(table, nw.DataFrame):
        raise DataError(
            "This fit's X was a table with columns of words or categories, and needs such a table "
            f"again; got {shown(X)}."
        )
    words = {str(name): table.get_column(name).to_native()
             for name, held in zip(table.columns, of_words, strict=True) if held}  # fmt: skip
    places = [place for place, held in enumerate(of_words) if not held]
    # scikit-learn takes no table without columns.
    rest = table[:, places].to_native() if places else np.zeros((len(table), 0))
    return rest, words
