"""One self-contained page: parsed strictly, the tree's own numbers, and nothing unescaped."""

import os
import pickle
import re
import subprocess
import sys
import time
import tomllib
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from urllib.parse import unquote

import html5lib
import lazy_loader
import numpy as np
import pytest
import xarray as xr
from scipy import stats
from synthetic import fitted_tree

from jointmix.base.errors import SchemaError, SpecError, StorageError
from jointmix.base.machine import hidden_until_loaded
from jointmix.checks import judge
from jointmix.families.priors.priors import FAMILIES
from jointmix.families.priors.words import standard_interval
from jointmix.model.serialised import spec_from_dict
from jointmix.model.simulate import four_clusters, simulate
from jointmix.posterior.draws import fitted_spec
from jointmix.reporting import SECTION_IDS, figures, render_html, report
from jointmix.reporting.documents import fit_document
from jointmix.reporting.elements import Document
from jointmix.reporting.figures import COLOURS, INK, MUTED, PAPER
from jointmix.reporting.quantities import ellipse, entropy_bits, thinned
from jointmix.reporting.render import render
from jointmix.reporting.text import (
    clean,
    compact,
    decimals,
    entry_places,
    interval,
    number,
    places_for,
    short_labels,
)
from jointmix.storage.trees import save

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "{{7*7}}",
    "../../x",
    "cost ($) \\alpha_{",
    "a" * 10_000,
    "rtl \u202ebidi",
)
STRUCTURES: dict[str, dict] = {
    "full": {},
    "no response": {"response": False},
    "no features": {"features": False, "predictors": ["u1", "u2"]},
    "no predictors": {"predictors": []},
    "one cluster": {"n_clusters": 1},
    "one feature": {"n_features": 1},
    "predictor outside": {"predictors": ["x1", "outside"]},
    "many": {"n_clusters": 8, "n_features": 7, "n_obs": 400},
    "hostile": {"names": HOSTILE, "response_name": "y & <b>"},
}
XHTML = "{http://www.w3.org/1999/xhtml}"


def shared_document(structure: str, factory: pytest.TempPathFactory) -> Document:
    """The report of a structure, made once for all files of tests, and all workers, of a run."""
    folder = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    path = folder / f"{structure}.pickle"
    if not path.exists():
        own = path.with_suffix(f".{os.getpid()}")
        with hidden_until_loaded("jax"):
            own.write_bytes(pickle.dumps(fit_document(fitted_tree(**STRUCTURES[structure]))))
        own.replace(path)
    return pickle.loads(path.read_bytes())


@pytest.fixture(scope="module")
def tree() -> xr.DataTree:
    return fitted_tree()


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    return render(shared_document("full", tmp_path_factory))


@pytest.fixture(scope="module", params=STRUCTURES, ids=str)
def any_page(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    return render(shared_document(request.param, tmp_path_factory))


#: The sections of a fit that keeps no known groups, certificate or calibration.
SHOWN = [name for name in SECTION_IDS if name not in ("groups", "agreement", "calibration")]


def parsed(page: str):
    return html5lib.HTMLParser(strict=True).parse(page)


def texts(element) -> str:
    return " ".join("".join(element.itertext()).split())


def texts_as_written(element) -> str:
    return "".join(element.itertext())


def test_every_structure_is_valid_and_accessible(any_page: str) -> None:
    document = parsed(any_page)
    sections = document.findall(f".//{XHTML}section")
    assert [section.get("id") for section in sections] == SHOWN
    for table in document.iter(f"{XHTML}table"):
        assert texts(table.find(f"{XHTML}caption"))
        rows = list(table.iter(f"{XHTML}tr"))
        assert {len(row) for row in rows} == {len(rows[0])}
        assert all(head.get("scope") in ("col", "row") for head in table.iter(f"{XHTML}th"))
    for image in document.iter(f"{XHTML}img"):
        assert re.search(r"\d", image.get("alt"))
    levels = [int(e.tag[-1]) for e in document.iter() if re.search(r"}h[1-6]$", str(e.tag))]
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert "</span> Not computed</p>" not in any_page


def test_nothing_is_fetched_and_nothing_runs(any_page: str) -> None:
    document = parsed(any_page)
    for element in document.iter():
        assert element.tag != f"{XHTML}script"
        for name, value in element.attrib.items():
            assert not name.startswith("on")
            if name in ("src", "href"):
                assert value.startswith(("data:image/svg+xml,", "#"))
            if value.startswith("data:"):
                picture = unquote(value)
                linked = re.findall(r"href='([^']*)|url\(([^)]*)", picture)
                assert all(
                    place.startswith(("#", "data:image/png;base64,"))
                    for place in map("".join, linked)
                )
    assert "url(" not in any_page
    assert "@import" not in any_page
    assert "default-src 'none'" in any_page


def test_ids_are_unique(any_page: str) -> None:
    found = [e.get("id") for e in parsed(any_page).iter() if e.get("id")]
    assert len(found) == len(set(found))


def test_hostile_names_are_text(tmp_path_factory: pytest.TempPathFactory) -> None:
    page = render(shared_document("hostile", tmp_path_factory))
    for name in HOSTILE[:2]:
        assert name not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "{{7*7}}" in page
    assert "\0" not in page
    assert "\u202e" not in page
    # In full where the columns are listed and in the specification, shortened elsewhere.
    assert page.count("a" * 10_000) < 5


def test_names_that_no_specification_has_are_refused() -> None:
    with pytest.raises(SpecError, match="features must hold column names as text"):
        render_html(fitted_tree(names=["nul\0", "b"]))


def test_the_same_tree_gives_the_same_bytes(tree: xr.DataTree, page: str) -> None:
    """Those of the page are of another tree with the same numbers, and perhaps another process."""
    assert render_html(tree) == page


def test_numbers_are_the_trees_own(tree: xr.DataTree, page: str) -> None:
    document = parsed(page)
    table = next(
        table
        for table in document.iter(f"{XHTML}table")
        if texts(table.find(f"{XHTML}caption")).startswith("Estimates by cluster")
    )
    rows = {texts(row[0]) + texts(row[1]): row for row in table.find(f"{XHTML}tbody")}
    for column in ("x1", "x2", "x3"):
        draws = tree["posterior"]["mean"].sel(feature=column)
        for k in range(3):
            shown = texts(rows[f"mean{column}"][2 + k]).replace(",", "").replace("−", "-")
            values = [float(part) for part in re.findall(r"-?[\d.]+", shown)]
            flat = draws.isel(cluster=k).values.ravel()
            expected = [flat.mean(), *np.quantile(flat, [0.055, 0.945])]
            # Two significant digits of the posterior sd are shown.
            assert np.abs(np.subtract(values, expected)).max() <= 0.05 * flat.std()
    share = float((tree["allocation"]["responsibility"].max("cluster") > 0.9).mean())
    assert f"{100 * share:.1f}% of the rows belong to one cluster" in page
    assert tree.attrs["data_hash"] in page


def test_the_verdict_is_in_words(tree: xr.DataTree) -> None:
    doctored = tree.copy(deep=True)
    doctored["sample_stats"]["diverging"].values[0, :100] = True
    page = render_html(judge(doctored), sections=["verdict"])
    assert "<strong>DO NOT USE</strong>" in page
    assert "100 draws of 1,000 diverged (10.00%)." in page
    assert "target_accept" in page


def test_the_specification_is_given_back(tree: xr.DataTree, page: str) -> None:
    boxes = [box for box in parsed(page).iter(f"{XHTML}div") if "code" in box.get("class", "")]
    (code,) = (box for box in boxes if texts(box[0]).startswith("Specification"))
    assert spec_from_dict(tomllib.loads(texts_as_written(code[1]))) == fitted_spec(tree)


def relative_luminance(colour: str) -> float:
    """Luminance of "#rrggbb" as WCAG 2 defines it."""
    parts = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def contrast(first: str, second: str) -> float:
    low, high = sorted((relative_luminance(first), relative_luminance(second)))
    return (high + 0.05) / (low + 0.05)


def test_colours_have_contrast_in_light_and_dark(page: str) -> None:
    blocks = re.findall(r":root \{(.*?)\}", page, flags=re.DOTALL)[:2]
    light, dark = (dict(re.findall(r"--([\w-]+): (#\w{6})", block)) for block in blocks)
    assert tuple(light[f"c{i}"] for i in range(8)) == COLOURS
    for colours in (light, dark):
        for name in set(colours) - {"rule", "paper", "soft"}:
            if not name.endswith("-soft"):
                for ground in ("paper", f"{name}-soft"):
                    assert contrast(colours[name], colours.get(ground, colours["paper"])) >= 4.5
    assert all(contrast(colour, PAPER) >= 4.5 for colour in (*COLOURS, INK, MUTED))


def test_sections_can_be_chosen(tree: xr.DataTree) -> None:
    found = parsed(render_html(tree, sections=["data", "verdict"])).iter(f"{XHTML}section")
    assert [section.get("id") for section in found] == ["data", "verdict"]


def test_an_unknown_section_is_named(tree: xr.DataTree) -> None:
    with pytest.raises(SpecError, match="got 'appendix'"):
        render_html(tree, sections=["verdict", "appendix"])


def test_a_missing_group_leaves_a_reason(tree: xr.DataTree) -> None:
    partial = tree.copy()
    del partial["modes"]
    page = render_html(partial)
    assert "Not computed, because The tree has no group &#39;modes&#39;" in page
    assert "Estimates by cluster" in page


def test_what_is_not_a_fitted_tree_is_refused() -> None:
    with pytest.raises(SchemaError, match="fitted DataTree"):
        render_html(xr.DataTree())


def test_the_file_is_written_whole(tree: xr.DataTree, page: str, tmp_path: Path) -> None:
    path = report(tree, tmp_path / "r.html")
    assert path.read_text("utf-8") == page
    assert [item.name for item in tmp_path.iterdir()] == ["r.html"]
    assert len(page.encode()) < 2_000_000


def test_a_report_loads_no_jax(tree: xr.DataTree, tmp_path: Path) -> None:
    path = tmp_path / "fit.nc"
    save(tree, path)
    code = (
        "import sys, types, jointmix\n"
        "from jointmix.reporting import render_html\n"
        f"page = render_html(jointmix.load({str(path)!r}), sections=['data'])\n"
        "print(len(page), type(sys.modules.get('jax')) is types.ModuleType)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    length, loaded = done.stdout.split()
    assert int(length) > 20_000
    assert loaded == "False"


def test_a_module_stays_hidden_until_it_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    class Lazy(ModuleType):
        pass

    lazy = Lazy("not_loaded")
    monkeypatch.setitem(sys.modules, "not_loaded", lazy)
    with hidden_until_loaded("not_loaded"):
        assert "not_loaded" not in sys.modules
    assert sys.modules["not_loaded"] is lazy
    with hidden_until_loaded("not_loaded"):
        loaded = ModuleType("not_loaded")
        sys.modules["not_loaded"] = loaded
    assert sys.modules["not_loaded"] is loaded
    with hidden_until_loaded("not_loaded"):
        assert sys.modules["not_loaded"] is loaded


def test_a_module_stays_hidden_while_another_thread_hides_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Lazy(ModuleType):
        pass

    lazy = Lazy("not_loaded")
    monkeypatch.setitem(sys.modules, "not_loaded", lazy)
    first, second = hidden_until_loaded("not_loaded"), hidden_until_loaded("not_loaded")
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert "not_loaded" not in sys.modules
    second.__exit__(None, None, None)
    assert sys.modules["not_loaded"] is lazy


def test_a_module_that_another_thread_loads_is_not_taken_from_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Taken away half-way, a package that imports itself would be loaded a second time."""
    (tmp_path / "slow_package").mkdir()
    (tmp_path / "slow_package" / "__init__.py").write_text(
        "import time\ntime.sleep(0.3)\nimport slow_package.part\nwhole = True\n"
    )
    (tmp_path / "slow_package" / "part.py").write_text("import slow_package\n")
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("slow_package", "slow_package.part"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    lazy = lazy_loader.load("slow_package")
    with ThreadPoolExecutor(1) as other:
        loading = other.submit(lambda: lazy.whole)
        time.sleep(0.1)
        with hidden_until_loaded("slow_package"):
            assert sys.modules["slow_package"] is lazy
        assert loading.result()


def test_a_run_loads_neither_jax_nor_dask(tmp_path: Path) -> None:
    """SciPy and xarray would load both, for seconds, only to ask of what kind arrays are."""
    simulate(four_clusters(2, 1), 80, 1).to_csv(tmp_path / "t.csv", index=False)
    (tmp_path / "t.toml").write_text(
        '[data]\npath = "t.csv"\nfeatures = ["x1"]\nresponse = "y"\n[model]\nclusters = 2\n'
        "[sampler]\ndraws = 100\n"
    )
    code = (
        "import atexit, sys\n"
        "from jointmix.cli import main\n"
        "atexit.register(lambda: print({'jax._src', 'dask.base'} & set(sys.modules)))\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "run", "t.toml", "--quiet"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "set()"


def test_a_fit_by_numpyro_leaves_arvizs_converter_whole() -> None:
    """ArviZ holds a JAX that is not loaded yet: another one beside it would break it."""
    code = """
import arviz as az
import jointmix as jm

sampler = jm.SamplerSpec(sampler="numpyro", draws=20, tune=20, chains=1)
spec = jm.ModelSpec(n_clusters=1, features=["x1"], sampler=sampler)
jm.fit(jm.simulate(jm.four_clusters(2), 60, seed=1), spec, progress=False)

import jax, numpyro
from numpyro.infer import MCMC, NUTS

chains = MCMC(NUTS(lambda: numpyro.sample("a", numpyro.distributions.Normal())), num_warmup=5,
              num_samples=8, progress_bar=False)
chains.run(jax.random.PRNGKey(0))
print(az.from_numpyro(chains).posterior["a"].shape)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "(1, 8)"


def labels(svg: bytes) -> list[tuple[float, float]]:
    """Places of the texts of a picture, from its left and top edge, in points."""
    places = re.findall(rb'<text [^>]*transform="[^"]*translate\(([\d.-]+) ([\d.-]+)\)', svg)
    plain = re.findall(rb'<text [^>]*x="([\d.-]+)" y="([\d.-]+)"', svg)
    return [(float(x), float(y)) for x, y in (*places, *plain)]


@pytest.mark.parametrize("scale", [1e-6, 1.0, 123456789.0])
def test_labels_stand_inside_their_picture(scale: float) -> None:
    x, y = np.linspace(-3, 5, 40) * scale, np.linspace(1, 2, 40) * scale
    rows = np.zeros(40, dtype=int)
    svg = figures.regression(x, y, rows, {}, ("a name of some length, cut", "another (unit)"))
    width, height = (float(v) for v in re.search(rb'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg).groups())
    found = labels(svg)
    assert len(found) > 6
    assert all(0 < left < width and 0 < top < height for left, top in found)


def test_a_failure_leaves_the_old_report(
    tree: xr.DataTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "r.html"
    path.write_text("old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("jointmix.storage.files.os.fsync", full)
    with pytest.raises(StorageError, match="No space left"):
        report(tree, path, sections=["verdict"])
    assert path.read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_missing_folder_is_named(tree: xr.DataTree, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="does not exist"):
        report(tree, tmp_path / "nowhere" / "r.html")


def test_a_large_table_is_thinned() -> None:
    large = fitted_tree(n_obs=30_000, n_features=2)
    page = render_html(large)
    assert "5,000 of 30,000 rows are drawn." in page
    assert len(page.encode()) < 2_500_000


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"), (4207.3, "4,207"), (0.031234, "0.03123"), (-12.5, "−12.50"),
        (1.5e9, "1.500×10⁹"), (-2.5e-12, "−2.500×10⁻¹²"), (float("nan"), "–"),
    ],
)  # fmt: skip
def test_numbers_have_four_digits(value: float, text: str) -> None:
    assert number(value) == text


def test_decimals_follow_the_spread() -> None:
    assert places_for(0.34, 55.0) == 2
    assert decimals(55.368, places_for(3.4, 55.0)) == "55.4"
    assert interval(-0.004, 1234.5, 1) == "[0.0, 1,234.5]"
    assert compact(400.0) == "400"
    assert compact(0.5) == "0.5"


def test_short_labels_stay_apart() -> None:
    names = ["b" * 100, "b" * 101, "c"]
    labels = short_labels(names)
    assert len(set(labels.values())) == 3
    assert all(len(label) <= 40 for label in labels.values())
    assert clean("a\0b\u202e\ud800") == "a�b��"


def test_entropy_by_hand() -> None:
    r = xr.DataArray([[0.5, 0.5], [1.0, 0.0], [0.25, 0.75]], dims=("obs", "cluster"))
    expected = [1.0, 0.0, -(0.25 * np.log2(0.25) + 0.75 * np.log2(0.75))]
    assert entropy_bits(r).values == pytest.approx(expected, rel=1e-12)


def test_an_ellipse_holds_its_share() -> None:
    rng = np.random.default_rng(0)
    covariance = np.array([[2.0, 0.8], [0.8, 1.0]])
    outline = ellipse(np.zeros(2), covariance, np.sqrt(stats.chi2.ppf(0.9, 2)))
    distance = (outline * np.linalg.solve(covariance, outline.T).T).sum(axis=1)
    sample = rng.multivariate_normal(np.zeros(2), covariance, size=100_000)
    inside = (sample * np.linalg.solve(covariance, sample.T).T).sum(axis=1) < distance[0]
    assert np.ptp(distance) < 1e-9
    # The binomial standard error is 0.001.
    assert inside.mean() == pytest.approx(0.9, abs=0.004)


def test_thinning_is_always_the_same() -> None:
    kept = thinned(10_000, 500)
    assert (kept == thinned(10_000, 500)).all()
    assert np.unique(kept).size == 500
    assert (thinned(5, 500) == np.arange(5)).all()


@pytest.mark.parametrize(
    "prior",
    [
        {"family": "inverse_gamma", "shape": 1.0, "scale": 0.05},
        {"family": "half_normal", "scale": 1.3},
        {"family": "half_student_t", "df": 4.0, "scale": 0.7},
        {"family": "log_normal", "loc": -1.0, "scale": 0.6},
        {"family": "gamma", "shape": 2.0, "rate": 4.0},
        {"family": "normal", "loc": 1.0, "scale": 2.5},
        {"family": "student_t", "df": 4.0, "loc": 1.0, "scale": 2.5},
        {"family": "dirichlet", "concentration": 2.0},
        {"family": "lkj", "eta": 1.0},
    ],
    ids=lambda prior: prior["family"],
)
def test_priors_meanings_agree_with_simulation(prior: dict) -> None:
    rng = np.random.default_rng(5)
    n = 200_000
    draws = {
        "inverse_gamma": lambda: np.sqrt(0.05 / rng.gamma(1.0, size=n)),
        "half_normal": lambda: np.abs(1.3 * rng.normal(size=n)),
        "half_student_t": lambda: 0.7 * np.abs(rng.standard_t(4, size=n)),
        "log_normal": lambda: np.exp(-1 + 0.6 * rng.normal(size=n)),
        "gamma": lambda: rng.gamma(2.0, 1 / 4.0, size=n),
        "normal": lambda: 1 + 2.5 * rng.normal(size=n),
        "student_t": lambda: 1 + 2.5 * rng.standard_t(4, size=n),
        "dirichlet": lambda: rng.dirichlet([2.0] * 3, size=n)[:, 0],
        # With eta = 1 and two features a correlation is uniform on (−1, 1).
        "lkj": lambda: rng.uniform(-1, 1, size=n),
    }[prior["family"]]()
    family = FAMILIES[prior["family"]]
    values = {name: value for name, value in prior.items() if name != "family"}
    found = standard_interval(family(**values), n_clusters=3, n_features=2)
    inside = ((draws > found[0]) & (draws < found[1])).mean()
    # The binomial standard error is 0.0007.
    assert inside == pytest.approx(0.9, abs=0.003)
    assert (draws < found[0]).mean() == pytest.approx(0.05, abs=0.003)


def test_entries_have_the_decimals_that_were_recorded() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=200)
    assert entry_places(np.round(40 + 5 * x, 1)) == 1
    assert entry_places(np.round(4000 + 800 * x)) == 0
    assert entry_places(np.append(np.round(40 + 5 * x, 1), np.nan)) == 1
    # As measured, to a thousandth of their spread, which lies between 0.1 and 1 or 1 and 10.
    assert [entry_places(scale * x) for scale in (0.5, 5.0, 5e6)] == [4, 3, 0]
    assert entry_places(np.full(5, 0.25)) == 2
    # Seconds since 1970, ten-thousandths apart: less than a millionth of a millionth of them.
    assert entry_places(1.7e9 + np.round(0.0005 * x, 4)) == 4
    assert entry_places(np.array([np.nan])) == 0
