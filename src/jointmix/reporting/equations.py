"""The fitted model as MathML: the sum over clusters of the weight times each block's density."""

from collections import Counter

from jointmix.families.mathml import U_I, I, K, display, letter, row, sign, under
from jointmix.reporting.elements import Equation
from jointmix.reporting.fitted import FittedView


def _left_side(view: FittedView) -> str:
    inside: list[str] = []
    for variable in dict.fromkeys(words.whole for words in view.words):
        inside += [sign(",")] * bool(inside) + [variable]
    if view.predictors and not view.model.clustering:
        inside.append(row(sign("∣"), U_I))
    return row(letter("p"), sign("("), inside[0] if len(inside) == 1 else row(*inside), sign(")"))


def _terms(view: FittedView) -> list[str]:
    found = {words.term: words.series for words in view.words}
    return [term if n == 1 else row(_product(n), term) for term, n in found.items()]


def _product(n: int) -> str:
    below = row(letter("d"), sign("="), "<mn>1</mn>")
    return f"<munderover><mo>∏</mo>{below}<mn>{n}</mn></munderover>"


def density(view: FittedView) -> Equation:
    """The density of one row."""
    n_clusters, right = view.model.n_clusters, row(*_terms(view))
    if n_clusters > 1:
        below = row(K, sign("="), "<mn>1</mn>")
        total = f"<munderover><mo>∑</mo>{below}<mn>{n_clusters}</mn></munderover>"
        right = row(total, under(letter("π"), K), right)
    return Equation(mathml=display(_left_side(view), sign("="), right), words=_in_words(view))


def _in_words(view: FittedView) -> str:
    words = Counter(block.words for block in view.model.blocks)
    product = " times ".join(one if n == 1 else f"{one}, each of {n}" for one, n in words.items())
    if view.model.n_clusters == 1:
        return f"The density of row i is {product}."
    return (
        f"The density of row i is the sum over {view.model.n_clusters} clusters k of the cluster's "
        f"weight times {product}."
    )


def responsibility(view: FittedView) -> Equation:
    """The probability that a row belongs to cluster k."""
    product = row(under(letter("π"), K), *_terms(view))
    left = f"<msub><mi>r</mi>{row(I, K)}</msub>"
    share = f"<mfrac>{product}{row(_left_side(view))}</mfrac>"
    return Equation(
        mathml=display(left, sign("="), share),
        words="The responsibility of cluster k for row i is the cluster's term of that sum, "
        "divided by the sum.",
    )
