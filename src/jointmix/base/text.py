"""Text as a terminal and an error take it."""


def one_line(text: str) -> str:
    """Text without line breaks and other signs that a terminal would act on."""
    return "".join(sign if sign.isprintable() else " " for sign in text)
