"""Whole trees are identified: our fits under every method, and other people's mixtures."""

import json

import numpy as np
import pytest
import xarray as xr
from conftest import PARAMETERS
from densities import component_log_density
from synthetic import fitted_tree

from jointmix import diagnose, identify, load, raw_draws, save
from jointmix.base.errors import SchemaError, SpecError
from jointmix.fitting.identification import METHODS
from jointmix.labels import agreement, permute
from jointmix.posterior.draws import (
    fitted_spec,
    observed_rows,
    posterior_parameters,
)

BY = {"order_by": {"by": "weight"}}


def scrambled(tree: xr.DataTree, seed: int) -> tuple[xr.DataTree, np.ndarray]:
    """A fit whose labels are permuted at random draw by draw, and the plan (draw, cluster)."""
    rng = np.random.default_rng(seed)
    posterior = tree["posterior"].to_dataset()
    size = (posterior.sizes["chain"], posterior.sizes["draw"])
    k = posterior.sizes["cluster"]
    plan = np.stack([rng.permutation(k) for _ in range(size[0] * size[1])])
    back = np.argsort(plan, axis=1)
    result = tree.copy(deep=True)
    for name in PARAMETERS:
        values = result["posterior"][name].transpose("chain", "draw", "cluster", ...).values
        flat = values.reshape(-1, *values.shape[2:])
        values[:] = permute(flat, back).reshape(values.shape)
    labels = result["labels"]["permutation"].values
    labels[:] = permute(labels.reshape(-1, k), back).reshape(labels.shape)
    return result, plan


@pytest.mark.parametrize("method", METHODS)
def test_a_scrambled_fit_comes_back(four_cluster_fit: xr.DataTree, method: str) -> None:
    mixed, plan = scrambled(four_cluster_fit, 1)
    assert diagnose(mixed).verdict == "DO NOT USE"
    found = identify(mixed, method, **BY.get(method, {}))
    order = found["labels"]["permutation"].values.reshape(plan.shape)
    known = four_cluster_fit["labels"]["permutation"].values.reshape(plan.shape)
    if method == "order_by":
        assert (found["posterior"]["weight"].diff("cluster") > 0).all()
        return
    if method == "pivotal":
        # It knows nothing of how well each parameter is determined, and may miss a draw.
        assert agreement(order, known) > 0.99
        return
    assert agreement(order, known) == 1
    assert found.attrs["verdict"] == diagnose(four_cluster_fit).verdict
    identification = json.loads(found.attrs["identification"])
    assert identification["method"] == method
    assert identification["agreement"] == 1
    assert identification["true_permutations"] == 1
    # The clusters are those of before, in another order perhaps, to the last bit.
    first = int(known[0].tolist().index(order[0, 0]))
    np.testing.assert_array_equal(
        found["posterior"]["mean"].isel(cluster=0),
        four_cluster_fit["posterior"]["mean"].isel(cluster=first),
    )


@pytest.mark.parametrize("method", METHODS)
def test_label_free_quantities_stay(four_cluster_fit: xr.DataTree, method: str) -> None:
    mixed, _ = scrambled(four_cluster_fit, 2)
    found = identify(mixed, method, **BY.get(method, {}))
    spec = fitted_spec(found)
    rows = observed_rows(found, spec).take(slice(0, 50))

    def density(tree: xr.DataTree) -> np.ndarray:
        draws = posterior_parameters(tree).take(slice(0, 40))
        terms = component_log_density(rows.x, rows.u, rows.y, draws)
        return np.asarray(np.logaddexp.reduce(terms, axis=-1))

    np.testing.assert_allclose(density(found), density(four_cluster_fit), rtol=1e-12)
    np.testing.assert_array_equal(
        found["invariant"]["density"], four_cluster_fit["invariant"]["density"]
    )
    # Rows belong to the same clusters as before, whatever these are called.
    one = four_cluster_fit["allocation"]["responsibility"].values
    other = found["allocation"]["responsibility"].values
    if method not in ("order_by", "pivotal"):
        together = one.T @ other
        assert (together.argmax(axis=1)[:, None] != together.argmax(axis=1)[None]).sum() == 12
        np.testing.assert_allclose(np.sort(one, axis=1), np.sort(other, axis=1), rtol=0, atol=1e-12)


def test_undoing_gives_the_raw_draws_to_the_last_bit(
    four_cluster_fit: xr.DataTree, tmp_path
) -> None:
    raw = raw_draws(four_cluster_fit)
    assert raw["mean"].dims == ("chain", "draw", "component", "feature")
    assert raw["component"].values.tolist() == [0, 1, 2, 3]
    mixed, _ = scrambled(four_cluster_fit, 3)
    for tree in (mixed, identify(mixed, "stephens")):
        for name in PARAMETERS:
            np.testing.assert_array_equal(raw_draws(tree)[name], raw[name])
    again = load(save(identify(mixed), tmp_path / "fit.nc"))
    for name in PARAMETERS:
        np.testing.assert_array_equal(raw_draws(again)[name], raw[name])
    labels = four_cluster_fit["labels"]["permutation"]
    at = labels.isel(chain=1, draw=7).values
    np.testing.assert_array_equal(
        raw["slope"].isel(chain=1, draw=7).values[at],
        four_cluster_fit["posterior"]["slope"].isel(chain=1, draw=7),
    )


def foreign(seed: int = 5) -> tuple[xr.DataTree, np.ndarray]:
    """Somebody else's Gaussian mixture: names, dims and labels of its own."""
    rng = np.random.default_rng(seed)
    chains, draws, n, k = 2, 60, 90, 3
    z = np.resize(np.arange(k), n)
    plan = np.stack([rng.permutation(k) for _ in range(chains * draws)])
    back = np.argsort(plan, axis=1)
    mu = np.array([-5.0, 0.0, 6.0]) + 0.2 * rng.normal(size=(chains * draws, k))
    p = 0.9 * np.eye(k)[z] + 0.1 / k + np.zeros((chains * draws, 1, 1))
    put = permute(mu, back).reshape(chains, draws, k)
    responsibility = permute(p.swapaxes(1, 2), back).swapaxes(1, 2).reshape(chains, draws, n, k)
    allocation = responsibility.argmax(-1)
    posterior = xr.Dataset(
        {
            "mu": (("chain", "draw", "mixture"), put),
            "p": (("chain", "draw", "row", "mixture"), responsibility),
            "z": (("chain", "draw", "row"), allocation),
            "tau": (("chain", "draw"), rng.normal(size=(chains, draws))),
        },
        coords={"mixture": ["a", "b", "c"], "chain": [0, 1], "draw": np.arange(draws)},
        attrs={"made by": "somebody"},
    )
    stats = xr.Dataset({"lp": (("chain", "draw"), rng.normal(size=(chains, draws)))})
    return xr.DataTree.from_dict({"posterior": posterior, "sample_stats": stats}), plan


@pytest.mark.parametrize(
    "options",
    [
        {"method": "ecr", "allocations": "z"},
        {"method": "ecr", "allocations": "z", "pivot": np.resize([0, 1, 2], 90)},
        {"method": "ecr", "responsibilities": "p"},
        {"method": "ecr_iterative_1", "allocations": "z"},
        {"method": "ecr_iterative_2", "responsibilities": "p"},
        {"method": "stephens", "responsibilities": "p"},
        {"method": "pivotal"},
        {"method": "order_by", "by": "mu"},
    ],
    ids=str,
)
def test_other_mixtures_are_identified(options: dict[str, object]) -> None:
    tree, plan = foreign()
    found = identify(tree, dim="mixture", **options)
    assert agreement(found["labels"]["permutation"].values.reshape(plan.shape), plan) == 1
    posterior = found["posterior"].to_dataset()
    assert posterior["mu"].dims == ("chain", "draw", "cluster")
    assert posterior["cluster"].values.tolist() == [1, 2, 3]
    assert posterior.attrs == {"made by": "somebody"}
    # One cluster's mean now varies by its own spread alone.
    assert float(posterior["mu"].std(("chain", "draw")).max()) < 0.3
    assert float(tree["posterior"]["mu"].std(("chain", "draw")).min()) > 3
    xr.testing.assert_identical(posterior["tau"], tree["posterior"]["tau"])
    raw = raw_draws(found)
    np.testing.assert_array_equal(raw["mu"], tree["posterior"]["mu"])
    np.testing.assert_array_equal(raw["p"].transpose(..., "component"), tree["posterior"]["p"])


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"method": "guess"}, SpecError, "method must be one of"),
        ({"method": "ecr"}, SpecError, "needs allocations or responsibilities"),
        ({"method": "stephens", "allocations": "z"}, SpecError, "needs responsibilities"),
        ({"method": "ecr_iterative_2", "allocations": "z"}, SpecError, "needs responsibilities"),
        ({"method": "order_by"}, SpecError, "by must name one of"),
        ({"method": "order_by", "by": "mu[x]"}, SpecError, "one value a component"),
        ({"method": "order_by", "by": "tau"}, SpecError, "one value a component"),
        ({"method": "pivotal", "pivot": "em"}, SpecError, "must be an array or 'map'"),
        ({"method": "ecr", "allocations": "w"}, SchemaError, "no variable 'w'"),
        ({"method": "ecr", "allocations": "z", "dim": "component"}, SchemaError, "no dim"),
        ({"method": "stephens", "responsibilities": "z"}, SchemaError, "need the dim"),
    ],
)
def test_what_is_missing_is_named(
    options: dict[str, object], error: type[Exception], words: str
) -> None:
    tree, _ = foreign()
    with pytest.raises(error, match=words):
        identify(tree, **({"dim": "mixture"} | options))


def test_a_pivot_by_density_needs_one() -> None:
    tree, _ = foreign()
    tree["sample_stats"] = xr.DataTree(xr.Dataset({"steps": (("chain", "draw"), np.ones((2, 60)))}))
    with pytest.raises(SchemaError, match="needs one of log_density, lp, logp"):
        identify(tree, "ecr", allocations="z", dim="mixture")
    with pytest.raises(SchemaError, match="identify the draws first"):
        raw_draws(
            xr.DataTree.from_dict(
                {"posterior": tree["posterior"].to_dataset(), "labels": xr.Dataset()}
            )
        )


def test_clusters_are_sorted_by_one_column_of_a_parameter() -> None:
    tree = fitted_tree(3, 2, 60)
    found = identify(tree, "order_by", by="mean[x2]")
    means = found["posterior"]["mean"].sel(feature="x2").transpose("chain", "draw", "cluster")
    assert (np.diff(means.values, axis=-1) > 0).all()
    with pytest.raises(SpecError, match=r"'mean' has no feature 'x3'; it has \['x1', 'x2'\]"):
        identify(tree, "order_by", by="mean[x3]")


def test_clusters_told_apart_by_fixed_values_are_not_relabelled() -> None:
    tree = fitted_tree(2, 1, 60)
    spec = json.loads(tree.attrs["spec"])
    spec["priors"]["weight"] = {"family": "fixed", "value": [0.4, 0.6]}
    tree.attrs["spec"] = json.dumps(spec)
    with pytest.raises(SpecError, match="differ in their fixed values"):
        identify(tree)


def test_allocations_of_one_draw_are_refused() -> None:
    tree, _ = foreign()
    one = tree["posterior"]["z"].isel(draw=0, drop=True)
    with pytest.raises(SchemaError, match="allocations need the dims chain and draw"):
        identify(tree, allocations=one, dim="mixture")


def foreign_tree() -> xr.DataTree:
    """Two components as ArviZ reads them from NumPyro: the weights have a dim of their own."""
    rng = np.random.default_rng(3)
    weight = rng.dirichlet([40, 20], (2, 50))
    loc = np.array([-2.0, 2.0]) + rng.normal(0, 0.1, (2, 50, 2))
    weight[1], loc[1] = weight[1, :, ::-1], loc[1, :, ::-1]
    variables = {
        "loc": (("chain", "draw", "components"), loc),
        "w": (("chain", "draw", "w_dim_0"), weight),
        "slope": (("chain", "draw", "feature"), rng.normal(size=(2, 50, 2))),
    }
    return xr.DataTree.from_dict({"posterior": xr.Dataset(variables)})


def test_variables_with_dims_of_their_own_are_not_left_behind() -> None:
    tree = foreign_tree()
    options = {"by": "loc", "dim": "components"}
    with pytest.raises(SchemaError, match=r"'w', 'slope' have no dim 'components'.*'w_dim_0'"):
        identify(tree, "order_by", **options)
    with pytest.raises(SchemaError, match=r"^'slope' has no dim"):
        identify(tree, "order_by", dims={"w": "w_dim_0"}, **options)
    found = identify(tree, "order_by", dims={"w": "w_dim_0", "slope": None}, **options)
    posterior = found["posterior"]
    assert posterior["w"].dims == posterior["loc"].dims == ("chain", "draw", "cluster")
    np.testing.assert_array_equal(posterior["slope"], tree["posterior"]["slope"])
    # The light component is the one on the right in every draw.
    assert (posterior["w"].values.argmin(-1) == posterior["loc"].values.argmax(-1)).all()
    assert json.loads(found.attrs["identification"])["text"].endswith("by loc, in 'loc', 'w'.")
    own = {"loc": "loc_dim_0", "w": "w_dim_0", "slope": None}
    renamed = tree.copy()
    renamed["posterior"] = xr.DataTree(
        tree["posterior"].to_dataset().rename(components="loc_dim_0")
    )
    again = identify(renamed, "order_by", by="loc", dims=own)
    np.testing.assert_array_equal(again["posterior"]["w"], posterior["w"])


@pytest.mark.parametrize(
    ("dims", "words"),
    [
        ("w_dim_0", "dims must be a mapping"),
        ({"v": "w_dim_0"}, "must name variables of the posterior"),
        ({"w": "other"}, "must name variables of the posterior"),
        ({"w": "chain"}, "must name variables of the posterior"),
    ],
)
def test_dims_that_are_not_there_are_refused(dims: object, words: str) -> None:
    with pytest.raises((SpecError, SchemaError), match=words):
        identify(foreign_tree(), "order_by", by="loc", dim="components", dims=dims)
