"""What twins of positive responses with a shape share."""

from collections.abc import Iterator, Mapping

import numpy as np

from jointmix.families.limits import MOST_RATIO
from jointmix.families.parameters import Parameters
from jointmix.families.priors.priors import Fixed
from jointmix.families.protocol import Scaled
from jointmix.families.rows import Rows
from jointmix.validation.twin.family import Array, Arrays, Candidate, Density, orders
from jointmix.validation.twin.line import LineTwin


class PositiveTwin(LineTwin):
    """The line is the log of the mean, and there is a shape."""

    def shape_unit(self, scaling: Scaled) -> float:
        """What a shape on the users' scale is divided by."""
        del scaling
        return 1.0

    def complete(self, free: Mapping[str, Array], scaling: Scaled) -> Arrays:
        """The shape too."""
        found, prior = super().complete(free, scaling), self.spec.priors.shape
        if isinstance(prior, Fixed):
            fixed = prior.array / self.shape_unit(scaling)
            return found | {"shape": np.broadcast_to(fixed, free["weight"].shape)}
        return found | {"shape": free["shape"]}

    def ratio_at(self, parameters: Parameters, rows: Rows) -> np.ndarray:
        """y / m, (point, obs, component); infinite where the package cuts its density off."""
        log_ratio = np.log(rows.y)[:, None] - self.line_at(parameters, rows)
        cut = log_ratio > MOST_RATIO
        return np.where(cut, np.inf, np.exp(np.minimum(log_ratio, MOST_RATIO)))

    def mistakes(self, parameters: Parameters, rows: Rows, at: Density) -> Iterator[Candidate]:
        """Of the link, of the offset and of the shape."""
        yield from super().mistakes(parameters, rows, at)
        y, line, shape = rows.y[:, None], self.line_at(parameters, rows), parameters["shape"]
        own = {"shape": shape[:, None]}
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            without_exp = self.log_pdf(y, np.log(np.where(line > 0, line, np.nan)), own)
            yield "The line is taken for the mean, without exp.", without_exp
            if rows.offset is not None:
                bare = self.log_pdf(y, line - rows.offset[:, None], own)
                yield "The offset is missing from the line of y.", bare
        yield "The shape is taken for its inverse.", at(parameters.replace(shape=1 / shape))
        for order, words in orders(shape.shape[1]):
            sentence = f"The shapes belong to other components: {words}."
            yield sentence, at(parameters.replace(shape=shape[:, order]))
