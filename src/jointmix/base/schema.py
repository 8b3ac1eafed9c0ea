"""Names of groups, variables and dims, in one place, and the checks that hold them.

A fitted DataTree has these groups (dims in brackets; chain and draw come first where named):

    posterior       weight [chain draw cluster], mean [.. cluster feature], sd [.. cluster feature],
                    correlation [.. cluster feature feature_bis], intercept [.. cluster],
                    slope [.. cluster predictor], sigma [.. cluster]: the users' scale; of a
                    categorical feature "sex" probability_sex [.. cluster level_sex], signs of its
                    name that are no letters or digits being "_"
    sample_stats    log_density, diverging, tree_depth, n_steps, step_size, energy,
                    acceptance_rate [chain draw]
    invariant       quantities that labels do not enter, on the users' scale: log_likelihood
                    [chain draw], the joint one; density and prediction [chain draw point], of some
                    rows; overall_mean [.. variable], overall_covariance [.. variable variable_bis],
                    overall_probability_sex [.. level_sex]
    labels          permutation [chain draw cluster]: entry k is the component that became
                    cluster k;
                    occupied [chain draw cluster]: the probability that the cluster holds a row
    scouts          chains sent from other modes, if asked for: start_mode, scout_mode, scout_group,
                    log_likelihood, mcse [scout]
    modes           the census of EM optima (see ``MODES``)
    allocation      responsibility [obs cluster]: posterior mean of p(k | x, y);
                    responsibility_features [obs cluster]: of p(k | x); allocation [obs];
                    of large fits the attributes draws and error say over how many draws the
                    means are taken, and their Monte Carlo error
    checks          status, value, threshold, message, remedy, source [check]
    observed_data   x [obs feature], y [obs]; discrete [obs discrete_feature]: codes of
                    levels, from 0, in the order of the level dims
    constant_data   u [obs predictor], offset, trials [obs], where the response has them;
                    row [obs]: the row's number in the table, from 0; group [obs], where one is
                    kept: the row's known group, from 0, -1 for none, its names in the attribute
                    values; attribute id: the columns of row labels
    scaling         center, scale [column]
    log_likelihood  joint [chain draw obs]: log p(x, y) of each row, computed where it is read and
                    not stored

obs has the table's own row labels as its coordinate. The attribute retries says how a fit was
sampled again, a JSON list of what `jointmix.fitting.retries.Retry` holds and its text;
cluster_names, where clusters have names, those by number as JSON. Where observed_data are a sample
of the rows that were fitted, n_fitted says how many these are, n_parts in how many parts they lay,
and plugged_in (JSON) the sums over them of log p(x, y) and log p(x) at the parameters of the mode
that chains start from; n_obs is how many the tree holds.
"""

from collections.abc import Iterable

import xarray as xr

from jointmix.base.errors import SchemaError

SCHEMA_VERSION = 1
#: Attribute of a group that is computed where it is read, and left out when a tree is stored.
COMPUTED = "computed"
#: The variable of `constant_data` that says how often each row counts.
WEIGHT = "row_weight"

CHAIN, DRAW, OBS, OBS_BIS = "chain", "draw", "obs", "obs_bis"
COMPONENT, CLUSTER = "component", "cluster"
FEATURE, FEATURE_BIS, PREDICTOR, COLUMN = "feature", "feature_bis", "predictor", "column"
DISCRETE = "discrete_feature"
POINT, VARIABLE, VARIABLE_BIS, SCOUT = "point", "variable", "variable_bis", "scout"

#: Variables of the group ``modes``: the optima found by EM, most posterior
#: mass first, and where chains sit. Newer fits have ``mass``, the share of the posterior's mass by
#: Laplace's approximation, and ``visits``, the share of the draws nearest to it [mode]; the
#: attribute ``start_mode``, from 1, is where chains start. Where
#: they sit in several groups, there are ``stacking_weight`` and ``unreliable`` [group] besides.
MODES: dict[str, tuple[str, ...]] = {
    "log_likelihood": ("mode",),
    "n_starts": ("mode",),
    "bic": ("mode",),
    "icl": ("mode",),
    "smallest_share": ("mode",),
    "chain_log_likelihood": (CHAIN,),
    "chain_mode": (CHAIN,),
    "chain_group": (CHAIN,),
}

#: Sections of the report, in their order.
SECTION_IDS = (
    "verdict",
    "clusters",
    "assignment",
    "groups",
    "predictive",
    "scores",
    "estimates",
    "data",
    "model",
    "prior",
    "sensitivity",
    "convergence",
    "computation",
    "agreement",
    "calibration",
    "methods",
    "reproduce",
)


def require_dims(array: xr.DataArray, dims: Iterable[str]) -> xr.DataArray:
    """Return ``array`` if it has all of ``dims``.

    Raises
    ------
    SchemaError
        If a dim is missing; draws whose labels were never identified are named as such.
    """
    needed = list(dims)
    if not set(needed) <= set(array.dims):
        hint = ""
        if CLUSTER in needed and COMPONENT in array.dims:
            hint = " Identify the draws first (identify)."
        raise SchemaError(f"'{array.name}' needs dims {needed}, got {list(array.dims)}.{hint}")
    return array


def require_group(tree: xr.DataTree, group: str) -> xr.Dataset:
    """Return the dataset of ``group``.

    Raises
    ------
    SchemaError
        If the tree has no such group.
    """
    if not isinstance(tree, xr.DataTree):
        raise SchemaError(f"A fitted DataTree is required, got {type(tree).__name__}.")
    if group not in tree.children:
        raise SchemaError(
            f"The tree has no group '{group}' (it has {sorted(tree.children)}); "
            "fit the model with jointmix.fit, or load a file that jointmix.save wrote."
        )
    return tree[group].to_dataset()
