"""The stages of a fit: asked for, searched by EM, prepared for chains, finished."""

import json
from dataclasses import dataclass, replace

import xarray as xr

from jointmix.base.arguments import (
    whole_number,
)
from jointmix.base.machine import hidden_until_loaded
from jointmix.base.pools import Pool
from jointmix.base.progress import Progress
from jointmix.base.schema import CHAIN, DRAW
from jointmix.checks import judge
from jointmix.fitting.clock import Clock
from jointmix.fitting.groups import attributes, mode_group, tree_groups
from jointmix.fitting.scouts import Levels, levels_of, scout, weigh_modes
from jointmix.fitting.spread import spread_beside
from jointmix.fitting.starts import Given, read_start
from jointmix.labels.draws import identify_draws
from jointmix.model.dataset import Dataset, make_dataset
from jointmix.model.degenerate import table_warnings
from jointmix.model.spec import ModelSpec, require_spec
from jointmix.modes.census import Census
from jointmix.modes.em import fit_em
from jointmix.modes.initial import Start, make_start
from jointmix.modes.ordering import Ordering, choose_ordering
from jointmix.modes.reweighing import reweighed
from jointmix.modes.warnings import mode_warnings
from jointmix.posterior.pointwise import with_log_likelihood
from jointmix.sampling import Control, Plan, plan_for
from jointmix.tables.issues import Issue


@dataclass(frozen=True, eq=False)
class Asked:
    """A table under a model, and how it will be sampled."""

    dataset: Dataset
    seed: int
    planned: Plan

    @property
    def spec(self) -> ModelSpec:
        """The model."""
        return self.dataset.spec


@dataclass(frozen=True, eq=False)
class Searched(Asked):
    """What EM found besides."""

    census: Census
    #: What the fit was asked to start from; None if nothing.
    given: Given | None = None


@dataclass(frozen=True, eq=False, kw_only=True)
class Prepared(Searched):
    """All that sampling needs besides, and what table and modes warn of."""

    issues: tuple[Issue, ...]
    ordering: Ordering
    start: Start


def ask(table: object, spec: ModelSpec, seed: int, clock: Clock) -> Asked:
    """Read the table, and plan the sampling: what cannot be done is refused before EM runs."""
    require_spec(spec)
    seed = whole_number("seed", seed, 0)
    clock.start("data")
    dataset = make_dataset(table, spec)
    return Asked(dataset, seed, plan_for(dataset))


def search(
    table: object, spec: ModelSpec, seed: int, clock: Clock, start: object = None
) -> Searched:
    """Read the table, plan the sampling, and run EM.

    Parameters
    ----------
    start
        As `fit` takes it.
    """
    asked = ask(table, spec, seed, clock)
    given = None if start is None else read_start(start, table, asked.dataset)
    clock.start("em")
    return Searched(**vars(asked), census=_census(asked, given), given=given)


def search_spread(
    table: object, spec: ModelSpec, seed: int, clock: Clock, start: object, client: object
) -> Searched:
    """As `search`, of a table whose parts lie with the workers of a Dask cluster."""
    require_spec(spec)
    seed = whole_number("seed", seed, 0)
    clock.start("data")
    column = start if isinstance(start, str) else None
    dataset, beside = spread_beside(table, spec, client, column)
    asked = Asked(dataset, seed, plan_for(dataset))
    given = None if start is None else read_start(start, table, dataset.alone(), beside)
    clock.start("em")
    census = _census(replace(asked, dataset=dataset.alone()), given)
    return Searched(**vars(asked), census=reweighed(census, dataset), given=given)


def _census(asked: Asked, given: Given | None) -> Census:
    """What EM finds in the rows that are here; its home is where it was asked to start."""
    dataset = asked.dataset
    if given is None:
        return fit_em(dataset, dataset.spec, asked.seed)
    census = fit_em(dataset, dataset.spec, asked.seed, given.share[None])
    reached = census.reached[0]
    return replace(census, home=0 if census.modes[reached].collapsed else reached)


def prepare(
    table: object, spec: ModelSpec, seed: int, clock: Clock, start: object = None
) -> Prepared:
    return prepare_from(search(table, spec, seed, clock, start))


@hidden_until_loaded("jax")
def prepare_from(searched: Searched) -> Prepared:
    dataset, census, seed = searched.dataset, searched.census, searched.seed
    ordering = choose_ordering(census.start, dataset, seed)
    start = make_start(census.start, dataset, ordering, census.rivals)
    words = "" if searched.given is None else searched.given.words
    issues = (*table_warnings(dataset), *mode_warnings(dataset, census, words))
    return Prepared(**vars(searched), issues=issues, ordering=ordering, start=start)


def finish(
    prepared: Prepared,
    raw: xr.DataTree,
    clock: Clock,
    progress: Progress | None = None,
    control: Control | None = None,
    pool: Pool = None,
) -> xr.DataTree:
    """Identified draws, diagnosed: the fitted tree."""
    clock.start("labels")
    dataset, spec, census = prepared.dataset, prepared.spec, prepared.census
    posterior = raw["posterior"].to_dataset()
    # Where the sampler knows it, of the rows here; the identified draws keep it elsewhere.
    likelihood = raw["sample_stats"].data_vars.get("log_likelihood")
    known = None if likelihood is None else likelihood.transpose(CHAIN, DRAW).values
    known = known if dataset.elsewhere is None else None
    identified = identify_draws(posterior, dataset, census, prepared.ordering, known)
    main = levels_of(identified, dataset, census)
    scouts: list[tuple[int, Levels]] = []
    why = ""
    if spec.sampler.scouts and not raw.attrs["partial"]:
        clock.start("scouts")
        scouts, why = scout(
            dataset, census, prepared.ordering, prepared.seed, progress, control, pool
        )
    clock.start("checks")
    groups, sent = weigh_modes(dataset.users_rows, main, scouts, spec)
    tree = xr.DataTree.from_dict(
        {
            **tree_groups(dataset, census, identified, raw),
            "modes": mode_group(spec, census, main, groups),
            **({"scouts": sent.assign_attrs(text=why)} if spec.sampler.scouts else {}),
        }
    )
    tree.attrs |= attributes(
        dataset, census, prepared.seed, prepared.issues, prepared.ordering, identified, raw
    )
    if prepared.given is not None:
        tree.attrs |= {"started": prepared.given.words, "start": prepared.given.column}
    # The checks look at the tree alone.
    dataset.release()
    judge(tree)
    tree.attrs["seconds"] = json.dumps(clock.seconds(raw))
    return with_log_likelihood(tree)
