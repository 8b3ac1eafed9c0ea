"""Right NumPyro models are certified in the forms that users write them in, wrong ones named."""

import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import numpyro_forms as forms
import pytest
from conftest import more
from scipy.stats import norm

from jointmix.base.errors import SpecError
from jointmix.model.dataset import Dataset
from jointmix.model.spec import ModelSpec
from jointmix.validation.agreement import use_double_precision
from jointmix.validation.agreement.comparison import Comparison, Difference
from jointmix.validation.agreement.implementations import YOURS, explain, explain_order
from jointmix.validation.agreement.numpyro_side import numpyro_side, unsorted
from jointmix.validation.agreement.observed import ModelError
from jointmix.validation.agreement.ordered import Order, find_order
from jointmix.validation.agreement.orientation import oriented
from jointmix.validation.agreement.parts import Part, read_part
from jointmix.validation.agreement.plain_sides import kernel_side, numpy_side, scipy_side
from jointmix.validation.agreement.problem import Problem, extreme_points, random_points
from jointmix.validation.agreement.sites import unconstrained
from jointmix.validation.agreement.sorting import permuted
from jointmix.validation.agreement.structure import inspect
from jointmix.validation.agreement.terms import Side, Terms, condition

pytest.importorskip("funsor")


def problem_of(
    n: int = 9, d: int = 2, k: int = 3, alone: bool = False, **changes: object
) -> Problem:
    """Features x0, x1, …, a predictor u unless the features are, on the columns' own scale."""
    features = tuple(f"x{i}" for i in range(d))
    whole = {"predictors": ("u",), "response": "y", "priors": forms.PRIORS}
    spec = ModelSpec(
        n_clusters=k, features=features, covariance="diagonal", standardize=False,
        **({"priors": forms.ALONE} if alone else whole) | changes,
    )  # fmt: skip
    if k == 1:
        spec = replace(spec, priors=replace(spec.priors, weight=forms.Priors().weight))
    values = np.random.default_rng(n + 10 * d + 100 * k).normal(size=(n, len(spec.columns)))
    return Problem(Dataset(spec, values, np.arange(n), n, {}, ""), None)


def judged(
    problem: Problem, form: Callable[..., None], names: dict[str, str] | None = None
) -> tuple[list[Difference], list[str], tuple[str, ...]]:
    """What a comparison with three other implementations comes to: failures, findings, notes."""
    model = partial(form, problem)
    told = oriented(problem, model, names)
    side = replace(numpyro_side(problem, YOURS, model, told), factors=True)
    q = random_points(problem, np.zeros(problem.dim), 18, seed=5)
    q = np.concatenate([q, extreme_points(problem, np.zeros(problem.dim))])
    order, structure = find_order(problem, side), inspect(problem, model, told)
    if order is not None:
        q, side = order.arranged(q), order.applied(side)
    sides = [kernel_side(problem), numpy_side(problem), scipy_side(problem), side]
    differences = Comparison(problem, sides).run(q)
    findings = explain(problem, sides, differences, q[:16], structure)
    findings += explain_order(problem, order, structure)
    return [item for item in differences if not item.agrees], findings, side.notes


#: Form → the problem, and names; those that take longest on demand.
RIGHT = {
    "features left, all sizes equal": (problem_of(2, 2, 2), forms.features_left, {}),
    "features left": (problem_of(), forms.features_left, {}),
    "features right": (problem_of(alone=True), forms.features_right, {}),
    "one cluster": (problem_of(k=1), forms.one_cluster, {}),
    "columns apart, order by support": (problem_of(), forms.columns_apart, forms.COLUMNS_APART),
    "columns apart, order by factor": (
        problem_of(), partial(forms.columns_apart, order="factor"), forms.COLUMNS_APART,
    ),
    "clusters apart": (
        problem_of(alone=True), forms.clusters_apart,
        {f"{own}[{i + 1}]": f"{own[0]}{i}" for own in ("mean", "sd") for i in range(3)},
    ),
    "not centred": (problem_of(), forms.not_centred, {}),
    "joint normal": (problem_of(predictors=("x0", "x1")), forms.joint_normal, {"rows": "both"}),
    **{
        f"sorted {how}": (problem_of(alone=alone), partial(forms.sorted_inside, how=how), {})
        for how, alone in (
            *(("first", False), ("rows", True), ("falling", False)),
            *(("with sd", False), ("all", False)),
        )
    },
}  # fmt: skip
RIGHT["clusters apart"][2].update({f"sd[{i + 1}]": f"s{i}" for i in range(3)})
QUICK = {"features left", "one cluster", "columns apart, order by support",
         "not centred", "sorted rows"}  # fmt: skip
#: Of the same kind as others.
ALIKE = {"features right", "columns apart, order by factor", "sorted falling", "sorted all",
         "sorted counted", "sorted each column"}  # fmt: skip


@pytest.mark.parametrize(
    "name",
    [
        n if n in QUICK else pytest.param(n, marks=more if n in ALIKE else pytest.mark.slow)
        for n in RIGHT
    ],
)
def test_a_right_model_is_certified(name: str) -> None:
    failures, findings, notes = judged(*RIGHT[name])
    assert failures == []
    assert findings == []
    if "order" in name:
        (note,) = [note for note in notes if "orders its components by mean[x0]" in note]
        assert ("K! times" in note) == name.endswith("support")
    assert ("by mean[x0]" in "".join(notes)) == ("order" in name or "sorted" in name)


#: Form → names, and words that must be said of it.
WRONG = {
    "OrderedTransform": (
        partial(forms.columns_apart, order="transform"), forms.COLUMNS_APART,
        "made by OrderedTransform",
    ),
    "labels": (partial(forms.enumerated, wrong="labels"), {}, "mean depends on the labels"),
    "y twice": (partial(forms.enumerated, wrong="y twice"), {}, "The term of y counts twice"),
    "no x": (partial(forms.enumerated, wrong="no x"), {}, "The term of x is missing"),
    "allocated twice": (forms.allocated_twice, {}, "x and y are a mixture each"),
    **{
        f"sorted {how}": (partial(forms.sorted_inside, how=how), {}, words)
        for how, words in (
            ("labels", "prior of the mean depends on the labels"),
            ("each column", r"sorts mean[x0] and mean[x1] separately, which is more than one"),
            ("inside components", "columns of mean are sorted inside each component"),
            ("counted", "off by the constant 1.79176"),
            ("other predictors", "The density of y differs in 9 of 9 rows"),
        )
    },
}  # fmt: skip


@pytest.mark.parametrize(
    "name",
    [
        n if n == "y twice" else pytest.param(n, marks=more if n in ALIKE else pytest.mark.slow)
        for n in WRONG
    ],
)
def test_a_wrong_model_is_named(name: str) -> None:
    form, names, words = WRONG[name]
    failures, findings, _ = judged(problem_of(), form, names)
    assert failures
    assert any(words in text for text in findings), findings
    assert any("The site again stands beside" in text for text in findings) == (name == "y twice")


def test_an_allocation_a_feature_is_refused() -> None:
    problem = problem_of(alone=True)
    with pytest.raises(ModelError, match="z is drawn in the plates features, data: a row has one"):
        numpyro_side(problem, YOURS, partial(forms.allocated_by_feature, problem))


MISTAKES = {
    "predictors before": "The predictors of y are those of the row before",
    "y after": "y is that of the row after",
    "half": r"The term of y counts 0.5 times",
    "ddof": "ddof=1",
    "other location": "prior of the mean has the location 1 in place of 0",
    "other locations": "mean has the scale 9 in place of 3, the variance.*slope has the location",
    "other sd": "features has another scale, 2.7 for 2",
    "square": "is stated on its square, not on it",
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_named(mistake: str) -> None:
    """By SciPy, with one thing wrong, each value from its formula."""
    problem = problem_of()
    spec, rows = problem.spec, problem.rows
    if mistake == "ddof":
        standardised = replace(spec, standardize=True)
        problem = Problem(problem.dataset.under(standardised), None)
        rows = problem.rows

    def wrong(q: np.ndarray) -> Terms:
        found, p = scipy_side(problem).evaluate(q), problem.parameters(q)
        u, y, times = rows.u, rows.y, 0.5 if mistake == "half" else 1.0
        shrink = np.sqrt(1 - 1 / len(y)) if mistake == "ddof" else 1.0
        u = np.roll(u, 1, axis=0) if mistake == "predictors before" else u * shrink
        y = np.roll(y, -1) if mistake == "y after" else y * shrink
        line = p.intercept[:, None] + u @ np.swapaxes(p.slope, 1, 2)
        response = times * norm.logpdf(y[:, None], line, p.sigma[:, None])
        z = (shrink * rows.x[:, None] - p.mean[:, None]) / p.sd[:, None]
        features = (norm.logpdf(z) - np.log(p.sd[:, None])).sum(-1)
        joint = np.log(p.weight)[:, None] + features + response
        prior, xi = dict(found.prior or {}), problem.block(q, "location")
        mean, slope = xi[:, :, :2], xi[:, :, 3:]
        other = {"location": np.zeros(len(q)), "sd": 0.0, "sigma": 0.0}
        if mistake == "other location":
            other["location"] = (norm.logpdf(mean, 1 / 3) - norm.logpdf(mean)).sum((1, 2))
        if mistake == "other locations":
            each = norm.logpdf(mean, 0, 3) - norm.logpdf(mean)
            moved = norm.logpdf(slope, 0.5) - norm.logpdf(slope)
            other["location"] = each.sum((1, 2)) + moved.sum((1, 2))
        if mistake == "other sd":
            each = norm.logpdf(p.sd, 0, 2.7) - norm.logpdf(p.sd, 0, 2)
            other["sd"] = each.sum((1, 2))
        if mistake == "square":
            v = p.sigma**2
            change = norm.logpdf(v, 0, 1.5) + np.log(2 * p.sigma) - norm.logpdf(p.sigma, 0, 1.5)
            other["sigma"] = change.sum(1)
        prior |= {(name,): prior[name,] + value for name, value in other.items()}
        total = np.logaddexp.reduce(joint, axis=-1)
        return Terms(prior=prior, rows=total, features=features, response=response)

    q = random_points(problem, np.zeros(problem.dim), 16, seed=7)
    right = scipy_side(problem)
    sides = [right, replace(right, name="the same"), Side("wrong", wrong)]
    differences = Comparison(problem, sides).run(q)
    (finding,) = explain(problem, sides, differences, q)[1:]
    assert re.search(MISTAKES[mistake], finding), finding


def test_names_speak_of_parts() -> None:
    problem = problem_of(k=2, d=3, alone=True)
    assert read_part("mean", problem) == Part("mean")
    assert read_part("mean[x1]", problem) == Part("mean", None, (1,))
    assert read_part("mean_xi[x2, x0]", problem) == Part("mean_xi", None, (2, 0))
    assert read_part("variance[2, x1]", problem) == Part("variance", (1,), (1,))
    assert read_part("x[x2]", problem) == Part("x", None, (2,))
    for name, words in (
        ("centre[x1]", "names has no quantity 'centre'"),
        ("mean[x9]", "'x9' is no column and no cluster of mean, which has x0, x1, x2, 1, … 2"),
        ("weight[1]", "'1' is no column and no cluster of weight"),
        ("x[1]", "'1' is no column and no cluster of x"),
    ):
        with pytest.raises(SpecError, match=words):
            read_part(name, problem)


def test_sites_of_parts_come_back_as_unconstrained_values() -> None:
    import jax

    problem = problem_of(k=2)
    chart = inspect(problem, partial(forms.columns_apart, problem), forms.COLUMNS_APART).chart
    q = 0.7 * np.random.default_rng(8).normal(size=(5, problem.dim))
    samples = {site: np.asarray(v) for site, v in jax.vmap(chart.values)(q).items()}
    # Logs of exponentials, and softmax inverted.
    np.testing.assert_allclose(unconstrained(chart, samples), q, rtol=0, atol=1e-12)


def test_draws_of_deterministic_sites_are_those_before_sorting() -> None:
    use_double_precision()
    problem = problem_of(alone=True)
    model = partial(forms.sorted_not_centred, problem)
    raw, log = np.random.default_rng(3).normal(size=(2, 4, 3, 2))
    weight = np.full((4, 3), 1 / 3)
    order = np.argsort(raw[:, :, 0], axis=1)[:, :, None]
    drawn = {
        "weight": weight, "mean_raw": raw, "sd_log": log,
        "mean": np.take_along_axis(3 * raw, order, 1), "sd": np.zeros_like(log),
    }  # fmt: skip
    found = unsorted(inspect(problem, model), model, drawn)
    np.testing.assert_allclose(found["mean"], 3 * raw, rtol=1e-14)
    np.testing.assert_allclose(found["sd"], np.exp(0.5 * log - 1), rtol=1e-14)


def test_columns_without_a_site_are_named() -> None:
    problem = problem_of()
    names = {name: site for name, site in forms.COLUMNS_APART.items() if name != "x[x1]"}
    with pytest.raises(SpecError, match=r"which observed site holds x\[x1\]"):
        inspect(problem, partial(forms.columns_apart, problem), names)


def test_permuted_components_are_the_same_posterior() -> None:
    problem = problem_of()
    q = random_points(problem, np.zeros(problem.dim), 6, seed=4)
    moved = permuted(problem, q, np.tile([2, 0, 1], (6, 1)))
    both = [kernel_side(problem).evaluate(points).total for points in (q, moved)]
    np.testing.assert_allclose(both[0], both[1], rtol=1e-12)
    p, other = problem.parameters(q), problem.parameters(moved)
    np.testing.assert_allclose(other.weight, p.weight[:, [2, 0, 1]], rtol=1e-12)
    np.testing.assert_array_equal(other.mean, p.mean[:, [2, 0, 1]])


@pytest.mark.parametrize("label", ["mean[x1]", "weight", "sigma"])
def test_an_order_is_found_by_where_the_density_is_zero(label: str) -> None:
    problem = problem_of()
    right = scipy_side(problem)

    def falling(q: np.ndarray) -> Terms:
        found, p = right.evaluate(q), problem.parameters(q)
        value = {"mean[x1]": p.mean[:, :, 1], "weight": p.weight, "sigma": p.sigma}[label]
        inside = (np.diff(value, axis=1) < 0).all(axis=1)
        return replace(found, total=np.where(inside, found.total, -np.inf))

    order = find_order(problem, Side("falling", falling))
    assert order is not None
    assert (order.label, order.sign, order.surplus) == (label, -1, 0.0)
    q = random_points(problem, np.zeros(problem.dim), 5, seed=6)
    assert np.isfinite(falling(order.arranged(q)).total).all()
    # Ties have no order.
    assert len(Order(problem, label, 1).arranged(np.zeros((1, problem.dim)))) == 0
    assert find_order(problem, right) is None


def sorting_side(problem: Problem, label: str, sign: int, moves: np.ndarray | None) -> Side:
    """SciPy's densities and the kernel's gradient of what is sorted by ``label`` before its use."""
    right, kernel = scipy_side(problem), kernel_side(problem)
    unit = np.eye(problem.dim)

    def at(q: np.ndarray) -> Terms:
        p = problem.parameters(q)
        key = {"mean[x0]": p.mean[:, :, 0], "weight": p.weight, "sigma": p.sigma}[label]
        order = np.argsort(sign * key, axis=1)
        inside = permuted(problem, q, order, moves)
        gradient = kernel.evaluate(inside).gradient
        assert gradient is not None
        for i, own in enumerate(order):
            gradient[i] = permuted(problem, unit, np.tile(own, (len(unit), 1)), moves) @ gradient[i]
        return replace(right.evaluate(inside), gradient=gradient)

    return Side("sorting", at)


@pytest.mark.parametrize(
    ("label", "sign", "sorted_", "words"),
    [
        ("mean[x0]", 1, {"mean": (0,)}, "mean[x0]"),
        ("mean[x0]", -1, {"mean": (0, 1)}, "mean"),
        ("weight", 1, {"weight": ()}, "weight"),
        ("sigma", -1, {"sigma": (), "sd": ()}, "sd, sigma"),
        ("mean[x0]", 1, None, "weight, mean, intercept, slope, sd, sigma"),
    ],
)
def test_what_a_model_sorts_is_found(
    label: str, sign: int, sorted_: dict[str, tuple[int, ...]] | None, words: str
) -> None:
    """By which parameters can be exchanged alone; it agrees in all of their orders."""
    problem = problem_of()
    moves = np.zeros(problem.dim, dtype=bool) if sorted_ else None
    for name, columns in (sorted_ or {}).items():
        if name == "mean":
            where, shape = problem.slices["location"]
            moves[np.arange(where.start, where.stop).reshape(shape)[:, list(columns)]] = True
        else:
            moves[problem.slices[name][0]] = True
    side = sorting_side(problem, label, sign, moves)
    order = find_order(problem, side)
    assert order is not None
    assert (order.label, order.sign, order.sorted, order.others) == (label, sign, words, ())
    np.testing.assert_array_equal(order.moves, True if moves is None else moves)
    q = order.arranged(random_points(problem, np.zeros(problem.dim), 12, seed=5))
    sides = [kernel_side(problem), scipy_side(problem), order.applied(side)]
    assert all(item.agrees for item in Comparison(problem, sides).run(q))
    mixed = permuted(problem, q, np.tile([1, 2, 0], (len(q), 1)), order.moves)
    # Weights are sums of logits, which are exchanged up to rounding.
    np.testing.assert_allclose(order.folded(mixed), q, rtol=0, atol=1e-14)
    assert find_order(problem, scipy_side(problem)) is None


def test_two_orders_are_one_too_many() -> None:
    problem = problem_of()
    first, other = np.zeros((2, problem.dim), dtype=bool)
    where, shape = problem.slices["location"]
    first[np.arange(where.start, where.stop).reshape(shape)[:, :2]] = True
    other[problem.slices["sigma"][0]] = True
    one = sorting_side(problem, "mean[x0]", 1, first)

    def both(q: np.ndarray) -> Terms:
        return one.evaluate(permuted(problem, q, np.argsort(problem.parameters(q).sigma), other))

    order = find_order(problem, Side("both", both))
    assert order is not None
    assert (order.sorted, order.others) == ("mean", ("sigma",))
    (words,) = explain_order(problem, order, None)
    assert "sorts mean and sigma separately, which is more than one order" in words


def test_the_condition_is_that_of_the_joint_correlations() -> None:
    problem = problem_of(predictors=("x1", "x0"))
    p = problem.parameters(random_points(problem, np.zeros(problem.dim), 4, seed=9))
    found = condition(p, problem.spec)
    for i, k in np.ndindex(found.shape):
        own, slope = np.diag(p.sd[i, k] ** 2), p.slope[i, k, ::-1]
        last = p.sigma[i, k] ** 2 + slope @ own @ slope
        whole = np.block([[own, (own @ slope)[:, None]], [own @ slope, last]])
        scale = np.sqrt(np.diag(whole))
        # A condition number below 1e6 loses as many digits of 16.
        np.testing.assert_allclose(
            found[i, k], np.linalg.cond(whole / np.outer(scale, scale)), rtol=1e-8
        )
