"""Text as a terminal, an error and a picture take it."""

import re
from collections.abc import Sequence

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
#: Control characters but tabulators and line feeds, and surrogates, which no encoding has; marks,
#: embeddings, overrides and isolates would reorder the text around a name.
_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]"
)


def one_line(text: str) -> str:
    """Text without line breaks and other signs that a terminal would act on."""
    return "".join(sign if sign.isprintable() else " " for sign in text)


def clean(text: str) -> str:
    """Text with control, bidirectional and unpaired surrogate characters made visible."""
    return _UNSAFE.sub(REPLACEMENT, text)


def shorten(text: str, width: int) -> str:
    """Text of at most ``width`` characters, on one line, cut with an ellipsis."""
    line = " ".join(text.split()) or REPLACEMENT
    return line if len(line) <= width else line[: width - 1].rstrip() + "…"


def short_labels(names: Sequence[str], width: int = 40) -> dict[str, str]:
    """A short label for each name, no two alike."""
    labels: dict[str, str] = {}
    for name in names:
        label, copy = shorten(clean(name), width), 2
        while label in labels.values():
            label = f"{shorten(clean(name), width - 5)} ({copy})"
            copy += 1
        labels[name] = label
    return labels
