"""What was done and found, in sentences for a paper, with the sources of what was used."""

from collections import Counter

from jointmix.base.numbers import percent
from jointmix.base.schema import CHAIN, DRAW, require_group
from jointmix.checks.finding import listed
from jointmix.families import numeric_families
from jointmix.model.settings import APPROXIMATIONS
from jointmix.reporting.elements import Code, Element, Prose, Section
from jointmix.reporting.fitted import FittedView
from jointmix.reporting.prior_meaning import described
from jointmix.reporting.references import on_pymc, sampler_of, used
from jointmix.reporting.sections.verdict import sentence
from jointmix.reporting.text import decimals, number, rows_text, with_minus

ID, TITLE = "methods", "Methods and results, to paste"

_COVARIANCES = {
    "full": "each cluster having a {0} matrix of its own",
    "tied": "all clusters sharing one {0} matrix",
    "diagonal": "uncorrelated inside clusters",
    "spherical": "uncorrelated and of equal spread inside clusters",
    "fixed": "with {0} matrices given beforehand",
}
_SAMPLERS = {
    "independence": "independence Metropolis–Hastings chains [tierney1994]",
    "nutpie": "the No-U-Turn sampler [hoffman2014] as implemented in nutpie [nutpie]",
    "pymc": "the No-U-Turn sampler [hoffman2014] of PyMC [pymc]",
    "numpyro": "the No-U-Turn sampler [hoffman2014] of NumPyro [numpyro]",
    "blackjax": "the No-U-Turn sampler [hoffman2014] of BlackJAX [blackjax]",
    "laplace": "Laplace's approximation at the mode",
    "pathfinder": "the Pathfinder approximation [zhang2022]",
}
_LABELS = {
    "ecr": "by matching each draw to the allocation at the best mode (ECR) [papastamoulis2010]",
    "ecr_iterative_1": "by iterative ECR [papastamoulis2010; papastamoulis2016]",
    "ecr_iterative_2": "by ECR on responsibilities [papastamoulis2010; papastamoulis2016]",
    "stephens": "by Stephens' method [stephens2000]",
    "pivotal": "by pivotal relabelling [papastamoulis2016]",
}


def section(view: FittedView) -> Section:
    """A paragraph of methods, one of results, and BibTeX."""
    elements: list[Element] = [
        Prose(text="Keys in brackets are those of the BibTeX below."),
        Code(caption="Methods", text=_methods(view)),
        Code(caption="Results", text=with_minus(_results(view))),
        Code(
            caption="BibTeX of what this fit used",
            text="\n\n".join(source.bibtex(key) for key, source in used(view).items()),
            narrow=True,
        ),
    ]
    return Section(id=ID, title=TITLE, elements=tuple(elements))


def _methods(view: FittedView) -> str:
    parts = [_model(view), _priors(view), _sampling(view), _identified(view), _checked(view)]
    return " ".join(part for part in parts if part)


def _model(view: FittedView) -> str:
    version = view.attribute("versions").get("jointmix", "")
    k, both = len(view.clusters), bool(view.model.clustering) and view.response is not None
    what = "mixture model with {} clusters" if k > 1 else "regression model"
    if both and k > 1:
        what = "cluster-weighted model [gershenfeld1997; ingrassia2012] with {} clusters"
    elif k > 1:
        what = "finite mixture model [mclachlan2000] with {} clusters"
    elif view.response is None:
        what = "density model with one component"
    words = Counter(block.words for block in view.model.blocks)
    product = listed([one if n == 1 else f"{one}, each of {n}" for one, n in words.items()])
    rows = f"{view.n_fitted:,} rows"
    if view.rows.weight is not None:
        rows += f" of total weight {rows_text(view.total)}"
    inside = "Inside each cluster" if k > 1 else "The model"
    features = [view.names[name] for name in view.model.clustering]
    named = []
    if features:
        named.append(f"the features {listed(features)}")
    if view.response is not None:
        named.append(f"the response {view.names[view.response]}")
    numeric, matrix = view.words[0], "covariance"
    if view.model.feature_family != numeric_families()[0]:
        matrix = "scale"
    covariance = (
        f", the {numeric.form} features {_COVARIANCES[view.model.covariance].format(matrix)}"
        if len(view.features) > 1 and k > 1
        else ""
    )
    given = ""
    if view.model.formula is not None:
        given = f" The predictors are those of the formula {view.model.formula}."
    elif view.predictors:
        given = f" Predictors are {listed([view.names[name] for name in view.predictors])}."
    missing = ""
    if view.model.missing == "model" and not view.rows.complete:
        summed = "" if view.rows.completions is None else ", levels that are predictors summed over"
        missing = f" Missing entries were integrated out{summed}, taken as missing at random."
    elif int(view.tree.attrs["n_rows"]) > view.n_fitted:
        left_out = int(view.tree.attrs["n_rows"]) - view.n_fitted
        missing = f" {left_out:,} rows with missing entries were left out."
    return (
        f"A Bayesian {what.format(k)} was fitted to {rows} with jointmix {version} [jointmix]. "
        f"{inside} has {product}: {listed(named)}{covariance}.{given}{missing}"
    )


def _priors(view: FittedView) -> str:
    where = "centred and scaled columns" if view.model.standardize else "the columns' own scale"
    said = [
        f"{parameter.name} {described(view, parameter)}"
        for parameter in view.model.parameters.values()
        if described(view, parameter) != "–"
    ]
    return f"Priors, on {where}, were: {'; '.join(said)}." if said else ""


def _sampling(view: FittedView) -> str:
    sampler, sizes = sampler_of(view), view.posterior.sizes
    how = _SAMPLERS.get(sampler, sampler)
    if on_pymc(view) and sampler != "pymc":
        how += ", on the density of a PyMC model [pymc]"
    draws = f"{sizes[CHAIN]} chains of {sizes[DRAW]:,} draws"
    start = ""
    if len(view.clusters) > 1:
        starts = int(require_group(view.tree, "modes")["n_starts"].sum())
        start = f"EM [dempster1977] from {starts:,} starts looked for modes. "
    tuned = sampler not in ("independence", *APPROXIMATIONS)
    tune = f" after {view.model.sampler.tune:,} steps of adaptation each" if tuned else ""
    seed = int(view.tree.attrs["seed"])
    return f"{start}The posterior was sampled by {how}: {draws}{tune} (seed {seed})."


def _identified(view: FittedView) -> str:
    if len(view.clusters) == 1:
        return ""
    method = str(view.attribute("identification").get("method"))
    return f"Labels of clusters were identified {_LABELS.get(method, f'by {method}')}."


def _checked(view: FittedView) -> str:
    chains = (
        ""
        if sampler_of(view) in APPROXIMATIONS
        else "Convergence was judged by rank-normalised R-hat and effective sample sizes "
        "[vehtari2021], computed with ArviZ [arviz]. "
    )
    pit = (
        " Calibration was judged by LOO-PIT values in simultaneous bands [sailynoja2022]."
        if view.response is not None
        else ""
    )
    return (
        f"{chains}Predictive densities are by Pareto-smoothed importance-sampling leave-one-out "
        f"cross-validation [vehtari2017; vehtari2024].{pit} Dependence on priors was judged by "
        "power-scaling [kallioinen2024]. Intervals are central 89% posterior intervals."
    )


def _results(view: FittedView) -> str:
    outcome = view.diagnosis.verdict
    if outcome == "DO NOT USE":
        return "The checks found that these draws must not be used; there are no results to state."
    values = [*view.statistics.values(), *view.free_statistics.values()]
    r_hat = max(float(each["r_hat"].max()) for each in values if each["r_hat"].notnull().any())
    ess = min(float(each["ess_bulk"].min()) for each in values if each["r_hat"].notnull().any())
    parts = [
        f"The largest R-hat was {decimals(r_hat, 3)} and the smallest bulk effective sample size "
        f"{decimals(ess, 0)}; the checks' verdict was {outcome}.",
        *(sentence(view, k) for k in range(len(view.clusters))),
    ]
    table = view.scores.table
    parts.append(
        f"The expected log predictive density of all rows was "
        f"{decimals(table.loc['joint', 'elpd'], 1)} (standard error "
        f"{decimals(table.loc['joint', 'se'], 1)}) nats, {number(len(view.scores.influential), 3)} "
        f"rows having Pareto k̂ above 0.7."
    )
    if view.response is not None:
        pit = view.scores.pointwise["pit"].values
        there = ~(pit != pit)
        inside = float((abs(pit[there] - 0.5) <= 0.45).mean())
        parts.append(
            f"{percent(inside)} of the rows left out fell into their central 90% interval."
        )
    return " ".join(parts)
