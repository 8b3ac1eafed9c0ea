"""Findings by number: all that can be found has one, and verdicts put aside what they are told."""

import ast
import json
from pathlib import Path

import pytest
from synthetic import penguins_tree
from typer.testing import CliRunner

import jointmix as jm
from jointmix.base.codes import code_of, references
from jointmix.checks import CHECKS, Finding, judge, put_aside, stored_diagnosis, verdict
from jointmix.cli.commands import app

SOURCES = Path(jm.__file__).parent


def warned() -> set[str]:
    """First arguments of all calls of `warning` in the package, where they are texts."""
    found = set()
    for path in SOURCES.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "warning":
                first = node.args[0]
                if isinstance(first, ast.Constant):
                    found.add(str(first.value).replace("_", " "))
    return found


def test_every_check_and_every_warning_has_a_number() -> None:
    names = {module.CODE for module in CHECKS} - {"notes"} | warned() | {"binary", "counts"}
    assert len(names) > 40
    assert {name for name in names if not code_of(name)} == set()
    # And what has a number can be found.
    assert set(references()) - names == {"one cluster"}
    codes = [each.code for each in references().values()]
    assert len(set(codes)) == len(codes)
    assert codes == sorted(codes)


def test_a_number_and_a_name_explain_the_same() -> None:
    found = jm.explain("JM101")
    assert found == jm.explain("rhat")
    assert str(found).startswith("JM101 (rhat): Chains disagree.")
    assert max(map(len, str(found).splitlines())) <= 80
    assert "JM101" in found._repr_html_()
    with pytest.raises(jm.JointmixError, match="JM4' are several"):
        jm.explain("JM4")
    with pytest.raises(jm.JointmixError, match="names no finding: 'JM'"):
        jm.explain("JM")


def finding(code: str, status: str) -> Finding:
    numbers = {"value": 1.0, "threshold": 1.0, "message": "m", "remedy": "r", "source": "s"}
    return Finding(code=code, subject="x", status=status, **numbers)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("statuses", "ignored", "expected"),
    [
        ({"rhat": "ok", "ties": "caution"}, {"ties"}, "OK"),
        ({"rhat": "ok", "ties": "caution"}, {"rhat"}, "CAUTION"),
        ({"rhat": "fail"}, {"rhat"}, "CAUTION"),
        ({"rhat": "fail", "ess": "fail"}, {"rhat"}, "DO NOT USE"),
    ],
)
def test_failures_put_aside_leave_caution(
    statuses: dict[str, str], ignored: set[str], expected: str
) -> None:
    found = [finding(code, status) for code, status in statuses.items()]
    assert verdict(found, frozenset(ignored)) == expected


def test_a_fit_keeps_what_it_puts_aside() -> None:
    tree = judge(penguins_tree())
    tree.attrs["notes"] = json.dumps(
        [{"code": "near_collinear", "message": "Columns are alike.", "subject": "a"}]
    )
    assert judge(tree).attrs["verdict"] == "CAUTION"
    found = jm.diagnose(tree, ignore=["JM4"])
    assert (found.verdict, found.concerns) == ("OK", ())
    line = "put aside: caution: near collinear:a: Columns are alike. [JM418]"
    assert found.lines() == ["verdict: OK", line]
    kept = stored_diagnosis(put_aside(tree, ["near collinear"]))
    assert kept.lines() == found.lines() == jm.diagnose(tree).lines()
    assert judge(tree).attrs["verdict"] == "OK"
    plain = kept.as_dict()
    assert [each["code"] for each in plain["put_aside"]] == ["JM418"]
    assert plain["findings"] == []
    only = jm.diagnose(tree, select=["JM1"])
    assert {each.number[:3] for each in only.findings} == {"JM1"}


@pytest.mark.parametrize("damaged", ["JM4", "[4]", "3", '["JM9"]'])
def test_what_a_fit_keeps_of_it_may_be_damaged(damaged: str) -> None:
    tree = penguins_tree()
    tree.attrs["ignored"] = damaged
    for judged in (jm.diagnose, judge, stored_diagnosis):
        with pytest.raises(jm.JointmixError, match="'ignored' is damaged"):
            judged(tree)


@pytest.mark.parametrize("wrong", ["JM401", [4], ["JM9"], ["Ties"], 3])
def test_codes_that_mean_nothing_are_refused(wrong: object) -> None:
    with pytest.raises(jm.JointmixError, match="ignore"):
        jm.diagnose(penguins_tree(), ignore=wrong)  # type: ignore[arg-type]
    with pytest.raises(jm.JointmixError, match=r"ignore of \[report\]"):
        jm.ReportSpec(ignore=wrong)  # type: ignore[arg-type]


def test_commands_explain_and_list() -> None:
    run = CliRunner().invoke
    assert run(app, ["explain", "JM103"]).stdout.startswith("JM103 (divergences): ")
    listed = run(app, ["explain"]).stdout.splitlines()
    assert len(listed) == len(references())
    assert run(app, ["diagnose", "--help"]).exit_code == 0
