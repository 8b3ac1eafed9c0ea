"""A folder of recipes: what is built, what is left as it is, and what the index says."""

import json
import shutil
from pathlib import Path

import html5lib
import pytest
from test_cli import assert_refused, call, names
from test_cli_scores import RECIPE

from jointmix.base.errors import SpecError
from jointmix.cli.building import Built, build, index_page
from jointmix.model.simulate import four_clusters, simulate

OUTPUTS = {"a.html", "a.nc", "a.json"}


def put(folder: Path, name: str, report: str = "") -> None:
    (folder / f"{name}.toml").write_text(RECIPE + report)


@pytest.fixture(scope="module")
def built_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one recipe, built."""
    folder = tmp_path_factory.mktemp("recipes")
    simulate(four_clusters(2, 1), 80, 1).to_csv(folder / "t.csv", index=False)
    put(folder, "a", '[report]\nsections = ["verdict"]\ntitle = "<b>First</b> & last"\n')
    assert [each.status for each in build(folder)] == ["built"]
    return folder


@pytest.fixture
def folder(built_once: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(built_once, tmp_path / built_once.name))


def test_outputs_stand_beside_the_recipe(folder: Path) -> None:
    assert names(folder) == {"a.toml", "t.csv", "index.html"} | OUTPUTS
    content = json.loads((folder / "a.json").read_text())
    assert content["verdict"] in ("OK", "CAUTION", "DO NOT USE")
    assert content["built"]["report"] == "a.html"
    page = (folder / "index.html").read_text("utf-8")
    html5lib.HTMLParser(strict=True).parse(page)
    assert '<a href="a.html">&lt;b&gt;First&lt;/b&gt; &amp; last</a>' in page
    assert "<script" not in page
    assert "http" not in page.replace("http-equiv", "")


def test_only_what_changed_is_built(folder: Path) -> None:
    before = {name: (folder / name).read_bytes() for name in names(folder)}
    (built,) = build(folder)
    assert built.status == "unchanged"
    assert built.n_obs == 80
    assert {name: (folder / name).read_bytes() for name in names(folder)} == before
    with (folder / "a.toml").open("a") as stream:
        stream.write("# a remark\n")
    assert [each.status for each in build(folder)] == ["built"]


@pytest.mark.parametrize("what", ["t.csv", "a.html", "a.json", "a.nc"])
def test_what_was_touched_is_built_again(folder: Path, what: str) -> None:
    if what == "a.nc":
        (folder / what).unlink()
    elif what == "t.csv":
        simulate(four_clusters(2, 1), 90, 2).to_csv(folder / what, index=False)
    else:
        (folder / what).write_text("something else")
    (built,) = build(folder)
    assert built.status == "built"
    assert built.n_obs == (90 if what == "t.csv" else 80)


def test_one_that_fails_does_not_stop_the_others(folder: Path) -> None:
    put(folder, "b", "[report]\nsections = ['none']\n")
    put(folder, "c", '[report]\npath = "sub/c.html"\n')
    (folder / "d.toml").write_text(RECIPE.replace("t.csv", "none.csv"))
    done = call("build", folder, "--jobs", 2, "--quiet")
    assert done.exit_code == 2
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["unchanged", *["failed"] * 3, "index:"]
    assert "sections of [report] must be among" in lines[1]
    assert "does not exist" in lines[2]
    assert "is no file" in lines[3]
    page = (folder / "index.html").read_text("utf-8")
    html5lib.HTMLParser(strict=True).parse(page)
    assert page.count("failed") >= 3
    found = json.loads(call("build", folder, "--json", "--quiet").stdout)
    assert [each["status"] for each in found] == ["unchanged", "failed", "failed", "failed"]


def test_the_exit_code_speaks_for_all(folder: Path) -> None:
    assert call("build", folder).exit_code == 0
    content = json.loads((folder / "a.json").read_text())
    verdict = content["built"]["verdict"]
    assert call("build", folder, "--strict").exit_code == (0 if verdict == "OK" else 1)
    content["built"]["verdict"] = "DO NOT USE"
    (folder / "a.json").write_text(json.dumps(content))
    assert call("build", folder, "--strict").exit_code == 1
    forced = call("build", folder, "--force")
    assert forced.stdout.startswith("built")


def test_two_recipes_cannot_write_one_file(folder: Path) -> None:
    put(folder, "b", '[report]\npath = "a.html"\n')
    with pytest.raises(SpecError, match=r"b\.toml: would write .*a\.html, as does a\.toml"):
        build(folder)
    put(folder, "b", '[report]\npath = "index.html"\n')
    assert_refused(call("build", folder), "as does the index")


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    assert_refused(call("build", tmp_path), "holds no recipes")
    assert_refused(call("build", tmp_path / "none"), "holds no recipes")


def test_addresses_are_quoted(tmp_path: Path) -> None:
    odd = Built(recipe="x.toml", status="built", verdict="OK", title="t",
                report='javascript:alert(1)" onclick="x.html')  # fmt: skip
    page = index_page(tmp_path, [odd])
    assert 'href="javascript%3Aalert%281%29%22%20onclick%3D%22x.html"' in page
