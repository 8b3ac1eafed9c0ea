"""How people read a block: its equation, sentences, captions and place in the model's graph.

A class of blocks has its words in the module ``words`` beside its own, in a class of its name with
"Words" behind it: `jointmix.families.normal.block.NormalResponse` in
``jointmix.families.normal.words.NormalResponseWords``. `words_of` finds them, for families that
are registered from elsewhere too; a class without words has those of the class it derives from,
in the end `BlockWords`, which are plain and made of `Block.words` and `Parameter.meaning`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any, ClassVar, Protocol, Self

from jointmix.families.change import Change
from jointmix.families.line import Line
from jointmix.families.log_link import mean_of
from jointmix.families.mathml import X_I, Y_I, K, density, letter, row, sign, under
from jointmix.families.protocol import Block, Parameter


class Estimated(Protocol):
    """A scalar's estimate: as text with its interval, and the interval's bounds."""

    @property
    def text(self) -> str: ...
    @property
    def lower(self) -> float: ...
    @property
    def upper(self) -> float: ...


@dataclass(frozen=True)
class Node:
    """A parameter of the model's graph.

    Attributes
    ----------
    label, words
        What stands in its circle, and what that is.
    shared
        Whether all clusters have it in common.
    fixed
        Whether the user gave it.
    """

    label: str
    words: str
    shared: bool
    fixed: bool

    @classmethod
    def of(cls, label: str, words: str, parameters: Iterable[Parameter]) -> Self:
        """The node of some parameters: shared, or fixed, if all of them are."""
        members = tuple(parameters)
        shared = all(parameter.shared for parameter in members)
        return cls(label, words, shared, not any(parameter.free for parameter in members))


class BlockWords:
    """The words of a block; a family overrides what it can say better.

    Parameters
    ----------
    block
        Whose words they are.
    """

    #: What its scale is called in a table's head.
    scale: ClassVar[str] = "scale"
    #: Captions of parameters' pictures, where `Parameter.meaning` will not do.
    captions: ClassVar[Mapping[str, str]] = {}

    def __init__(self, block: Block) -> None:
        self.block = block

    @property
    def form(self) -> str:
        """Of a cluster, as in "clusters are Gaussian components"."""
        return self.block.family.replace("_", " ")

    def kind(self, noun: str) -> str:
        """A mixture or regression of the family, inside a title."""
        return f"{self.form} {noun}"

    @property
    def index(self) -> str:
        """The cluster's index in MathML, or nothing where there is one cluster."""
        return K if self.block.spec.n_clusters > 1 else ""

    @property
    def variable(self) -> str:
        """What the block is the density of, in MathML."""
        return Y_I if self.block.of_response else X_I

    @property
    def whole(self) -> str:
        """What all blocks of its kind are the density of, in MathML."""
        return self.variable

    @property
    def series(self) -> int:
        """How many blocks of its kind, with the same `term`, the model has."""
        return 1

    @property
    def term(self) -> str:
        """The density inside a cluster, in MathML."""
        symbols = [self.symbol(parameter) for parameter in self.block.parameters]
        return density(f"<mi>{self.form}</mi>", self.variable, *symbols)

    def symbol(self, parameter: Parameter) -> str:
        """A parameter's symbol, with the cluster's index unless all clusters share it."""
        base = letter(parameter.symbol, bold=bool(parameter.dims))
        return under(base, "" if parameter.shared else self.index)

    @property
    def structure(self) -> tuple[str, ...]:
        """Sentences on what clusters share and what is fixed."""
        return ()

    @property
    def nodes(self) -> tuple[Node, ...]:
        """Parameters of the model's graph, the outermost first."""
        return tuple(Node.of(item.symbol, item.meaning, [item]) for item in self.block.parameters)

    def caption(self, parameter: Parameter) -> str:
        """What a picture of a parameter shows."""
        plain = f"{parameter.name.capitalize()}: {parameter.meaning}"
        return self.captions.get(parameter.name, plain)

    def scatter(self, estimates: Mapping[str, Estimated]) -> str:
        """How rows of one cluster scatter about their line, after "rows scatter about it with"."""
        return " and ".join(
            f"{parameter.meaning} {estimates[parameter.name].text}"
            for parameter in self.block.parameters
            if parameter.name in estimates
        )

    def remark(self, estimates: Mapping[str, Estimated]) -> str:
        """What one cluster's scales and shapes mean, as a sentence's end; empty if nothing."""
        del estimates
        return ""


class LineWords(BlockWords):
    """What responses share that depend on their predictors through a line."""

    block: Line
    captions: ClassVar[Mapping[str, str]] = {
        "slope": "Slope: change of the response per unit of a predictor",
    }
    #: What the value at the averages of the predictors is called in a table.
    level: ClassVar[str] = "intercept at the averages"
    #: What a picture draws for each cluster.
    curve: ClassVar[str] = "regression line"

    @property
    def intercept_note(self) -> str:
        """What the intercept is, in a table's note."""
        return "The intercept is the response where every predictor is 0"

    def left(self, response: str) -> str:
        """What the line is, with the response's name: the left side of an equation."""
        said = self.block.line_of
        if "response" not in said:
            return f"{said} of {response}"
        return said.replace("the response", response).replace("response", response)

    def expected(self, line: Any) -> Any:
        """The response's mean where its line is so, of arrays."""
        return line

    def sentence(self, response: str, where: str, level: str, change: Change) -> str:
        """What a cluster's estimates say of predictors."""
        return f"{where}{response} is {level}; {change.at} {change.added('it')}"

    def typical(self, response: str, level: str) -> str:
        """What a cluster's intercept says where there are no predictors."""
        return f"There {response} is {level} on average"

    def scattered(self, about: str, estimates: Mapping[str, Estimated]) -> str:
        """How rows scatter, as a clause."""
        return f"rows scatter about {about} with {self.scatter(estimates)}"

    @property
    def line(self) -> str:
        """b_k + u'θ_k, as far as it is there, in MathML."""
        spec, parts = self.block.spec, []
        if spec.intercept:
            parts.append(under(letter("b"), self.index))
        if spec.predictors:
            transposed = f"<msubsup>{letter('u', bold=True)}{letter('i')}<mo>⊤</mo></msubsup>"
            parts += ["<mo>+</mo>"] * bool(parts)
            parts.append(row(transposed, under(letter("θ", bold=True), self.index)))
        return row(*parts)

    @property
    def origin(self) -> tuple[str, ...]:
        """Whether lines pass through the origin."""
        through = "The regressions pass through the origin (b = 0)."
        return () if self.block.spec.intercept else (through,)

    def _line_node(self) -> Node:
        """The coefficients as one."""
        spec, of = self.block.spec, {item.symbol: item for item in self.block.parameters}
        parts = {"b": "intercepts"} if spec.intercept else {}
        parts |= {"θ": "slopes"} if spec.predictors else {}
        return Node.of(", ".join(parts), " and ".join(parts.values()), [of[one] for one in parts])

    @property
    def nodes(self) -> tuple[Node, ...]:
        """What the family adds, and the coefficients as one."""
        added = [node for node in super().nodes if node.label not in ("b", "θ")]
        return (*added, self._line_node())


class RegressionWords(LineWords):
    """What responses about a line with a scale share."""

    scale: ClassVar[str] = "noise"

    @property
    def scale_index(self) -> str:
        """The index of σ in MathML: none where the clusters share it."""
        shared = next(item.shared for item in self.block.parameters if item.symbol == "σ")
        return "" if shared else self.index

    @property
    def structure(self) -> tuple[str, ...]:
        """Whose the σ are, and whether lines pass through the origin."""
        noise = {
            "cluster": f"Each cluster has its own {self.scale} σ.",
            "shared": f"All clusters share one {self.scale} σ.",
            "fixed": f"The {self.scale} σ is fixed by the user.",
        }[self.block.spec.noise]
        return (noise, *self.origin)

    @property
    def nodes(self) -> tuple[Node, ...]:
        """What the family adds, σ, and the coefficients as one."""
        *added, line = super().nodes
        (sigma,) = (item for item in self.block.parameters if item.symbol == "σ")
        others = [node for node in added if node.label != "σ"]
        return (*others, Node.of("σ", self.scale, [sigma]), line)


class LinkWords(LineWords):
    """What responses share whose mean is a function of their line."""

    @property
    def link_sentence(self) -> str:
        """What the line is."""
        return "The link of the expected response is a line in the predictors."

    @property
    def inside(self) -> str:
        """b_k + u'θ_k + o_i, in MathML."""
        parts = [self.line]
        if self.block.spec.offset is not None:
            parts += [sign("+"), under(letter("o"), letter("i"))]
        return row(sign("("), *parts, sign(")"))

    @property
    def structure(self) -> tuple[str, ...]:
        """The link, the offset, and whether lines pass through the origin."""
        name = self.block.spec.offset
        offset = () if name is None else (f"The offset {name} is added to it.",)
        return (self.link_sentence, *offset, *self.origin)

    def scattered(self, about: str, estimates: Mapping[str, Estimated]) -> str:
        """Nothing where nothing but the mean says it."""
        del about
        said = self.scatter(estimates)
        return f"rows scatter about it with {said}" if said else ""


class LogLinkWords(LinkWords):
    """What responses share whose mean is the exponential of their line."""

    captions: ClassVar[Mapping[str, str]] = {
        "slope": "Slope: change of the log of the expected response per unit of a predictor",
    }
    level: ClassVar[str] = "expected at the averages"
    curve: ClassVar[str] = "expected response"

    @property
    def link_sentence(self) -> str:
        """The line is a log."""
        return "The log of the expected response is a line in the predictors."

    @property
    def intercept_note(self) -> str:
        """The intercept is a log."""
        return "The intercept is the log of the expected response where every predictor is 0"

    @property
    def per_exposure(self) -> str:
        """Of what the intercept is the log, if there is an offset."""
        return "" if self.block.spec.offset is None else " per unit of exposure"

    def expected(self, line: Any) -> Any:
        """The exponential."""
        return mean_of(line)

    @property
    def mean(self) -> str:
        """exp(b_k + u'θ_k + o_i), in MathML."""
        return row(letter("exp"), self.inside)

    def sentence(self, response: str, where: str, level: str, change: Change) -> str:
        """In ratios."""
        return (
            f"{where}the expected {response}{self.per_exposure} is {level}; {change.at} "
            f"{change.multiplied('it is')}"
        )

    def typical(self, response: str, level: str) -> str:
        """The expected response."""
        return f"There the expected {response}{self.per_exposure} is {level}"


class PositiveWords(LogLinkWords):
    """What positive responses with a shape share."""

    captions: ClassVar[Mapping[str, str]] = {
        **LogLinkWords.captions,
        "shape": "Shape of the response; the larger, the closer rows lie to their mean",
    }
    level: ClassVar[str] = "mean at the averages"
    #: What its density is called in an equation; its variance in words, of the mean and the shape.
    name: ClassVar[str]
    variance: ClassVar[str]

    @property
    def shape(self) -> Parameter:
        """The shape."""
        (found,) = (item for item in self.block.parameters if item.name == "shape")
        return found

    @property
    def term(self) -> str:
        """name(y | exp(b_k + u'θ_k + o), shape_k)."""
        given = self.mean, self.symbol(self.shape)
        return density(f"<mi>{self.name}</mi>", self.variable, *given)

    @property
    def structure(self) -> tuple[str, ...]:
        """Whose the shapes are, and what they do."""
        one, symbol = self.block.spec.n_clusters == 1, self.shape.symbol
        whose = (
            f"{'The' if one else 'Each'} cluster has its own shape {symbol}"
            if self.shape.free
            else f"The shape {symbol} is fixed by the user"
        )
        return (*super().structure, f"{whose}: the variance of the response is {self.variance}.")

    @property
    def nodes(self) -> tuple[Node, ...]:
        """The shape and the coefficients."""
        *_, line = super().nodes
        return (Node.of(self.shape.symbol, "shape", [self.shape]), line)

    def scatter(self, estimates: Mapping[str, Estimated]) -> str:
        """The shape."""
        return f"a shape of {estimates['shape'].text}"


def words_of(block: Block) -> BlockWords:
    """The words of a block: those of the nearest of its classes that has some."""
    for kind in type(block).__mro__:
        package = kind.__module__.rpartition(".")[0]
        if package and find_spec(f"{package}.words"):
            found = getattr(import_module(f"{package}.words"), f"{kind.__name__}Words", None)
            if found is not None:
                return found(block)
    return BlockWords(block)
