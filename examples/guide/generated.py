"""What pages take from the package itself: the findings of codes.toml."""

from sphinx.application import Sphinx

from jointmix.base.codes import Reference, references

_MARK = "% findings"
_PARTS = {"1": "The sampler", "2": "Clusters and labels", "3": "Rows and priors", "4": "The table"}


def findings() -> str:
    """An entry for each finding, under the part that its number begins with."""
    lines, part = [], ""
    for each in references().values():
        first = each.code.removeprefix("JM")[0]
        if first != part:
            part = first
            lines += [f"## {_PARTS[part]}", ""]
        lines += entry(each)
    return "\n".join(lines)


def entry(each: Reference) -> list[str]:
    """Heading with an anchor, cause, example and remedy."""
    return [
        f"({each.code.lower()})=",
        f"### {each.code} {each.name}",
        "",
        f"**{each.title}.** {each.cause}",
        "",
        f"Example: {each.example}",
        "",
        f"What to do: {each.remedy}",
        "",
    ]


def fill(_app: Sphinx, _name: str, source: list[str]) -> None:
    """Put generated text where a page has the mark."""
    source[0] = source[0].replace(_MARK, findings())


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("source-read", fill)
    return {"parallel_read_safe": True}
