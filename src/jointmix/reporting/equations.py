"""The fitted model as MathML, with its own K and its own structure."""

from dataclasses import dataclass

from jointmix.reporting.elements import Equation
from jointmix.reporting.fitted import FittedView


def _row(*parts: str) -> str:
    return f"<mrow>{''.join(parts)}</mrow>"


def _letter(text: str, *, bold: bool = False) -> str:
    return f"<mi>{_BOLD.get(text, text) if bold else text}</mi>"


def _sign(text: str) -> str:
    return f"<mo>{text}</mo>"


def _under(base: str, index: str) -> str:
    return f"<msub>{base}{index}</msub>" if index else base


def _squared(base: str, index: str) -> str:
    if not index:
        return f"<msup>{base}<mn>2</mn></msup>"
    return f"<msubsup>{base}{index}<mn>2</mn></msubsup>"


# Mathematical bold letters: <mi mathvariant="bold"> is not part of MathML Core.
_BOLD = {"x": "𝐱", "u": "𝐮", "μ": "𝛍", "Σ": "𝚺", "θ": "𝛉", "I": "𝐈", "s": "𝐬"}
_I, _K = _letter("i"), _letter("k")


@dataclass(frozen=True)
class Structure:
    """What of the full model is there."""

    n_clusters: int
    features: bool
    response: bool
    predictors: bool
    intercept: bool
    covariance: str
    noise: str

    @classmethod
    def of(cls, view: FittedView) -> "Structure":
        """Read the structure from the specification."""
        model = view.spec["model"]
        return cls(
            n_clusters=int(model["clusters"]),
            features=bool(view.features),
            response=view.response is not None,
            predictors=bool(view.predictors),
            intercept=bool(model.get("intercept", True)),
            covariance=model.get("covariance", "full"),
            noise=model.get("noise", "cluster"),
        )

    @property
    def index(self) -> str:
        """The cluster's index, or nothing where there is one cluster."""
        return _K if self.n_clusters > 1 else ""


def _normal(variable: str, location: str, spread: str) -> str:
    inside = _row(variable, _sign("∣"), location, _sign(","), spread)
    return _row("<mi>𝒩</mi>", _sign("("), inside, _sign(")"))


def _covariance(structure: Structure) -> str:
    k = structure.index
    if structure.covariance == "tied":
        return _letter("Σ", bold=True)
    if structure.covariance == "diagonal":
        return _row("<mi>diag</mi>", _sign("("), _squared(_letter("s", bold=True), k), _sign(")"))
    if structure.covariance == "spherical":
        return _row(_squared(_letter("s"), k), _letter("I", bold=True))
    return _under(_letter("Σ", bold=True), k)


def _features_term(structure: Structure) -> str:
    location = _under(_letter("μ", bold=True), structure.index)
    return _normal(_under(_letter("x", bold=True), _I), location, _covariance(structure))


def _response_term(structure: Structure) -> str:
    k, parts = structure.index, []
    if structure.intercept:
        parts.append(_under(_letter("b"), k))
    if structure.predictors:
        transposed = f"<msubsup>{_letter('u', bold=True)}{_I}<mo>⊤</mo></msubsup>"
        parts += [_sign("+")] * bool(parts)
        parts.append(_row(transposed, _under(_letter("θ", bold=True), k)))
    index = "" if structure.noise == "shared" else k
    return _normal(_under(_letter("y"), _I), _row(*parts), _squared(_letter("σ"), index))


def _left_side(structure: Structure) -> str:
    x, y = _under(_letter("x", bold=True), _I), _under(_letter("y"), _I)
    given = _row(_sign("∣"), _under(_letter("u", bold=True), _I))
    if structure.features and structure.response:
        inside = _row(x, _sign(","), y)
    elif structure.features:
        inside = x
    else:
        inside = _row(y, given) if structure.predictors else y
    return _row(_letter("p"), _sign("("), inside, _sign(")"))


def _terms(structure: Structure) -> list[str]:
    terms = []
    if structure.features:
        terms.append(_features_term(structure))
    if structure.response:
        terms.append(_response_term(structure))
    return terms


def _math(*parts: str) -> str:
    return f'<math display="block">{_row(*parts)}</math>'


def density(view: FittedView) -> Equation:
    """The density of one row."""
    structure = Structure.of(view)
    right = _row(*_terms(structure))
    if structure.n_clusters > 1:
        below = _row(_K, _sign("="), "<mn>1</mn>")
        total = f"<munderover><mo>∑</mo>{below}<mn>{structure.n_clusters}</mn></munderover>"
        right = _row(total, _under(_letter("π"), _K), right)
    return Equation(
        mathml=_math(_left_side(structure), _sign("="), right), words=_in_words(structure)
    )


def _in_words(structure: Structure) -> str:
    parts = []
    if structure.features:
        parts.append("a Gaussian density of the features")
    if structure.response:
        parts.append("a Gaussian density of the response about its regression line")
    product = " times ".join(parts)
    if structure.n_clusters == 1:
        return f"The density of row i is {product}."
    return (
        f"The density of row i is the sum over {structure.n_clusters} clusters k of the cluster's "
        f"weight times {product}."
    )


def responsibility(view: FittedView) -> Equation:
    """The probability that a row belongs to cluster k."""
    structure = Structure.of(view)
    product = _row(_under(_letter("π"), _K), *_terms(structure))
    left = f"<msub><mi>r</mi>{_row(_I, _K)}</msub>"
    share = f"<mfrac>{product}{_row(_left_side(structure))}</mfrac>"
    return Equation(
        mathml=_math(left, _sign("="), share),
        words="The responsibility of cluster k for row i is the cluster's term of that sum, "
        "divided by the sum.",
    )
