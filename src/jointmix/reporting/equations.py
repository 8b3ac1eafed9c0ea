"""The fitted model as MathML: the sum over clusters of the weight times each block's density."""

from jointmix.families.mathml import U_I, I, K, display, letter, row, sign, under
from jointmix.reporting.elements import Equation
from jointmix.reporting.fitted import FittedView


def _left_side(view: FittedView) -> str:
    inside: list[str] = []
    for words in view.words:
        inside += [sign(",")] * bool(inside) + [words.variable]
    if view.predictors and not view.features:
        inside.append(row(sign("∣"), U_I))
    return row(letter("p"), sign("("), inside[0] if len(inside) == 1 else row(*inside), sign(")"))


def _terms(view: FittedView) -> list[str]:
    return [words.term for words in view.words]


def density(view: FittedView) -> Equation:
    """The density of one row."""
    n_clusters, right = view.model.n_clusters, row(*_terms(view))
    if n_clusters > 1:
        below = row(K, sign("="), "<mn>1</mn>")
        total = f"<munderover><mo>∑</mo>{below}<mn>{n_clusters}</mn></munderover>"
        right = row(total, under(letter("π"), K), right)
    return Equation(mathml=display(_left_side(view), sign("="), right), words=_in_words(view))


def _in_words(view: FittedView) -> str:
    product = " times ".join(block.words for block in view.model.blocks)
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
