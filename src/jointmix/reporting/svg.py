"""Pictures made smaller: as matplotlib writes them, with two decimals and no more than is seen."""

import re
from collections import Counter
from itertools import groupby
from urllib.parse import quote

_HEAD = re.compile(r"<\?xml.*?\?>|<!DOCTYPE.*?>|<metadata>.*?</metadata>|<!--.*?-->", re.DOTALL)
#: A mark in a group of its own, that clips it at the axes' edge.
_CLIPPED = re.compile(r'<g clip-path="url\(#\w+\)">\s*(<use [^>]*/>)\s*</g>')
_PLACES = re.compile(r'(?<= )(?:d|x|y|x1|x2|y1|y2|width|height|transform|points)="[^"]*"')
_LONG = re.compile(r"-?\d+\.\d{3,}")
_BETWEEN = re.compile(r">\s+<")
_OPACITY = re.compile(r"(?<=opacity: )\d*\.\d{3,}")
_MARKS = re.compile(r"(?:<use [^>]*/>){2,}")
_STYLE = re.compile(r' style="([^"]*)"')
#: Names of groups, which nothing asks for, and turns by nothing.
_IDLE = re.compile(r'(?<=<g) id="[^"]*"| transform="rotate\(-?0 [^"]*\)"')
_NAMED = re.compile(r'<(?:clipPath|path|pattern) id="([^"]*)"')
_LINK = re.compile(r'(?<= id=")[^"]*|(?<=#)\w+(?=[")])')
_PATH = re.compile(r'(?<= d=")[^"]*')
_LINE = re.compile(r'<path d="([^"]*)"([^>]*)/>')
_CAPS = re.compile(r"stroke-line(?:cap|join):[^;\"]*")
_LINES = re.compile(r"L[^A-Za-z]*(?:L[^A-Za-z]*)+")
_STYLES = '<style type="text/css">'
_FONT = "font-family: 'DejaVu Sans'"
_TAG = re.compile(r"<[^>]*>")
_QUOTES = str.maketrans("\"'", "'\"")
#: A path of fewer characters is not worth a name.
_WORTH_A_NAME = 60
#: What stands in an address, and in an attribute of HTML in double quotes, as it is.
_PLAIN = " !$'*+,-./:;=?@_~[]{}|^`"


def smaller(svg: bytes) -> bytes:
    """The same picture to a hundredth of a point, in fewer bytes."""
    text = _CLIPPED.sub(r"\1", _HEAD.sub("", svg.decode("utf-8")))
    text = text.replace(_STYLES, f"{_STYLES}text{{{_FONT}}}", 1) if f"{_FONT};" in text else text
    text = _BETWEEN.sub("><", text).strip()
    short = {name: f"i{place}" for place, name in enumerate(sorted(set(_NAMED.findall(text))))}
    # Tags alone: a text may hold what looks like an attribute.
    text = _TAG.sub(lambda match: _shorter(match[0], short), text)
    return _MARKS.sub(_gathered, _named(text)).encode("utf-8")


def _named(text: str) -> str:
    """With paths that are drawn more than once, as a line and the halo behind it, said once."""
    often = Counter(_outline(match) for match in _LINE.finditer(text))
    several = [path for path, n in often.items() if n > 1 and len(path[0]) > _WORTH_A_NAME]
    names = {path: f"p{i}" for i, path in enumerate(several)}

    def use(match: re.Match[str]) -> str:
        name = names.get(_outline(match))
        return match[0] if name is None else f'<use xlink:href="#{name}"{match[2]}/>'

    paths = "".join(
        f'<path id="{name}" d="{path}"' + (f' style="{caps}"/>' if caps else "/>")
        for (path, caps), name in names.items()
    )
    head, rest = text.split(">", 1)
    return f"{head}><defs>{paths}</defs>{_LINE.sub(use, rest)}" if names else text


def _outline(line: re.Match[str]) -> tuple[str, str]:
    """A path, and its caps and joints: those of all paths stand in the picture's own style."""
    return line[1], ";".join(_CAPS.findall(line[2]))


def _shorter(tag: str, names: dict[str, str]) -> str:
    tag = _PLACES.sub(
        lambda match: _LONG.sub(_rounded, " ".join(match[0].split())), _IDLE.sub("", tag)
    )
    tag = _PATH.sub(lambda match: _commands(match[0]), _OPACITY.sub(_rounded, tag))
    tag = _LINK.sub(lambda match: names.get(match[0], match[0]), tag.replace(f" {_FONT};", ""))
    return _STYLE.sub(lambda match: match[0].replace(": ", ":").replace("; ", ";"), tag)


def address(svg: bytes) -> str:
    """A picture as a data address, which has fewer bytes than in base64."""
    # What stands in single quotes needs no escapes; what attributes hold changes with them.
    text = _TAG.sub(lambda match: match[0].translate(_QUOTES), svg.decode("utf-8"))
    # A page that asks nothing of the network holds nothing that reads like a web address.
    return f"data:image/svg+xml,{quote(text, safe=_PLAIN).replace('//', '%2F/')}"


def _commands(path: str) -> str:
    """Without spaces around its letters; a line's is said once for the lines that follow it."""
    near = re.sub(r"\s*([A-Za-z])\s*", r"\1", path).strip()
    return _LINES.sub(lambda match: "L" + match[0][1:].replace("L", " "), near)


def _gathered(marks: re.Match[str]) -> str:
    """Neighbouring marks of one style, which is then said once."""
    together = [list(own) for _, own in groupby(re.findall(r"<use [^>]*/>", marks[0]), key=_style)]
    return "".join(
        f'<g style="{_style(own[0])}">{_STYLE.sub("", "".join(own))}</g>' if own[1:] else own[0]
        for own in together
    )


def _style(mark: str) -> str:
    found = _STYLE.search(mark)
    return "" if found is None else found[1]


def _rounded(number: re.Match[str]) -> str:
    text = f"{float(number[0]):.2f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text
