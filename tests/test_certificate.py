"""The certificate as a value, in a tree, in the report and on the command line."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from test_agreement import bare
from test_cli import assert_refused, call
from test_cli_scores import RECIPE

import jointmix as jm
from jointmix.base.errors import SchemaError
from jointmix.model.simulate import four_clusters, simulate
from jointmix.reporting import render_html
from jointmix.validation.agreement import attach, implementations, stored_certificate
from jointmix.validation.agreement.certificate import PosteriorAgreement, Run
from jointmix.validation.agreement.comparison import Difference
from jointmix.validation.agreement.posterior import compare_posteriors, scalars

pytest.importorskip("funsor")

RUNS = (Run("nutpie on kernel", 400, 0.5, 1.0, 390.0), Run("NumPyro", 400, 5.0, 4.0, 200.0))
MODEL = """
import csv
import jax.numpy as jnp, numpyro, numpyro.distributions as dist
from pathlib import Path

with (Path(__file__).parent / "t.csv").open() as stream:
    rows = [(float(row["x1"]), float(row["y"])) for row in csv.DictReader(stream)]
x, y = jnp.array([row[0] for row in rows]), jnp.array([row[1] for row in rows])
x, y = (x - x.mean()) / x.std(), (y - y.mean()) / y.std()

def right(scale=2.5):
    w = numpyro.sample("w", dist.Dirichlet(jnp.full(2, 2.0)))
    with numpyro.plate("components", 2):
        m = numpyro.sample("m", dist.Normal(0, MEAN))
        b = numpyro.sample("b", dist.Normal(0, INTERCEPT))
        t = numpyro.sample("t", dist.Normal(0, scale))
        v = numpyro.sample("v", dist.InverseGamma(SD))
        s = numpyro.sample("s", dist.InverseGamma(SIGMA))
    with numpyro.plate("data", len(y)):
        z = numpyro.sample("z", dist.Categorical(w))
        numpyro.sample("x", dist.Normal(m[z], jnp.sqrt(v[z])), obs=x)
        numpyro.sample("y", dist.Normal(b[z] + x * t[z], jnp.sqrt(s[z])), obs=y)

def wrong():
    right(1.0)

broken = 3
"""


def certificate(**changes: object) -> jm.Certificate:
    worst = Difference(
        "kernel", "SciPy", "gradient", 2e-13, 1e-9, (1.0, 1.0), 3, "location", (1, 0)
    )
    found = jm.Certificate(
        ("kernel", "SciPy"), 30, 9, 60, 2, 9, (worst,), (), (), None, {}, "abc", {}
    )
    return dataclasses.replace(found, **changes)


def draws(rng: np.random.Generator, shift: float = 0.0, n: int = 500) -> xr.Dataset:
    """Independent normal draws of 8 parameters."""
    values = shift + rng.normal(size=(4, n, 2, 4))
    return xr.Dataset({"mean": (("chain", "draw", "cluster", "feature"), values)},
                      coords={"cluster": [1, 2], "feature": list("abcd")})  # fmt: skip


def test_a_certificate_passes_when_all_agrees() -> None:
    found = certificate()
    assert found.passed
    assert found.lines() == [
        "AGREE: 2 implementations at 30 random and 9 extreme points (kernel, SciPy)",
        "ok   gradient    2.0e-13 of 1e-09: kernel and SciPy at point 3, location[1, 0]: 1, 1",
    ]
    apart = dataclasses.replace(found.differences[0], size=float("inf"), values=(1.0, np.nan))
    for change in ({"differences": (apart,)}, {"findings": ("Something.",)}):
        failed = certificate(**change)
        assert not failed.passed
        assert failed.lines()[0].startswith("DIFFER")
        # JSON knows no infinity.
        assert json.loads(failed.to_json())["passed"] is False
    assert (
        json.loads(certificate(differences=(apart,)).to_json())["differences"][0]["size"] == "inf"
    )


def test_equal_posteriors_agree_and_shifted_ones_do_not() -> None:
    rng = np.random.default_rng(41)
    alike = [compare_posteriors(draws(rng), draws(rng), RUNS) for _ in range(40)]
    # 40 certificates, each with a chance of 1.1% to fail: more than four happen once in 4,000.
    assert sum(not found.agrees for found in alike) <= 4
    assert 0.85 < np.sqrt(np.mean([found.rms**2 for found in alike])) < 1.15
    assert alike[0].n == 32
    assert alike[0].n_parameters == 8
    # A tenth of a standard deviation is 3 to 4 standard errors of the difference of means.
    shifted = compare_posteriors(draws(rng), draws(rng, 0.1), RUNS)
    assert not shifted.agrees
    assert "mean" in shifted.where


def test_what_is_the_same_counts_once() -> None:
    rng = np.random.default_rng(42)
    values = rng.normal(size=(2, 50, 1))
    names = ("chain", "draw", "cluster", "feature")
    tied = xr.Dataset({"sd": (names, np.repeat(values[..., None], 3, axis=3)),
                       "one": (names[:3], np.ones((2, 50, 1)))},
                      coords={"cluster": [1], "feature": list("abc")})  # fmt: skip
    assert list(scalars(tied)) == ["sd[1, a]"]


def test_a_fit_keeps_its_certificate(four_cluster_fit: xr.DataTree, tmp_path: Path) -> None:
    tree = four_cluster_fit.copy()
    assert stored_certificate(tree) is None
    alone = render_html(tree, sections=["agreement"])
    assert "Independent implementations of this model were not compared" in alone
    # A line of the whole report, in place of a section.
    assert "a cross-check of implementations (jointmix crosscheck --fit)" in render_html(tree)
    with pytest.raises(SchemaError, match="of other data"):
        attach(tree, certificate())
    posterior = PosteriorAgreement(32, 8, 2.1, 3.8, "sd of mean[1, a]", 0, 0.97, 1.6, RUNS)
    good = certificate(digest=tree.attrs["data_hash"], posterior=posterior)
    jm.save(attach(tree, good), tmp_path / "fit.nc")
    again = jm.load(tmp_path / "fit.nc")
    assert stored_certificate(again) == json.loads(good.to_json())
    page = render_html(again, sections=["agreement"])
    for text in ("All implementations agree", "NumPyro", "location[1, 0]", "2.10 combined"):
        assert text in page
    far = dataclasses.replace(posterior, largest=4.2)
    assert not dataclasses.replace(good, posterior=far).passed
    assert not dataclasses.replace(good, posterior=dataclasses.replace(posterior, rms=1.7)).passed
    assert "differ by more than chance" in render_html(
        attach(again, dataclasses.replace(good, posterior=far)), sections=["agreement"]
    )
    bad = dataclasses.replace(good, findings=("your model: <script>alert(1)</script>",))
    page = render_html(attach(again, bad), sections=["agreement"])
    assert "Implementations differ" in page
    assert "<script" not in page


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("crosscheck")
    (place / "spec.toml").write_text(RECIPE)
    simulate(four_clusters(2, 1), 80, 1).to_csv(place / "t.csv", index=False)
    priors = bare(6, 1, 2, 1).spec.priors
    text = MODEL.replace("MEAN", str(priors.mean.scale))
    text = text.replace("INTERCEPT", str(priors.intercept.scale))
    for name, prior in (("SD", priors.sd), ("SIGMA", priors.sigma)):
        text = text.replace(name, f"{prior.shape}, {prior.scale}")
    (place / "own.py").write_text(text)
    return place


def test_the_command_writes_a_certificate(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By what is quickly compiled; test_agreement has all implementations."""
    monkeypatch.setattr(implementations, "pymc_side", lambda *_: None)
    monkeypatch.setattr(implementations, "forms_of", lambda _: ("marginal",))
    assert call("fit", folder / "spec.toml", "--quiet").exit_code == 0
    fit = folder / "spec.nc"
    own = ["--points", 20, "--fit", fit, "--report", folder / "held.html", "--json"]
    done = call("crosscheck", folder / "spec.toml", *own)
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["passed"] is True
    assert found["posterior"]["agrees"] is True
    assert [run["draws"] for run in found["posterior"]["runs"]] == [200, 200]
    assert "All implementations agree" in (folder / "held.html").read_text("utf-8")
    other = (folder / "spec.toml").read_text().replace("clusters = 2", "clusters = 1")
    (folder / "other.toml").write_text(other)
    assert_refused(call("crosscheck", folder / "other.toml", "--fit", fit), "another specification")
    stored = stored_certificate(jm.load(fit))
    assert stored is not None
    assert stored["passed"] is True


SITES = ("weight=w", "mean=m", "intercept=b", "slope=t", "variance=v", "noise_variance=s")
NAMED = [part for site in SITES for part in ("--name", site)]


def test_the_command_judges_a_model_of_ones_own(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By what is quickly compiled; test_agreement has all implementations."""
    monkeypatch.setattr(implementations, "pymc_side", lambda *_: None)
    monkeypatch.setattr(implementations, "forms_of", lambda _: ("marginal",))
    own = ["crosscheck", folder / "spec.toml", "--points", 20, "--no-posterior", *NAMED, "--model"]
    right = call(*own, f"{folder / 'own.py'}:right")
    assert right.exit_code == 0, right.output
    assert right.stdout.startswith("AGREE")
    assert "your model" in right.stdout
    wrong = call(*own, f"{folder / 'own.py'}:wrong")
    assert wrong.exit_code == 1
    assert wrong.stdout.startswith("DIFFER")
    assert "The prior of the slope has the scale 1 in place of 2.5" in wrong.stdout
    assert_refused(call(*own, f"{folder / 'own.py'}:broken"), "has no callable 'broken'")
    assert_refused(call(*own, f"{folder / 'none.py'}:right"), "is no file")
    assert_refused(call(*own, "own"), "takes FILE.py:NAME")
    (folder / "bad.py").write_text("1 / 0")
    assert_refused(call(*own, f"{folder / 'bad.py'}:right"), "fails with ZeroDivisionError")
    assert_refused(
        call("crosscheck", folder / "spec.toml", "--name", "weight"), "takes a pair such as"
    )
