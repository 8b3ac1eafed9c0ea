"""Which model of a comparison to take, and what its criteria say."""

import numpy as np
import pandas as pd

from jointmix.base.numbers import probability
from jointmix.fitting.candidates import (
    N_CLUSTERS,
    Key,
    least,
    model_words,
    parts_of,
    plain_key,
    short_words,
)
from jointmix.model.settings import LARGEST_PARETO_SHAPE
from jointmix.modes.climb import SAME_OPTIMUM

#: A difference in elpd that is no reason to prefer the larger model (Sivula, Magnusson,
#: Matamoros and Vehtari 2020, arXiv:2008.10296), and the standard errors it must exceed.
LEAST_DIFFERENCE, STANDARD_ERRORS = 4.0, 2.0


def choose(table: pd.DataFrame) -> Key:
    """The simplest fitted model whose joint elpd is not clearly below the largest.

    Simplest is that with the fewest free parameters, and of equals that with the fewest clusters:
    where only K varies, the smallest K.

    Parameters
    ----------
    table
        With ``n_parameters``, ``elpd_diff`` and ``diff_se``, one row a model.
    """
    return _simplest(table[_close(table["elpd_diff"], table["diff_se"])])


def _close(difference: pd.Series, error: pd.Series) -> np.ndarray:
    """Which models are not clearly below the best; those without a difference are not."""
    allowed = np.maximum(LEAST_DIFFERENCE, STANDARD_ERRORS * error)
    return np.asarray(-difference <= allowed)


def _simplest(table: pd.DataFrame) -> Key:
    number = table.index.get_level_values(N_CLUSTERS).to_numpy()
    return plain_key(table.index[np.lexsort((number, table["n_parameters"].to_numpy()))[0]])


def describe(table: pd.DataFrame, best: Key, gravest: str = "") -> str:
    """What the criteria say, and what it means where they disagree.

    Parameters
    ----------
    table
        Of a `Comparison`.
    best
        The model chosen by the joint elpd.
    gravest
        The gravest finding of its fit with the remedy, in sentences.
    """
    bic, icl = least(table, "bic"), least(table, "icl")
    what = "number" if table.index.nlevels == 1 else "model"
    sentences = [
        f"The rows are predicted about as well with {model_words(table, best)} as with any {what} "
        f"tried (joint elpd {table.loc[best, 'elpd']:,.1f}); BIC favours "
        f"{short_words(table, bic)}, ICL {short_words(table, icl)}."
    ]
    fitted = table[table["elpd"].notna()]
    if fitted["elpd_conditional"].notna().all():
        sentences += _of_response(fitted, best)
    sentences += _of_criteria(*(_number(table, key) for key in (best, bic, icl)))
    sentences += _of_structures(table, best, bic)
    sentences += _of_evidence(fitted)
    sentences += _of_falls(table)
    sentences += _of_trust(fitted)
    if table.loc[best, "verdict"] == "DO NOT USE":
        sentences += _of_next(fitted, best, gravest)
    if len(fitted) < len(table):
        sentences.append(
            f"EM screened {len(table)} models, of which {len(fitted)} were sampled: the structure "
            "with the least BIC for each number of clusters, and the number with the least BIC "
            "for each structure."
        )
    return " ".join(sentences)


def _number(table: pd.DataFrame, key: Key) -> int:
    return int(parts_of(table, key)[N_CLUSTERS])


def _of_response(table: pd.DataFrame, best: Key) -> list[str]:
    """How well the response given the features is predicted."""
    top = plain_key(table["elpd_conditional"].idxmax())
    enough = _simplest(table[_close(table["conditional_diff"], table["conditional_diff_se"])])
    found = [
        f"The response given the features is predicted best with {model_words(table, top)}"
        + (f", and not clearly worse with {short_words(table, enough)}." if enough != top else ".")
    ]
    if _number(table, enough) < _number(table, best):
        found.append(
            "The clusters beyond that describe the features, not the regression: fewer will do "
            "if prediction of the response is all that is wanted."
        )
    return found


def _of_criteria(best: int, bic: int, icl: int) -> list[str]:
    """What it means where the criteria's numbers of clusters disagree."""
    found = []
    if bic < best:
        found.append(
            "BIC asks more of each parameter than prediction does: the further clusters may "
            "describe a shape that is not Gaussian rather than groups."
        )
    if bic > best:
        found.append(
            "BIC sees more clusters than predict better: they may be few rows near a mode of the "
            "likelihood."
        )
    if icl < min(bic, best):
        found.append(
            "ICL counts separate groups: some of the others' clusters overlap, and together "
            "describe one group."
        )
    return found


def _of_structures(table: pd.DataFrame, best: Key, bic: Key) -> list[str]:
    ours, theirs = parts_of(table, best), parts_of(table, bic)
    if ours == theirs or ours[N_CLUSTERS] != theirs[N_CLUSTERS]:
        return []
    return [
        "BIC and prediction agree on the number of clusters, not on their structure: the rows say "
        "little of what tells these structures apart."
    ]


def _of_evidence(fitted: pd.DataFrame) -> list[str]:
    """Which model the evidence favours, where fits know it, and on what it rests."""
    if "log_evidence" not in fitted:
        return []
    known = fitted[fitted["log_evidence"].notna()]
    top = plain_key(known["log_evidence"].idxmax())
    said = f"log p(data) {known.loc[top, 'log_evidence']:,.2f}"
    if "probability" in known:
        said += f", posterior probability {probability(known.loc[top, 'probability'], 1e-3)}"
    others = "" if len(known) == len(fitted) else ", of those fits that know it"
    return [
        f"The evidence is largest for {model_words(fitted, top)} ({said}){others}; unlike the "
        "other criteria it rests on the priors' widths: where one parameter of each cluster has a "
        "prior ten times as wide, each cluster costs log 10 more."
    ]


def _of_falls(table: pd.DataFrame) -> list[str]:
    """Where the likelihood falls although a cluster is added."""
    found = []
    for key in map(plain_key, table.index):
        parts = parts_of(table, key)
        for other in map(plain_key, table.index):
            theirs = parts_of(table, other)
            if theirs != parts | {N_CLUSTERS: parts[N_CLUSTERS] - 1}:
                continue
            rows = table.loc[[other, key]]
            if rows["collapsed"].any() or rows["log_likelihood"].diff().iloc[1] >= -SAME_OPTIMUM:
                continue
            before, after = rows["log_likelihood"]
            found.append(
                f"The log likelihood falls from {before:,.2f} with {model_words(table, other)} to "
                f"{after:,.2f} with {model_words(table, key)}: the optimum with the most posterior "
                "mass is not the highest there."
            )
    return found


def _of_trust(fitted: pd.DataFrame) -> list[str]:
    """Which fits are not to be relied upon."""
    found = []
    if unreliable := _listed(fitted, fitted["high_k"] > 0):
        found.append(
            f"Some rows have Pareto k above {LARGEST_PARETO_SHAPE} (K = {unreliable}): "
            "their leave-one-out densities are optimistic."
        )
    if warned := _listed(fitted, fitted["verdict"] == "DO NOT USE"):
        found.append(f"The fits with K = {warned} are not to be used.")
    return found


def _of_next(fitted: pd.DataFrame, best: Key, gravest: str) -> list[str]:
    """What to do where the fit that was chosen is not to be used."""
    found = [
        f"That of the model chosen, K = {short_words(fitted, best)}, is one of them: {gravest}"
    ]
    close = _close(fitted["elpd_diff"], fitted["diff_se"])
    sound = fitted[close & (fitted["verdict"] != "DO NOT USE").to_numpy()]
    if len(sound):
        other = short_words(fitted, _simplest(sound))
        found.append(f"The fit with K = {other} predicts about as well and may be used.")
    else:
        found.append("Compare again when that is done: no other fit predicts as well.")
    return found


def _listed(table: pd.DataFrame, those: pd.Series) -> str:
    return ", ".join(short_words(table, key) for key in table.index[those])
