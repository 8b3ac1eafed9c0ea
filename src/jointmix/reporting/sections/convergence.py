"""May the draws be trusted? Checks, diagnostics by parameter, chains and modes."""

import numpy as np
import xarray as xr
from scipy.stats import rankdata

from jointmix.base.numbers import percent
from jointmix.base.schema import CHAIN, DRAW, require_group
from jointmix.checks import Finding
from jointmix.checks.finding import counted
from jointmix.checks.modes import chain_log_likelihood
from jointmix.reporting import figures
from jointmix.reporting.elements import (
    Cell,
    Element,
    Figure,
    Group,
    Heading,
    Panel,
    Prose,
    Section,
    Table,
    number_cells,
    text_cells,
)
from jointmix.reporting.fitted import FittedView
from jointmix.reporting.quantities import thinned
from jointmix.reporting.text import compact, decimals, number, shorten

ID, TITLE = "convergence", "Convergence"

_MOST_BINS, _MAX_PANELS, _TRACE_DRAWS, _MOST_MODES = 20, 8, 500, 12
#: Checks of how chains went, whose concerns open what is drawn of them.
_OF_CHAINS = ("rhat", "ess", "divergences", "frozen", "energy", "modes", "tree depth", "scouts")
_SIGNS = {"at least": "≥", "at most": "≤"}
_METHODS = {"stephens": "Stephens' method", "ecr": "ECR"}
_STATUS = {"ok": "ok", "caution": "caution", "fail": "fail", "skipped": "not computed"}


def section(view: FittedView) -> Section:
    """The checks with their thresholds, and what they rest on; what all is well with is folded."""
    findings = view.diagnosis.findings
    concerns = tuple(each for each in findings if each.status in ("fail", "caution"))
    others = tuple(each for each in findings if each not in concerns)
    elements: list[Element] = [_checks(concerns)] if concerns else []
    if others:
        elements.append(_fold(_passed(others), _checks(others)))
    details: list[Element] = [*_worst(view), Heading(text="Chains"), _level_figure(view)]
    details.append(_rank_figure(view))
    shaky = any(each.code in _OF_CHAINS for each in concerns)
    elements += details if shaky else [_fold(_diagnosed(view), *details)]
    elements += [Heading(text="Labels"), *_labels(view), Heading(text="Modes"), *_modes(view)]
    return Section(id=ID, title=TITLE, elements=tuple(elements))


def _fold(title: str, *elements: Element) -> Group:
    return Group(form="fold", title=Cell(text=title), elements=elements)


def _passed(findings: tuple[Finding, ...]) -> str:
    passed = sum(each.status == "ok" for each in findings)
    text = f"{counted(passed, 'check')} passed"
    skipped = len(findings) - passed
    return f"{text}, {skipped} not computed" if skipped else text


def _diagnosed(view: FittedView) -> str:
    """The worst diagnostics of all, in a line."""
    tables = [*view.free_statistics.values(), *view.statistics.values()]
    free = [each for each in tables if bool(each["r_hat"].notnull().any())]
    if not free:
        return "Chains and their diagnostics"
    r_hat = max(float(each["r_hat"].max()) for each in free)
    ess = min(float(each["ess_bulk"].min()) for each in free)
    return (
        f"Chains agree: the largest R-hat is {decimals(r_hat, 3)}, the smallest bulk effective "
        f"sample size {decimals(ess, 0)}"
    )


def _worst(view: FittedView) -> list[Element]:
    return [
        _blocks(
            view.free_statistics,
            "Worst diagnostics of the quantities that labels do not enter",
            f"Densities{'' if view.response is None else ' and predictions'} are those of ten "
            "rows, from the densest to the sparsest; the overall mean and covariance are those of "
            "the whole mixture.",
        ),
        _blocks(
            view.statistics,
            "Worst diagnostics of each block of parameters",
            "Computed on identified draws: R-hat across permuted labels would measure the "
            "permutation.",
        ),
    ]


def _checks(findings: tuple[Finding, ...]) -> Table:
    rows = tuple(
        (
            Cell(text=shorten(finding.code, 40), detail=shorten(finding.subject, 40)),
            Cell(text=_STATUS[finding.status], status=finding.status),
            *number_cells(compact(finding.value, finding.threshold), _limit(finding)),
            Cell(text=shorten(finding.message, 300), detail=finding.source),
        )
        for finding in findings
    )
    return Table(
        caption="Checks, their numbers and thresholds",
        columns=(
            *text_cells("check", "status"),
            *number_cells("number", "should be"),
            *text_cells("finding, and the source of the threshold"),
        ),
        rows=rows,
    )


def _limit(finding: Finding) -> str:
    if np.isnan(finding.threshold):
        return compact(finding.threshold)
    return f"{_SIGNS[finding.bound]} {compact(finding.threshold, finding.value)}"


def _blocks(statistics: dict[str, xr.Dataset], caption: str, note: str) -> Table:
    rows = []
    for name, values in statistics.items():
        free = int(values["r_hat"].notnull().sum())
        cells = (
            (
                decimals(float(values["r_hat"].max()), 3),
                decimals(float(values["ess_bulk"].min()), 0),
                decimals(float(values["ess_tail"].min()), 0),
                percent(float((values["mcse_mean"] / values["sd"]).max())),
            )
            if free
            else ("fixed",) * 4
        )
        rows.append((Cell(text=name), *number_cells(f"{free:,}", *cells)))
    return Table(
        caption=caption,
        columns=(
            Cell(text="quantity"),
            *number_cells(
                "free entries", "largest R-hat", "smallest bulk ESS", "smallest tail ESS",
                "largest MCSE / sd",
            ),
        ),
        rows=tuple(rows),
        notes=(note,),
    )  # fmt: skip


def _labels(view: FittedView) -> list[Element]:
    """How clusters were told apart while sampling and after, and how sure that is."""
    found = view.attribute("identification")
    elements: list[Element] = [
        Prose(text=f"{view.attribute('ordering')['text']} {found['text']}"),
    ]
    if found.get("n_compared"):
        measures = (
            ("Draws whose labels differ from those of most draws", found["switch_rate"]),
            (f"Draws labelled otherwise by {_METHODS[found['other']]}", 1 - found["agreement"]),
            (
                "Draws whose parameters do not fall one by one into the clusters",
                1 - found["true_permutations"],
            ),
        )
        elements.append(
            Table(
                caption=f"Certainty of the labels, over {found['n_compared']:,} draws",
                columns=(Cell(text="measure"), *number_cells("share of draws")),
                rows=tuple((Cell(text=name), *number_cells(percent(x))) for name, x in measures),
            )
        )
    return elements


def _log_likelihood(view: FittedView) -> xr.DataArray:
    draws = require_group(view.tree, "invariant")["log_likelihood"]
    return draws.transpose(CHAIN, DRAW)


def _level_figure(view: FittedView) -> Figure:
    draws, levels = _log_likelihood(view), chain_log_likelihood(view.tree)
    names = [str(name) for name in draws[CHAIN].values]
    means, errors = levels["mean"].values, levels["mcse"].values
    kept = thinned(draws.sizes[DRAW], _TRACE_DRAWS)
    sentences = [
        f"chain {name} {decimals(mean, 2)} ± {decimals(error, 2)}"
        for name, mean, error in zip(names, means, errors, strict=True)
    ]
    return Figure(
        caption="Mean log likelihood of each chain with two Monte Carlo standard errors on each "
        "side, and the draws in their order. Chains in one mode agree.",
        panels=(
            Panel(
                svg=figures.levels(means, errors, names, "mean log likelihood"),
                alt=f"Mean log likelihood and its standard error: {'; '.join(sentences)}.",
                wide=True,
            ),
            Panel(
                svg=figures.trace(draws.values[:, kept], names, "log likelihood"),
                alt=f"Log likelihood of {len(kept):,} draws of each chain, between "
                f"{decimals(float(draws.min()), 1)} and {decimals(float(draws.max()), 1)}.",
                wide=True,
            ),
        ),
        table=Table(
            caption="Log likelihood by chain",
            columns=(Cell(text="chain"), *number_cells("mean", "MCSE")),
            rows=tuple(
                (Cell(text=name), *number_cells(decimals(mean, 2), decimals(error, 2)))
                for name, mean, error in zip(names, means, errors, strict=True)
            ),
        ),
    )


def _rank_figure(view: FittedView) -> Figure:
    draws = _log_likelihood(view)
    ranks = rankdata(draws.values).reshape(draws.shape)
    # About 25 draws a bin, so that chance leaves the bars recognisably level.
    n_bins = min(_MOST_BINS, max(4, draws.sizes[DRAW] // 25))
    edges = np.linspace(0.5, draws.size + 0.5, n_bins + 1)
    counts = np.stack([np.histogram(chain, edges)[0] for chain in ranks])
    expected = draws.sizes[DRAW] / n_bins
    names = [str(name) for name in draws[CHAIN].values]
    panels = tuple(
        Panel(
            svg=figures.ranks(count, expected, f"chain {name}"),
            alt=f"Ranks of chain {name}: {count.min()} to {count.max()} draws a bin, "
            f"{number(expected)} expected.",
        )
        for name, count in list(zip(names, counts, strict=True))[:_MAX_PANELS]
    )
    shown = "" if len(names) <= _MAX_PANELS else f" The first {_MAX_PANELS} chains are shown."
    return Figure(
        caption="Ranks of each chain's log likelihoods among all draws. Bars near the dashed line "
        f"mean that chains mix.{shown}",
        panels=panels,
        table=Table(
            caption="Draws in each range of ranks",
            columns=(
                Cell(text="chain"),
                *number_cells(*(f"bin {i + 1}" for i in range(n_bins))),
            ),
            rows=tuple(
                (Cell(text=name), *number_cells(*map(str, count)))
                for name, count in zip(names, counts, strict=True)
            ),
        ),
    )


def _modes(view: FittedView) -> list[Element]:
    modes = require_group(view.tree, "modes")
    at = modes["chain_mode"].values.astype(int)
    chains = _log_likelihood(view)[CHAIN].values
    rows = []
    for i, label in enumerate(modes["mode"].values):
        if i >= _MOST_MODES and label not in at:
            continue
        mode = modes.isel(mode=i)
        here = [str(chain) for chain, position in zip(chains, at, strict=True) if position == label]
        rows.append(
            (
                Cell(text=f"{label} (spike)" if _is_spike(mode) else str(label)),
                *number_cells(
                    decimals(float(mode["log_likelihood"]), 2),
                    f"{int(mode['n_starts']):,}",
                    decimals(float(mode["bic"]), 1),
                    decimals(float(mode["icl"]), 1),
                    percent(float(mode["smallest_share"])),
                    *((percent(float(mode["mass"])),) if "mass" in modes else ()),
                ),
                Cell(text=", ".join(here) or "none"),
            )
        )
    n_starts, best = int(modes["n_starts"].sum()), int(modes["n_starts"][0])
    n_modes = modes.sizes["mode"]
    optima = "no other was" if n_modes == 1 else f"{n_modes:,} different optima were"
    elements: list[Element] = [
        Prose(
            text=f"EM was started {n_starts:,} times; {best:,} of the starts reached the best "
            f"optimum, and {optima} found.{_start_words(view, modes)}"
        ),
        Table(
            caption="Optima found by EM, "
            + ("most posterior mass first" if "mass" in modes else "best first")
            + (f", {len(rows)} of {n_modes:,}" if len(rows) < n_modes else ""),
            columns=(
                Cell(text="mode"),
                *number_cells("log likelihood", "starts", "BIC", "ICL", "smallest share"),
                *(number_cells("posterior mass") if "mass" in modes else ()),
                Cell(text="chains in it"),
            ),
            rows=tuple(rows),
            notes=(
                "BIC and ICL: smaller is better. The posterior mass is that of Laplace's "
                "approximation at the posterior's mode nearest to the optimum; a spike of the "
                "likelihood, on rows too few to tell a cluster, has none.",
            ),
        ),
    ]
    if "stacking_weight" in modes:
        elements.append(_groups(view, modes))
    return elements


def _is_spike(mode: xr.Dataset) -> bool:
    """Older fits do not tell."""
    return "collapsed" in mode and bool(mode["collapsed"])


def _start_words(view: FittedView, modes: xr.Dataset) -> str:
    """From which mode the chains started, if the fit was asked to start somewhere."""
    started = str(view.tree.attrs.get("started", ""))
    if not started:
        return ""
    return f" The fit was asked to start from {started}: chains set out from mode " + (
        f"{modes.attrs['start_mode']}."
    )


def _groups(view: FittedView, modes: xr.Dataset) -> Table:
    """Groups of chains that sit apart, with the weight that stacking gives each."""
    group = modes["chain_group"].values
    sent = view.tree["scouts"].to_dataset() if "scouts" in view.tree.children else None
    rows = []
    for label, weight, unreliable in zip(
        modes["group"].values,
        modes["stacking_weight"].values,
        modes["unreliable"].values,
        strict=True,
    ):
        chains = [str(name) for name in modes[CHAIN].values[group == label]]
        starts: list[str] = []
        if sent is not None:
            from_modes = sent["start_mode"].values[sent["scout_group"].values == label]
            starts = [f"scout from mode {mode}" for mode in from_modes]
        rows.append(
            (
                Cell(text=str(label)),
                Cell(text=", ".join([*chains, *starts])),
                *number_cells(percent(float(weight)), percent(float(unreliable))),
            )
        )
    return Table(
        caption="Chains that sit apart, and their stacking weights",
        columns=(
            *text_cells("group", "chains"),
            *number_cells("weight", "rows with Pareto k > 0.7"),
        ),
        rows=tuple(rows),
        notes=("The weights maximise the leave-one-out predictive density of the rows.",),
    )
