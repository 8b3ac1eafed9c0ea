"""Reports in a real browser: nothing runs, nothing is fetched, nothing overflows, all can read."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from synthetic import fitted_tree
from test_calibration import made_up
from test_report import HOSTILE, SHOWN, shared_document
from test_report_kinds import certificate, comparison

from jointmix.reporting import report
from jointmix.reporting.render import render

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

CHROMIUM = shutil.which("chromium")
AXE = Path(__file__).parents[1] / "build" / "node_modules" / "axe-core" / "axe.min.js"
#: CSS pixels of A4 inside the style sheet's margins, at 96 a inch.
A4_WIDTH, A4_HEIGHT = int((210 - 32) / 25.4 * 96), int((297 - 36) / 25.4 * 96)
KINDS = ("full", "many", "hostile", "one cluster", "no features")


def side() -> list:
    """Two fits of the same columns, whose clusters differ in number."""
    return [fitted_tree(n_clusters=k, n_obs=120) for k in (2, 3)]


OTHERS = {
    "certificate": certificate, "comparison": comparison, "calibration": made_up, "side": side,
}  # fmt: skip

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="there is no chromium (apt-get install chromium)"
)


@pytest.fixture(scope="module")
def browser() -> Iterator:
    with playwright.sync_playwright() as driver:
        found = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture(scope="module", params=(*KINDS, *OTHERS))
def path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("pages") / "report.html"
    if request.param in OTHERS:
        return report(OTHERS[request.param](), where)
    document = shared_document(request.param, tmp_path_factory)
    if request.param == "hostile":
        document = replace(document, title=HOSTILE[0])
    where.write_text(render(document), encoding="utf-8")
    return where


@dataclass
class Opened:
    """A page, and all that it did besides being shown."""

    page: Any
    seen: list[str]


def opened(browser, path: Path) -> Opened:
    page = browser.new_context(bypass_csp=True, color_scheme="light").new_page()
    page.set_default_timeout(60_000)
    seen: list[str] = []
    page.on("console", lambda message: seen.append(f"console: {message.text}"))
    page.on("pageerror", lambda error: seen.append(f"error: {error}"))
    page.on("dialog", lambda dialog: (seen.append("dialog"), dialog.dismiss()))
    page.on("request", lambda request: seen.append(request.url[:300]))
    page.goto(path.as_uri())
    page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true })")
    return Opened(page, [what for what in seen if not what.startswith(("data:", path.as_uri()))])


@pytest.fixture(scope="module")
def shown(browser, path: Path) -> Iterator[Opened]:
    """Opened once for all that is asked of it."""
    found = opened(browser, path)
    yield found
    found.page.context.close()


def test_pages_fit_and_do_nothing(shown: Opened) -> None:
    page = shown.page
    assert shown.seen == []
    broken = "[...document.images].filter(i => !i.complete || i.naturalWidth === 0).length"
    assert page.evaluate(broken) == 0
    assert page.evaluate("document.scripts.length") == 0
    for width in (360, 768, 1440):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        heights = page.evaluate(
            "[...document.querySelectorAll('section')].map(s => s.offsetHeight)"
        )
        assert min(heights) > 40
    found = page.evaluate("[...document.querySelectorAll('section')].map(s => s.id)")
    linked = page.evaluate("[...document.querySelectorAll('nav a')].map(a => a.hash.slice(1))")
    assert linked == found
    assert found == SHOWN or found[0] in ("choice", "agreement", "calibration", "changes")


def test_hostile_text_is_shown_as_text(
    browser, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    where = tmp_path / "r.html"
    document = replace(shared_document("hostile", tmp_path_factory), title=HOSTILE[1])
    where.write_text(render(document), encoding="utf-8")
    found = opened(browser, where)
    page = found.page
    assert found.seen == []
    assert page.evaluate("document.querySelectorAll('[onerror], script').length") == 0
    text = page.evaluate("document.body.innerText")
    assert HOSTILE[0] in text
    assert HOSTILE[2] in text
    assert page.title() == HOSTILE[1]
    page.context.close()


def test_printed_figures_are_whole(shown: Opened) -> None:
    page = shown.page
    page.set_viewport_size({"width": A4_WIDTH, "height": A4_HEIGHT})
    page.emulate_media(media="print")
    assert page.evaluate("document.documentElement.scrollWidth") <= A4_WIDTH
    boxes = page.evaluate(
        "[...document.images].map(i => { const b = i.getBoundingClientRect();"
        " return [b.left, b.right, b.height, getComputedStyle(i).breakInside] })"
    )
    for left, right, height, inside in boxes:
        assert left >= 0
        assert right <= A4_WIDTH
        assert height < A4_HEIGHT
        assert inside == "avoid"
    assert page.pdf(prefer_css_page_size=True).startswith(b"%PDF")
    page.emulate_media(media="screen")


@pytest.mark.skipif(not AXE.is_file(), reason="there is no axe-core (npm install --prefix build)")
def test_axe_finds_nothing(shown: Opened) -> None:
    """By all rules in light colours; in dark ones by those of colours, which alone are others."""
    page = shown.page
    page.set_viewport_size({"width": 1280, "height": 900})
    page.emulate_media(media="screen", color_scheme="light")
    page.evaluate(AXE.read_text(encoding="utf-8"))
    assert violations(page, {}) == []
    page.emulate_media(color_scheme="dark")
    assert violations(page, {"runOnly": {"type": "tag", "values": ["cat.color"]}}) == []


def violations(page, options: dict) -> list[tuple[str, str]]:
    # Of what passes, axe would describe every node: most of its time on long tables.
    options = options | {"resultTypes": ["violations"]}
    found = page.evaluate(
        "options => axe.run(document, options).then(r => JSON.stringify(r.violations))", options
    )
    return [(each["id"], each["nodes"][0]["html"][:200]) for each in json.loads(found)]
