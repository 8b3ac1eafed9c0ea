"""Words, equations and tables follow from the blocks, for families from elsewhere too."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from html5lib import HTMLParser
from scipy import stats
from synthetic import fitted_tree

import jointmix as jm
from jointmix import families
from jointmix.families.normal.block import NormalResponse
from jointmix.families.priors.priors import Fixed, Gamma, Priors
from jointmix.families.words import BlockWords, words_of
from jointmix.model.spec import ModelSpec
from jointmix.posterior.differences import contrasts, r_squared
from jointmix.reporting import render_html
from jointmix.reporting.estimated import estimates, overview
from jointmix.reporting.fitted import Estimate, FittedView
from jointmix.reporting.model_graph import model_graph
from jointmix.reporting.prior_meaning import meanings
from jointmix.reporting.sections import clusters, model

USUAL = {"n_clusters": 2, "features": ["a", "b"], "predictors": ["a"], "response": "y"}
LINE = (
    "<mrow><msub><mi>b</mi><mi>k</mi></msub><mo>+</mo><mrow><msubsup><mi>𝐮</mi><mi>i</mi>"
    "<mo>⊤</mo></msubsup><msub><mi>𝛉</mi><mi>k</mi></msub></mrow></mrow>"
)


def student_tree(df: tuple[float, ...] = (4.0, 60.0), **options: object) -> xr.DataTree:
    """A fitted tree whose response is said to be Student-t, with draws about ``df``."""
    tree = fitted_tree(**({"n_clusters": len(df), "n_features": 2} | options))
    spec = json.loads(tree.attrs["spec"])
    spec["model"]["family"] = "student_t"
    tree.attrs["spec"] = json.dumps(spec)
    sigma = tree["posterior"]["sigma"]
    noise = np.random.default_rng(2).normal(scale=0.1, size=sigma.shape)
    tree["posterior"]["df"] = sigma.copy(data=np.array(df) * np.exp(noise))
    return tree


def response_words(**changes: object) -> BlockWords:
    return words_of(ModelSpec(**(USUAL | changes)).blocks[-1])


def test_the_equation_of_a_normal_response() -> None:
    assert response_words().term == (
        "<mrow><mi>𝒩</mi><mo>(</mo><mrow><msub><mi>y</mi><mi>i</mi></msub><mo>∣</mo>"
        f"{LINE}<mo>,</mo><msubsup><mi>σ</mi><mi>k</mi><mn>2</mn></msubsup></mrow><mo>)</mo></mrow>"
    )


@pytest.mark.parametrize(
    ("changes", "scale"),
    [
        ({}, "<msub><mi>σ</mi><mi>k</mi></msub>"),
        ({"noise": "shared"}, "<mi>σ</mi>"),
        ({"noise": "fixed", "priors": Priors(sigma=Fixed(value=1.0))}, "<mi>σ</mi>"),
        ({"noise": "fixed", "priors": Priors(sigma=Fixed(value=[1.0, 2.0]))},
         "<msub><mi>σ</mi><mi>k</mi></msub>"),
    ],
    ids=["cluster", "shared", "fixed", "fixed by cluster"],
)  # fmt: skip
def test_the_equation_of_a_student_response(changes: dict, scale: str) -> None:
    assert response_words(family="student_t", **changes).term == (
        "<mrow><mi>t</mi><mo>(</mo><mrow><msub><mi>y</mi><mi>i</mi></msub><mo>∣</mo>"
        f"<msub><mi>ν</mi><mi>k</mi></msub><mo>,</mo>{LINE}<mo>,</mo>{scale}</mrow><mo>)</mo></mrow>"
    )


def test_one_cluster_has_no_index() -> None:
    term = response_words(family="student_t", n_clusters=1, intercept=False).term
    assert "<mi>k</mi>" not in term
    assert "<mi>b</mi>" not in term


def test_structure_in_sentences() -> None:
    said = response_words(family="student_t", noise="shared", intercept=False).structure
    assert said[:2] == (
        "All clusters share one scale σ.",
        "The regressions pass through the origin (b = 0).",
    )
    assert said[2].startswith("Each cluster has its own degrees of freedom ν")
    fixed = response_words(family="student_t", priors=Priors(df=Fixed(value=4.0))).structure
    assert fixed[-1].startswith("The degrees of freedom ν are fixed by the user")
    assert response_words().structure == ("Each cluster has its own noise σ.",)


@pytest.mark.parametrize(
    ("lower", "upper", "said"),
    [
        (1.2, 1.9, "no variance"),
        (1.2, 6.0, "heavier tails than normal"),
        (31.0, 80.0, "hardly different from normal"),
        (6.0, 80.0, "do not tell"),
    ],
)
def test_tails_are_judged_by_the_interval(lower: float, upper: float, said: str) -> None:
    df = Estimate((lower + upper) / 2, 1.0, lower, upper, 0.01, 400, 400, 1.0)
    remark = response_words(family="student_t").remark({"df": df})
    assert remark == f"ν = {df.text}: {remark.split(': ')[1]}"
    assert said in remark
    assert response_words().remark({"sigma": df}) == ""


def test_tables_of_a_student_fit_show_its_degrees_of_freedom() -> None:
    view = FittedView(student_tree())
    parameters = {row[1].text: [cell.text for cell in row] for row in model._parameters(view).rows}
    assert list(parameters) == list(view.model.parameters)
    low, high = stats.gamma.ppf([0.05, 0.95], 2.0, scale=10.0)
    assert parameters["df"] == [
        "ν", "df", "cluster", "degrees of freedom of the response about its line",
        f"Gamma(2, 0.1): 90% between {low:.1f} and {high:.0f}",
    ]  # fmt: skip
    assert parameters["sigma"][3] == "scale of the response about its line"
    name, column, bounds = meanings(view)[-1]
    assert (name, column) == ("df", "")
    assert bounds == pytest.approx([low, high], rel=1e-12)
    shown = {row[0].text: row for row in overview(view, estimates(view))[0].rows}
    assert [cell.text for cell in shown["df"][2:]] == [
        view.estimate("df", cluster=k).value for k in range(2)
    ]
    said = [clusters._equation(view, k)[1].text for k in range(2)]
    assert "heavier tails than normal" in said[0]
    assert "hardly different from normal" in said[1]
    sigma, df = (view.estimate(name, cluster=0).text for name in ("sigma", "df"))
    assert said[0].startswith(
        f"Rows scatter about the line with a scale of {sigma} and {df} degrees of freedom;"
    )


def test_priors_on_the_users_scale_by_hand() -> None:
    view = FittedView(fitted_tree(n_clusters=2, n_features=2, predictors=["x2", "outside"]))
    center, scale = (dict(zip(view.scaling, column, strict=True))
                     for column in zip(*view.scaling.values(), strict=True))  # fmt: skip
    tail = 2.5 * stats.norm.ppf(0.95)
    sd = np.sqrt(stats.invgamma.ppf([0.05, 0.95], 1.0, scale=0.05))
    expected = {
        ("weight", ""): stats.beta.ppf([0.05, 0.95], 2, 2),
        ("correlation", ""): [-0.9, 0.9],
        ("intercept", ""): center["y"] + scale["y"] * np.array([-tail, tail]),
        ("sigma", ""): scale["y"] * np.exp(stats.norm.ppf([0.05, 0.95], -5.0, 3.0)),
    }
    for name in ("x1", "x2"):
        expected["mean", name] = center[name] + scale[name] * np.array([-tail, tail])
        expected["sd", name] = scale[name] * sd
    for name in ("x2", "outside"):
        expected["slope", name] = scale["y"] / scale[name] * np.array([-tail, tail])
    found = {(name, column): bounds for name, column, bounds in meanings(view)}
    assert found.keys() == expected.keys()
    for key, bounds in expected.items():
        np.testing.assert_allclose(found[key], bounds, rtol=1e-12, err_msg=str(key))


def test_what_is_not_free_has_no_prior() -> None:
    tree = fitted_tree(n_clusters=1, n_features=2)
    spec = json.loads(tree.attrs["spec"])
    spec["model"] |= {"covariance": "diagonal", "intercept": False}
    tree.attrs["spec"] = json.dumps(spec)
    view = FittedView(tree)
    said = {row[1].text: row[-1].text for row in model._parameters(view).rows}
    assert {name for name, prior in said.items() if prior == "–"} == {
        "weight", "correlation", "intercept",
    }  # fmt: skip
    assert {name for name, _, _ in meanings(view)} == {"mean", "sd", "slope", "sigma"}


def test_a_student_report_is_whole() -> None:
    wanted = ("verdict", "model", "clusters", "convergence", "reproduce")
    page = render_html(student_tree(), sections=wanted)
    HTMLParser(strict=True).parse(page)
    assert "<title>Cluster-weighted Student-t regression of y in 2 clusters" in page
    assert "a Student-t density of the response about its regression line" in page
    assert "family = &#34;student_t&#34;" in page
    assert "Not computed" not in page
    mixture = render_html(student_tree(features=False, predictors=["p"]), sections=("reproduce",))
    assert "<title>Mixture of Student-t regressions of y in 2 clusters" in mixture
    assert "Clusters are Student-t components" in mixture
    one = render_html(student_tree(df=(4.0,)), sections=("reproduce",))
    assert "<title>Student-t regression of y<" in one


def test_the_graph_has_a_node_for_the_degrees_of_freedom() -> None:
    arrows = [
        tuple(c.text for c in row) for row in model_graph(FittedView(student_tree())).table.rows
    ]
    assert ("ν: degrees of freedom", "y: response") in arrows
    assert ("σ: scale", "y: response") in arrows
    assert ("b, θ: intercepts and slopes", "y: response") in arrows


def test_contrasts_take_any_parameter_of_the_model() -> None:
    tree = student_tree()
    df = tree["posterior"]["df"].values
    table = contrasts(tree)
    assert table.loc["df[cluster 1 − cluster 2]", "mean"] == pytest.approx(
        (df[:, :, 0] - df[:, :, 1]).mean(), rel=1e-12
    )
    plain = contrasts(fitted_tree(n_clusters=2, n_features=2))
    assert set(table.index) - set(plain.index) == {"df[cluster 1 − cluster 2]"}
    # A name that other models have is left out, as ever.
    assert contrasts(fitted_tree(n_clusters=2), ("df",)).empty
    assert "df[cluster 2]" in jm.summary(tree).index


def test_nothing_is_explained_of_a_response_without_variance() -> None:
    found, plain = r_squared(student_tree((1.0, 60.0))), r_squared(student_tree((8.0, 60.0)))
    assert (found["cluster_r2"].sel(cluster=1) == 0).all()
    np.testing.assert_array_equal(
        found["cluster_r2"].sel(cluster=2), plain["cluster_r2"].sel(cluster=2)
    )
    for name in ("within", "between", "bayesian_r2"):
        assert (found[name] == 0).all()
        assert (plain[name] > 0).all()


def test_variance_counts_the_tails_by_hand() -> None:
    tree = student_tree((5.0, 60.0))
    sigma, df = (tree["posterior"][name].values for name in ("sigma", "df"))
    normal = fitted_tree(n_clusters=2, n_features=2)
    normal["posterior"]["sigma"].values[:] = sigma * np.sqrt(df / (df - 2))
    one, other = r_squared(tree), r_squared(normal)
    for name in one:
        # The predictors' shares are weighed by the features alone, so that all else is alike.
        np.testing.assert_allclose(one[name], other[name], rtol=1e-10)


class LaplaceResponse(NormalResponse):
    """A family from elsewhere that brings no words of its own kind but a base's."""

    family = "laplace"
    words = "a Laplace density"


def test_what_a_family_does_not_say_its_base_says() -> None:
    spec = ModelSpec(**USUAL)
    assert type(words_of(LaplaceResponse(spec))) is type(words_of(NormalResponse(spec)))


def test_a_package_brings_its_own_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "elsewhere"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "block.py").write_text(
        "from jointmix.families.student_t.block import StudentTResponse\n"
        "class Heavy(StudentTResponse):\n    family = 'heavy'\n    words = 'a heavy density'\n"
    )
    (package / "words.py").write_text(
        "from jointmix.families.words import RegressionWords\n"
        "class HeavyWords(RegressionWords):\n    scale = 'spread'\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(families, "_RESPONSES", dict(families._RESPONSES))
    from elsewhere.block import Heavy

    families.register(Heavy)
    tree = student_tree()
    spec = json.loads(tree.attrs["spec"])
    spec["model"]["family"] = "heavy"
    tree.attrs["spec"] = json.dumps(spec)
    view = FittedView(tree)
    page = render_html(tree, sections=("model", "clusters", "estimates", "verdict"))
    assert "Each cluster has its own spread σ." in page
    assert "times a heavy density" in page
    # What it does not say is plain.
    assert view.words[-1].kind("regression") == "heavy regression"
    assert view.words[-1].term.count("<msub><mi>ν</mi><mi>k</mi></msub>") == 1
    assert "Rows scatter about the line with scale of the response about its line" in page
    assert "Df: degrees of freedom of the response about its line" in page
    for name in [name for name in sys.modules if name.startswith("elsewhere")]:
        monkeypatch.delitem(sys.modules, name)


def test_own_priors_are_foreign_to_other_families() -> None:
    assert "df" not in families.foreign_priors("student_t")
    assert {"df", "shape"} <= set(families.foreign_priors("normal"))
    assert "shape" not in families.foreign_priors("gamma")
    assert ModelSpec(**USUAL, priors=Priors(df=Gamma(shape=2.0, rate=0.1))).priors == Priors()
