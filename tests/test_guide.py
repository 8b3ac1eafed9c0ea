"""The guide: its pages run, what they say of their output holds, and every public name has an
example that runs."""

import doctest
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import jointmix as jm
from jointmix.base.codes import references

for package in ("myst_nb", "pydata_sphinx_theme", "sphinx_copybutton", "palmerpenguins", "jax"):
    pytest.importorskip(package, reason=f"{package} is not installed (group guide)")
fcntl = pytest.importorskip("fcntl", reason="the build is locked as POSIX systems do")

ROOT = Path(__file__).parents[1]
GUIDE = ROOT / "examples" / "guide"
PAGES = sorted(path.stem for path in GUIDE.glob("*.md"))
#: Examples that take minutes of compiling: the page on NumPyro runs the same calls.
RUN_BY_PAGE = {"crosscheck": "jm.crosscheck(", "Certificate": ".passed"}
#: And one that compiles a model, which tests/test_model.py runs among the slow tests.
RUN_ELSEWHERE = {"build_model"}


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as the README says; by one worker, where several run tests."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    found = shared / "guide"
    with (shared / "guide.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not found.exists():
            command = [sys.executable, "-m", "sphinx", "-qnW", "--keep-going"]
            path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
            done = subprocess.run(
                [*command, str(GUIDE), str(found)],
                env=os.environ | {"PATH": path},
                capture_output=True,
                text=True,
                check=False,
                timeout=1800,
            )
            # What Sphinx itself warns of makes its exit code 1; kernels write notes of their own.
            assert done.returncode == 0, done.stderr[-3000:]
    return found


@pytest.fixture
def folder(site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the examples of docstrings run: beside the first page's fit, and a recipe."""
    shutil.copy(site / ".doctrees" / "files" / "penguins.nc", tmp_path)
    shutil.copy(ROOT / "examples" / "penguins.toml", tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def cells(site: Path, page: str) -> list[tuple[str, str]]:
    """The code of each cell of a page, and what it printed or showed, as text."""
    text = (site.parent / "jupyter_execute" / f"{page}.ipynb").read_text(encoding="utf-8")
    found = []
    for cell in json.loads(text)["cells"]:
        if cell["cell_type"] == "code":
            shown = [
                each.get("text") or each.get("data", {}).get("text/plain", "")
                for each in cell["outputs"]
            ]
            code = "".join(cell["source"])
            found.append((code, "\n".join("".join(each) for each in shown)))
    return found


def shown(site: Path, page: str, code: str) -> str:
    """What the first cell with such code printed, on one line."""
    return " ".join(next(text for source, text in cells(site, page) if code in source).split())


def test_the_readme_names_the_command() -> None:
    text = (GUIDE / "conf.py").read_text(encoding="utf-8")
    assert "uv run --group guide sphinx-build -nW examples/guide build/guide" in text


@pytest.mark.parametrize("page", PAGES)
def test_every_block_of_a_page_ran(site: Path, page: str) -> None:
    assert (site / f"{page}.html").is_file()
    blocks = (GUIDE / f"{page}.md").read_text(encoding="utf-8").count("```{code-cell}")
    if blocks:
        assert len(cells(site, page)) == blocks


def test_first_minutes(site: Path) -> None:
    assert "verdict: OK" in shown(site, "first", "jm.diagnose(")
    assert re.search(r"Adjusted Rand index 0\.9", shown(site, "first", "jm.crosstab("))
    assert "Adelie 149" in shown(site, "first", "jm.crosstab(")
    assert "2 of 344 rows are left out" in shown(site, "first", "jm.check(")
    table = shown(site, "first", "jm.summary(")
    for name in ("weight[Adelie]", "slope[Gentoo, bill_length_mm]"):
        assert name in table


def test_choosing(site: Path) -> None:
    text = shown(site, "choosing", "found = jm.compare(")
    assert "about as well with 3 clusters" in text
    occupied = re.findall(r"(\d) ([\d.]+)", shown(site, "choosing", "jm.occupied_clusters("))
    shares = {int(k): float(share) for k, share in occupied if int(k) < 6}
    # Chains seldom pass between them: which has more is chance, and on other processors another.
    assert min(shares[3], shares[4]) > 0
    assert shares[3] + shares[4] > 0.8


def test_a_verdict_and_its_remedy(site: Path) -> None:
    assert "('OK', " in shown(site, "verdict", "len(verdict.findings)")
    bent = shown(site, "verdict", "straight = jm.fit(")
    assert "verdict: CAUTION" in bent
    assert "'response' bends over 'dose'" in bent
    assert shown(site, "verdict", "curved = jm.fit(") == "verdict: OK"
    changed = shown(site, "verdict", "jm.diff(")
    ratios = [
        float(second) / float(first)
        for first, second in re.findall(r"sigma\[cluster \d\] ([\d.]+) ([\d.]+)", changed)
    ]
    # "The noise is half of what it was", to the two digits shown and the posterior's spread.
    assert ratios == pytest.approx([0.5, 0.5], abs=0.1)
    assert "put aside: caution: misfit" in shown(site, "verdict", "ignore=")


def test_labels(site: Path) -> None:
    identification = shown(site, "labels", "identification")
    assert "'switch_rate': 0.0" in identification
    assert "'true_permutations': 1.0" in identification
    assert "None of 45 quantities differs" in shown(site, "labels", '"stephens"')
    weak = shown(site, "labels", "weak = jm.fit(")
    assert "verdict: DO NOT USE" in weak
    assert "[JM206]" in weak


def test_prediction(site: Path) -> None:
    rows = shown(site, "prediction", "jm.predict(")
    assert re.search(r"far away .* True False", rows)
    assert re.search(r"typical [\d. ]+ False False", rows)
    parts = dict(
        re.findall(
            r"(typical|unknown|away) ([\d. ]+)", shown(site, "prediction", "variance_between")
        )
    )
    shares = {name: [float(each) for each in text.split()] for name, text in parts.items()}
    # Each row's three parts are its whole variance, to two digits each.
    for each in shares.values():
        assert sum(each) == pytest.approx(1, abs=0.016)
    assert shares["unknown"][1] > 0.3
    assert shares["away"][2] > 0.5


def test_mixed(site: Path) -> None:
    assert shown(site, "mixed", "tree = jm.fit(") == "(344, 11)"
    assert "'sex' depends on 'bill_length_mm'" in shown(site, "mixed", "jm.diagnose(")
    levels = shown(site, "mixed", 'filled["probability_sex"]')
    assert "female" in levels


def test_large(site: Path) -> None:
    assert shown(site, "large", "tree = jm.fit(").startswith("OK")
    long_one, short_one = shown(site, "large", "short_one = ").strip("()").split(", ")
    # The same likelihood, summed over other rows and rounded to two digits.
    assert float(long_one) == pytest.approx(float(short_one), abs=0.011)
    assert shown(site, "large", "written = jm.predict").endswith("'OK', 'predicted_by_two')")


def test_pipeline(site: Path) -> None:
    assert "bills.html" in shown(site, "pipeline", "jointmix build")
    codes = shown(site, "pipeline", "--strict")
    assert "verdict: OK" in codes
    assert re.findall(r"exit code (\d)", codes) == ["0", "2"]
    assert "'schema': 1" in shown(site, "pipeline", "to_json")


def test_numpyro(site: Path) -> None:
    assert "AGREE" in shown(site, "numpyro", "right = ").upper()
    wrong = shown(site, "numpyro", "wrong = ")
    assert "DIFFER" in wrong
    assert "sums over rows" in wrong


def test_coming_from_elsewhere(site: Path) -> None:
    ours, theirs = shown(site, "coming", "GaussianMixture(").strip("()").split(", ")
    # Both EM stop where little is left to gain.
    number = re.compile(r"-?[\d.]+")
    assert float(number.findall(ours)[-1]) == pytest.approx(
        float(number.findall(theirs)[-1]), abs=0.05
    )
    assert "Warning" not in shown(site, "coming", "cross_val_score(")


def test_findings_are_those_of_the_package(site: Path) -> None:
    page = (site / "findings.html").read_text(encoding="utf-8")
    for each in references().values():
        assert page.count(f'id="{each.code.lower()}"') == 1
    words = " ".join(re.sub("<[^>]*>", "", page).split())
    for each in references().values():
        # What has no quotation marks or codes stands letter by letter.
        for text in (each.title, each.cause, each.example, each.remedy):
            if not set("'\"`<>&*_-") & set(text):
                assert text in words
    assert words.count("Example: ") == words.count("What to do: ") == len(references())


def test_every_public_name_is_in_the_reference(site: Path) -> None:
    from sphinx.util.inventory import InventoryFile

    inventory = InventoryFile.loads((site / "objects.inv").read_bytes(), uri="")
    kinds = ("py:function", "py:class", "py:exception")
    found = {name for kind in kinds for name in inventory.data.get(kind, {})}
    assert {f"jointmix.{name}" for name in jm.__all__} <= found


@pytest.mark.parametrize("name", jm.__all__)
def test_every_public_name_has_an_example_that_runs(name: str, site: Path, folder: Path) -> None:
    from palmerpenguins import load_penguins

    names = {"jm": jm, "load_penguins": load_penguins}
    value = getattr(jm, name)
    test = doctest.DocTestParser().get_doctest(value.__doc__, names, name, str(folder), 0)
    assert test.examples
    skipped = [doctest.SKIP in example.options for example in test.examples]
    if name in RUN_BY_PAGE:
        assert any(RUN_BY_PAGE[name] in code for code, _ in cells(site, "numpyro"))
        return
    assert not any(skipped)
    if name in RUN_ELSEWHERE:
        return
    text: list[str] = []
    runner = doctest.DocTestRunner(verbose=False, optionflags=doctest.NORMALIZE_WHITESPACE)
    failed = runner.run(test, out=text.append).failed
    assert failed == 0, "".join(text)


CHROMIUM = shutil.which("chromium")
AXE = ROOT / "build" / "node_modules" / "axe-core" / "axe.min.js"


#: Text beyond the window, but for what scrolls by itself.
CUT_OFF = """[...document.querySelectorAll("article :is(p, li, dt, h1, h2, h3)")]
    .filter(e => !e.closest(".cell_output, .pst-scrollable-table-container, pre"))
    .filter(e => e.getBoundingClientRect().right > innerWidth + 1).map(e => e.innerText)"""


@pytest.fixture(scope="module")
def browser() -> Iterator:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("there is no chromium (apt-get install chromium)")
    with playwright.sync_playwright() as driver:
        found = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.mark.parametrize("page", ["first", "findings", "api/fitting"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_fetch_nothing_fit_and_can_be_read(
    browser, site: Path, page: str, scheme: str
) -> None:
    shown_page = browser.new_context(bypass_csp=True, color_scheme=scheme).new_page()
    fetched: list[str] = []
    shown_page.on("request", lambda request: fetched.append(request.url))
    shown_page.goto((site / f"{page}.html").as_uri())
    assert [url for url in fetched if not url.startswith(("file:", "data:", "blob:"))] == []
    for width in (360, 1440):
        shown_page.set_viewport_size({"width": width, "height": 900})
        assert shown_page.evaluate("document.documentElement.scrollWidth") <= width
        assert shown_page.evaluate(CUT_OFF) == []
    if AXE.is_file():
        shown_page.evaluate(AXE.read_text(encoding="utf-8"))
        found = shown_page.evaluate("axe.run().then(r => JSON.stringify(r.violations))")
        assert [(each["id"], each["nodes"][0]["html"][:200]) for each in json.loads(found)] == []
    shown_page.context.close()
