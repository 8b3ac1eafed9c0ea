"""Recipes and specifications come back from text as they went in, or are refused by name."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jointmix.base.errors import DataError, JointmixError, SpecError
from jointmix.base.schema import SECTION_IDS
from jointmix.families.priors.priors import (
    LKJ,
    Dirichlet,
    Fixed,
    Gamma,
    HalfNormal,
    HalfStudentT,
    InverseGamma,
    LogNormal,
    Normal,
    Priors,
    StudentT,
)
from jointmix.fitting.recipe import (
    Recipe,
    parse_recipe,
    read_recipe,
    recipe_text,
    write_recipe,
)
from jointmix.fitting.report_spec import ReportSpec
from jointmix.model.serialised import spec_from_dict, spec_to_dict
from jointmix.model.settings import CHAIN_METHODS, SAMPLERS, SamplerSpec
from jointmix.model.spec import ModelSpec

EXAMPLES = Path(__file__).parents[1] / "examples"
MINIMAL = '[data]\nfeatures = ["a"]\n[model]\nclusters = 2\n'

# fmt: off
HOSTILE = [
    "a.b", '"', "'", "'''", "\\", "\\u0041", "a\nb", "a\r\nb", "\t", "\x7f", "\x01", "#", "=",
    "[x]", "<script>", "{{7*7}}", "../../x", "\u202e", "\U0001f600", "\ufeff", "family",
]
# fmt: on
positive = st.floats(1e-300, 1e300)
real = st.floats(-1e300, 1e300)
names = st.one_of(
    st.text(
        st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=9
    ),
    st.sampled_from(HOSTILE),
)
locations = st.one_of(
    st.builds(Normal, loc=real, scale=positive),
    st.builds(StudentT, df=positive, loc=real, scale=positive),
    st.builds(Fixed, value=real),
)
scales = st.one_of(
    st.builds(InverseGamma, shape=positive, scale=positive),
    st.builds(HalfNormal, scale=positive),
    st.builds(HalfStudentT, df=positive, scale=positive),
    st.builds(LogNormal, loc=real, scale=positive),
    st.builds(Gamma, shape=positive, rate=positive),
)


@st.composite
def sampler_specs(draw: st.DrawFn) -> SamplerSpec:
    sampler = draw(st.sampled_from(sorted(SAMPLERS)))
    backend = draw(st.sampled_from(["auto", *SAMPLERS[sampler]]))
    whitens = sampler in ("nutpie", "auto") and backend in ("auto", "kernel")
    adaptations = ["auto", "low_rank", "diag", *(["laplace"] if whitens else [])]
    return SamplerSpec(
        draws=draw(st.integers(4, 10**6)),
        tune=draw(st.integers(1, 10**6)),
        chains=draw(st.integers(1, 64)),
        sampler=sampler,
        backend=backend,
        adaptation=draw(st.sampled_from(adaptations)),
        chain_method=draw(st.sampled_from(CHAIN_METHODS)),
        target_accept=draw(st.floats(0.01, 0.99)),
        starts=draw(st.integers(1, 99)),
        cores=draw(st.none() | st.integers(1, 64)),
    )


samplers = sampler_specs()


@st.composite
def specs(draw: st.DrawFn) -> ModelSpec:
    columns = draw(st.lists(names, min_size=2, max_size=5, unique=True))
    response, *others = columns
    fixed_covariance, fixed_noise = draw(st.booleans()), draw(st.booleans())
    family = draw(st.sampled_from(["normal", "student_t"]))
    df = draw(st.builds(Gamma, shape=positive, rate=positive) | st.builds(Fixed, value=positive))
    own = {"df": df} if family == "student_t" else {}
    priors = Priors(
        **own,
        weight=draw(st.builds(Dirichlet, concentration=positive)),
        mean=draw(locations),
        sd=draw(scales),
        correlation=draw(st.builds(LKJ, eta=positive)),
        covariance=Fixed(value=draw(positive)) if fixed_covariance else None,
        intercept=draw(st.builds(Normal, loc=real, scale=positive)),
        slope=draw(locations),
        sigma=Fixed(value=draw(positive)) if fixed_noise else draw(scales),
    )
    return ModelSpec(
        n_clusters=draw(st.integers(1, 9)),
        features=others,
        predictors=draw(st.permutations(others)),
        response=response,
        covariance="fixed" if fixed_covariance else draw(st.sampled_from(["full", "tied"])),
        noise="fixed" if fixed_noise else draw(st.sampled_from(["cluster", "shared"])),
        family=family,
        intercept=draw(st.booleans()),
        standardize=draw(st.booleans()),
        ordering=draw(st.sampled_from(["auto", "none", "weight", f"mean[{others[0]}]"])),
        missing=draw(st.sampled_from(["error", "drop"])),
        priors=priors,
        sampler=draw(samplers),
    )


recipes = st.builds(
    Recipe,
    spec=specs(),
    path=names,
    package=st.none() | names,
    id=st.none() | st.lists(names, min_size=1, max_size=3, unique=True).map(tuple),
    seed=st.integers(0, 2**62),
    report=st.builds(
        ReportSpec,
        path=st.none() | names,
        title=st.none() | names,
        sections=st.none() | st.lists(st.sampled_from(SECTION_IDS), max_size=3).map(tuple),
        # No column of a model is called so.
        compare_with=st.none() | st.just("known groups, not in the model"),
    ),
    base=st.just(Path("somewhere")),
)


@settings(max_examples=80, deadline=None)
@given(recipes)
def test_text_brings_back_an_equal_recipe(recipe: Recipe) -> None:
    assert parse_recipe(recipe_text(recipe), "somewhere") == recipe


@settings(max_examples=50, deadline=None)
@given(specs())
def test_json_brings_back_an_equal_spec(spec: ModelSpec) -> None:
    text = json.dumps(spec_to_dict(spec), allow_nan=False)
    assert spec_from_dict(json.loads(text)) == spec


def test_files_bring_back_an_equal_recipe(tmp_path: Path) -> None:
    spec = ModelSpec(
        n_clusters=2,
        features=["a", "b"],
        covariance="fixed",
        priors=Priors(
            weight=Fixed(value=[0.25, 0.75]),
            mean=Fixed(value=[[0, 1], [2, 3]]),
            covariance=Fixed(value=[[1, 0.5], [0.5, 2]]),
        ),
        ordering="none",
    )
    recipe = Recipe(spec=spec, path="t.csv", base=tmp_path)
    path = write_recipe(recipe, tmp_path / "r.toml")
    assert read_recipe(path) == recipe
    assert [entry.name for entry in tmp_path.iterdir()] == ["r.toml"]


def test_a_recipe_by_hand() -> None:
    recipe = parse_recipe(
        """
        [data]
        path = "t.csv"
        features = ["a", "b"]
        predictors = ["b", "c"]
        response = "y"
        [model]
        clusters = 3
        covariance = "diagonal"
        intercept = false
        [priors.slope]
        family = "student_t"
        df = 3
        [priors.weight]
        family = "dirichlet"
        concentration = 0.5
        [sampler]
        draws = 50
        seed = 7
        [report]
        sections = ["model", "clusters"]
        """,
        "folder",
    )
    assert recipe.spec == ModelSpec(
        n_clusters=3,
        features=("a", "b"),
        predictors=("b", "c"),
        response="y",
        covariance="diagonal",
        intercept=False,
        priors=Priors(slope=StudentT(df=3), weight=Dirichlet(concentration=0.5)),
        sampler=SamplerSpec(draws=50),
    )
    assert (recipe.seed, recipe.path, recipe.package) == (7, "t.csv", None)
    assert recipe.report.sections == ("model", "clusters")
    assert recipe.data_path() == Path("folder/t.csv")
    assert recipe.report_path() is None


def test_what_is_left_out_takes_its_default() -> None:
    assert parse_recipe(MINIMAL) == Recipe(spec=ModelSpec(n_clusters=2, features=["a"]))


def test_paths_start_at_the_recipe(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text(
        MINIMAL.replace("[data]", '[data]\npath = "d/t.csv"') + '[report]\npath="r.html"'
    )
    recipe = read_recipe(path)
    assert recipe.data_path() == tmp_path / "d" / "t.csv"
    assert recipe.report_path() == tmp_path / "r.html"
    elsewhere = Recipe(spec=recipe.spec, path="/data/t.csv", base=tmp_path)
    assert elsewhere.data_path() == Path("/data/t.csv")


def test_a_recipe_without_data_says_so() -> None:
    with pytest.raises(SpecError, match=r"add path to its table \[data\]"):
        parse_recipe(MINIMAL).data_path()


def test_a_package_path_cannot_leave_the_package() -> None:
    spec = ModelSpec(n_clusters=1, features=["a"])
    with pytest.raises(DataError, match="must not leave it"):
        Recipe(spec=spec, package="jointmix", path="../secret.csv").data_path()
    assert Recipe(spec=spec, package="jointmix", path="py.typed").data_path().is_file()


def edited(old: str, new: str) -> str:
    assert old in MINIMAL
    return MINIMAL.replace(old, new)


BAD_TEXTS = {
    "no TOML": ("[data\nx", "This is not TOML: Expected ']'"),
    "line named": (MINIMAL + "x = = 1\n", "(at line 5, column 5)"),
    "key twice": (MINIMAL + "clusters = 3\n", "Cannot overwrite a value (at line 5"),
    "deep": ("x = " + "[" * 100_000, "This is not TOML"),
    "empty": ("", "[model] needs clusters"),
    "NUL in a path": (
        MINIMAL.replace("[data]", '[data]\npath = "t\\u0000.csv"'),
        "path of [data] must not hold a NUL character; got 't\\x00.csv'",
    ),
    "no clusters": (edited("clusters = 2", ""), "[model] needs clusters"),
    "no features": (edited('features = ["a"]', ""), "needs features, a response, or both"),
    "table unknown": (
        MINIMAL + "[prior.mean]\n",
        "A recipe has no table 'prior' (did you mean 'priors'?); it may be data, model, priors",
    ),
    "root key": ("clusters = 2\n" + MINIMAL, "A recipe has no table 'clusters'"),
    "data key": (edited("features", "feature"), "[data] has no key 'feature' (did you mean 'fea"),
    "data keys named": (
        edited("features", "zzz"),
        "; it may be path, package, id, start, features, predict",
    ),
    "model key": (
        edited("clusters", "n_clusters"),
        "[model] has no key 'n_clusters' (did you mean",
    ),
    "sampler key": (MINIMAL + "[sampler]\ndraw = 5\n", "'draw' (did you mean 'draws'?); it may be"),
    "report key": (MINIMAL + "[report]\nfile = 'x'\n", "[report] has no key 'file'"),
    "prior unknown": (
        MINIMAL + "[priors.slopes]\nfamily = 'normal'\n",
        "[priors] has no parameter 'slopes' (did you mean 'slope'?)",
    ),
    "response family unknown": (
        MINIMAL.replace("[model]", '[model]\nfamily = "student"'),
        "[model] has no family 'student' (did you mean 'student_t'?); it may be normal, student_t",
    ),
    "family no text": (
        MINIMAL.replace("[model]", "[model]\nfamily = [1]"),
        "[model] has no family [1]; it may be normal, student_t",
    ),
    "prior of another family": (
        MINIMAL + '[priors.df]\nfamily = "gamma"\nshape = 3.0\n',
        "A normal response has no df; leave out its prior, or take another family.",
    ),
    "family unknown": (
        MINIMAL + "[priors.mean]\nfamily = 'norma'\n",
        "[priors.mean] has no family 'norma' (did you mean 'normal'?); it may be normal,",
    ),
    "family number": (MINIMAL + "[priors.mean]\nfamily = 3\n", "has no family 3; it may be"),
    "family absent": (MINIMAL + "[priors.mean]\nscale = 1\n", "[priors.mean] needs a family"),
    "prior no table": (MINIMAL + "[priors]\nmean = 3\n", "[priors.mean] needs a family"),
    "family key": (
        MINIMAL + "[priors.mean]\nfamily = 'normal'\nsd = 1\n",
        "[priors.mean] has no key 'sd'; it may be family, loc, scale",
    ),
    "family wrong": (
        MINIMAL + "[priors.sd]\nfamily = 'normal'\n",
        "The prior of sd must be one of InverseGamma",
    ),
    "family value": (MINIMAL + "[priors.mean]\nfamily='normal'\nscale=-1\n", "needs scale > 0"),
    "family text": (MINIMAL + "[priors.mean]\nfamily='normal'\nloc='0'\n", "needs a finite loc"),
    "family nan": (MINIMAL + "[priors.mean]\nfamily='normal'\nloc=nan\n", "needs a finite loc"),
    "family bool": (MINIMAL + "[priors.mean]\nfamily='normal'\nscale=true\n", "needs scale > 0"),
    "fixed without": (MINIMAL + "[priors.mean]\nfamily='fixed'\n", "fixed needs a value"),
    "fixed text": (MINIMAL + "[priors.mean]\nfamily='fixed'\nvalue='x'\n", "Fixed needs"),
    "fixed date": (MINIMAL + "[priors.mean]\nfamily='fixed'\nvalue=2020-01-01\n", "Fixed needs"),
    "fixed ragged": (MINIMAL + "[priors.mean]\nfamily='fixed'\nvalue=[[1],[1,2]]\n", "Fixed needs"),
    "fixed table": (MINIMAL + "[priors.mean]\nfamily='fixed'\nvalue={a=1}\n", "Fixed needs"),
    "data no table": ("data = 3\n[model]\nclusters = 1\n", "[data] must be a table"),
    "data tables": ("[[data]]\n[model]\nclusters = 1\n", "[data] must be a table"),
    "model no table": ("model = 'x'\n", "[model] must be a table"),
    "report no table": ("report = []\n" + MINIMAL, "[report] must be a table"),
    "clusters text": (edited("= 2", "= '2'"), "n_clusters must be a whole number"),
    "clusters float": (edited("= 2", "= 2.0"), "n_clusters must be a whole number"),
    "clusters bool": (edited("= 2", "= true"), "n_clusters must be a whole number"),
    "clusters zero": (edited("= 2", "= 0"), "at least 1; got 0"),
    "features number": (edited('["a"]', "5"), "features must be a list of column names; got 5"),
    "features text": (edited('["a"]', "'a'"), "features must be a list of column names; got 'a'"),
    "features mixed": (edited('["a"]', "['a', 5]"), "features must hold column names as text"),
    "features twice": (edited('["a"]', "['a', 'a']"), "names the column 'a' more than once"),
    "features NUL": (edited('["a"]', '["\\u0000"]'), "features must hold column names as text"),
    "response list": (edited("features", "response = ['y']\nfeatures"), "one column name"),
    "intercept text": (MINIMAL + "intercept = 'no'\n", "intercept must be true or false"),
    "standardize number": (MINIMAL + "standardize = 0\n", "standardize must be true or false"),
    "covariance list": (MINIMAL + "covariance = ['full']\n", "covariance must be one of"),
    "noise number": (MINIMAL + "noise = 1\n", "noise must be one of"),
    "ordering number": (MINIMAL + "ordering = 1\n", "ordering must be auto"),
    "missing bool": (edited("features", "missing = true\nfeatures"), "missing must be one of"),
    "draws text": (MINIMAL + "[sampler]\ndraws = 'many'\n", "draws must be a whole number"),
    "accept text": (MINIMAL + "[sampler]\ntarget_accept = 'x'\n", "target_accept must lie in"),
    "accept list": (MINIMAL + "[sampler]\ntarget_accept = [1]\n", "target_accept must lie in"),
    "sampler date": (MINIMAL + "[sampler]\nsampler = 2020-01-01\n", "sampler must be one of"),
    "seed negative": (MINIMAL + "[sampler]\nseed = -1\n", "seed must be a whole number"),
    "seed text": (MINIMAL + "[sampler]\nseed = '1'\n", "seed must be a whole number"),
    "seed bool": (MINIMAL + "[sampler]\nseed = true\n", "seed must be a whole number"),
    "path number": (edited("[data]", "[data]\npath = 3"), "path of [data] must be text; got 3"),
    "package alone": (edited("[data]", "[data]\npackage = 'p'"), "needs a path inside it"),
    "title list": (MINIMAL + "[report]\ntitle = []\n", "title of [report] must be text"),
    "sections text": (
        MINIMAL + "[report]\nsections = 'x'\n",
        "sections of [report] must be a list",
    ),
    "sections unknown": (
        MINIMAL + "[report]\nsections = ['checks']\n",
        "sections of [report] must be among",
    ),
    "sections mixed": (
        MINIMAL + "[report]\nsections = [1]\n",
        "sections of [report] must be a list",
    ),
}


@pytest.mark.parametrize(("text", "words"), BAD_TEXTS.values(), ids=BAD_TEXTS.keys())
def test_bad_recipes_are_refused_by_name(text: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=re.escape(words)):
        parse_recipe(text)
    path = tmp_path / "bad.toml"
    path.write_text(text)
    with pytest.raises(SpecError, match=re.escape(words)) as caught:
        read_recipe(path)
    assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.parametrize(
    ("tables", "words"),
    [
        ({"model": {"clusters": 1}, "report": {}}, "has no table 'report'"),
        ({"model": {"clusters": 1}, "data": {"path": "x"}}, "[data] has no key 'path'"),
        ({"model": {"clusters": 1}, "sampler": {"seed": 1}}, "[sampler] has no key 'seed'"),
    ],
)
def test_a_spec_alone_has_no_data_file_seed_or_report(tables: dict[str, Any], words: str) -> None:
    with pytest.raises(SpecError, match=re.escape(words)):
        spec_from_dict(tables)


def test_files_that_are_no_recipes(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    with pytest.raises(SpecError, match="cannot be read"):
        read_recipe(path)
    with pytest.raises(SpecError, match="cannot be read"):
        read_recipe(tmp_path)
    path.write_bytes(b"# \n# caf\xe9\n")
    with pytest.raises(SpecError, match="line 2: is not UTF-8"):
        read_recipe(path)
    path.write_bytes(b"#" * 1_000_001)
    with pytest.raises(SpecError, match="larger than 1 MB"):
        read_recipe(path)


def test_byte_order_mark_and_crlf_just_work(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_bytes(b"\xef\xbb\xbf" + MINIMAL.replace("\n", "\r\n").encode())
    assert read_recipe(path).spec == ModelSpec(n_clusters=2, features=["a"])


def test_writing_where_nothing_can_be_written(tmp_path: Path) -> None:
    recipe = Recipe(spec=ModelSpec(n_clusters=1, features=["a"]))
    with pytest.raises(JointmixError, match="does not exist"):
        write_recipe(recipe, tmp_path / "no" / "r.toml")


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.toml")), ids=lambda path: path.name)
def test_examples_are_recipes(path: Path) -> None:
    recipe = read_recipe(path)
    assert parse_recipe(recipe_text(recipe), path.parent) == recipe


def test_the_original_script_has_its_own_priors() -> None:
    spec = read_recipe(EXAMPLES / "original_script.toml").spec
    assert not spec.standardize
    assert spec.priors.weight == Dirichlet(concentration=0.25)
    assert spec.priors.mean == spec.priors.slope == Normal(scale=10**0.5)
    assert spec.priors.intercept == Normal(scale=10)
    assert spec.fixed_covariance().tolist() == [[[0.1, 0], [0, 0.1]]] * 4
    assert spec.priors.sigma == Fixed(value=0.5)
