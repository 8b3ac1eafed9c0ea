"""What a fit rests on, as a list of sources and as BibTeX: only what that fit used."""

from dataclasses import dataclass

from jointmix.model.settings import APPROXIMATIONS
from jointmix.reporting.fitted import FittedView


@dataclass(frozen=True, kw_only=True)
class Source:
    """A work: the kind of its BibTeX entry, its fields, and what follows the title in a list."""

    kind: str
    author: str
    title: str
    year: str
    fields: tuple[tuple[str, str], ...] = ()

    @property
    def text(self) -> str:
        """As a list of sources has it."""
        of = dict(self.fields)
        where = [of[name] for name in ("journal", "booktitle", "publisher") if name in of]
        numbers = " ".join(of[name] for name in ("volume", "pages") if name in of)
        link = f"doi:{of['doi']}" if "doi" in of else of.get("url", of.get("eprint", ""))
        parts = [f"{self.author.replace(' and ', ', ')} ({self.year}). {self.title}"]
        parts += [" ".join([*where, numbers]).strip()] * bool(where)
        return ". ".join([*parts, *([link] if link else [])])

    def bibtex(self, key: str) -> str:
        """As BibTeX has it, titles with their capitals."""
        fields = [("author", self.author), ("title", f"{{{self.title}}}"), ("year", self.year)]
        body = ",\n".join(f"  {name} = {{{value}}}" for name, value in (*fields, *self.fields))
        return f"@{self.kind}{{{key},\n{body}\n}}"


def _article(author: str, title: str, journal: str, year: str, **fields: str) -> Source:
    given = (("journal", journal), *fields.items())
    return Source(kind="article", author=author, title=title, year=year, fields=given)


SOURCES: dict[str, Source] = {
    "ingrassia2012": _article(
        "Ingrassia, S. and Minotti, S. C. and Vittadini, G.",
        "Local statistical modeling via a cluster-weighted approach with elliptical distributions",
        "Journal of Classification",
        "2012",
        volume="29",
        pages="363–401",
        doi="10.1007/s00357-012-9114-3",
    ),
    "gershenfeld1997": _article(
        "Gershenfeld, N.",
        "Nonlinear inference and cluster-weighted modeling",
        "Annals of the New York Academy of Sciences",
        "1997",
        volume="808",
        pages="18–24",
        doi="10.1111/j.1749-6632.1997.tb51651.x",
    ),
    "mclachlan2000": Source(
        kind="book",
        author="McLachlan, G. and Peel, D.",
        title="Finite mixture models",
        year="2000",
        fields=(("publisher", "Wiley"), ("doi", "10.1002/0471721182")),
    ),
    "dempster1977": _article(
        "Dempster, A. P. and Laird, N. M. and Rubin, D. B.",
        "Maximum likelihood from incomplete data via the EM algorithm",
        "Journal of the Royal Statistical Society B",
        "1977",
        volume="39",
        pages="1–22",
        doi="10.1111/j.2517-6161.1977.tb01600.x",
    ),
    "hoffman2014": _article(
        "Hoffman, M. D. and Gelman, A.",
        "The No-U-Turn sampler: adaptively setting path lengths in Hamiltonian Monte Carlo",
        "Journal of Machine Learning Research",
        "2014",
        volume="15",
        pages="1593–1623",
        url="https://jmlr.org/papers/v15/hoffman14a.html",
    ),
    "tierney1994": _article(
        "Tierney, L.",
        "Markov chains for exploring posterior distributions",
        "Annals of Statistics",
        "1994",
        volume="22",
        pages="1701–1728",
        doi="10.1214/aos/1176325750",
    ),
    "zhang2022": _article(
        "Zhang, L. and Carpenter, B. and Gelman, A. and Vehtari, A.",
        "Pathfinder: parallel quasi-Newton variational inference",
        "Journal of Machine Learning Research",
        "2022",
        volume="23",
        pages="1–49",
        url="https://jmlr.org/papers/v23/21-0889.html",
    ),
    "pymc": _article(
        "Abril-Pla, O. and Andreani, V. and Carroll, C. and Dong, L. and Fonnesbeck, C. J. and "
        "Kochurov, M. and Kumar, R. and Lao, J. and Luhmann, C. C. and Martin, O. A. and "
        "Osthege, M. and Vieira, R. and Wiecki, T. and Zinkov, R.",
        "PyMC: a modern, and comprehensive probabilistic programming framework in Python",
        "PeerJ Computer Science",
        "2023",
        volume="9",
        pages="e1516",
        doi="10.7717/peerj-cs.1516",
    ),
    "numpyro": _article(
        "Phan, D. and Pradhan, N. and Jankowiak, M.",
        "Composable effects for flexible and accelerated probabilistic programming in NumPyro",
        "arXiv",
        "2019",
        eprint="1912.11554",
    ),
    "blackjax": _article(
        "Cabezas, A. and Corenflos, A. and Lao, J. and Louf, R.",
        "BlackJAX: composable Bayesian inference in JAX",
        "arXiv",
        "2024",
        eprint="2402.10797",
    ),
    "arviz": _article(
        "Kumar, R. and Carroll, C. and Hartikainen, A. and Martin, O.",
        "ArviZ a unified library for exploratory analysis of Bayesian models in Python",
        "Journal of Open Source Software",
        "2019",
        volume="4",
        pages="1143",
        doi="10.21105/joss.01143",
    ),
    "papastamoulis2010": _article(
        "Papastamoulis, P. and Iliopoulos, G.",
        "An artificial allocations based solution to the label switching problem in Bayesian "
        "analysis of mixtures of distributions",
        "Journal of Computational and Graphical Statistics",
        "2010",
        volume="19",
        pages="313–331",
        doi="10.1198/jcgs.2010.09008",
    ),
    "stephens2000": _article(
        "Stephens, M.",
        "Dealing with label switching in mixture models",
        "Journal of the Royal Statistical Society B",
        "2000",
        volume="62",
        pages="795–809",
        doi="10.1111/1467-9868.00265",
    ),
    "papastamoulis2016": _article(
        "Papastamoulis, P.",
        "label.switching: an R package for dealing with the label switching problem in MCMC "
        "outputs",
        "Journal of Statistical Software",
        "2016",
        volume="69",
        doi="10.18637/jss.v069.c01",
    ),
    "vehtari2021": _article(
        "Vehtari, A. and Gelman, A. and Simpson, D. and Carpenter, B. and Bürkner, P.-C.",
        "Rank-normalization, folding, and localization: an improved R-hat for assessing "
        "convergence of MCMC",
        "Bayesian Analysis",
        "2021",
        volume="16",
        pages="667–718",
        doi="10.1214/20-BA1221",
    ),
    "vehtari2017": _article(
        "Vehtari, A. and Gelman, A. and Gabry, J.",
        "Practical Bayesian model evaluation using leave-one-out cross-validation and WAIC",
        "Statistics and Computing",
        "2017",
        volume="27",
        pages="1413–1432",
        doi="10.1007/s11222-016-9696-4",
    ),
    "vehtari2024": _article(
        "Vehtari, A. and Simpson, D. and Gelman, A. and Yao, Y. and Gabry, J.",
        "Pareto smoothed importance sampling",
        "Journal of Machine Learning Research",
        "2024",
        volume="25",
        pages="1–58",
        url="https://jmlr.org/papers/v25/19-556.html",
    ),
    "sailynoja2022": _article(
        "Säilynoja, T. and Bürkner, P.-C. and Vehtari, A.",
        "Graphical test for discrete uniformity and its applications in goodness-of-fit "
        "evaluation and multiple sample comparison",
        "Statistics and Computing",
        "2022",
        volume="32",
        pages="32",
        doi="10.1007/s11222-022-10090-6",
    ),
    "kallioinen2024": _article(
        "Kallioinen, N. and Paananen, T. and Bürkner, P.-C. and Vehtari, A.",
        "Detecting and diagnosing prior and likelihood sensitivity with power-scaling",
        "Statistics and Computing",
        "2024",
        volume="34",
        pages="57",
        doi="10.1007/s11222-023-10366-5",
    ),
}
#: What each sampler rests on.
_SAMPLERS = {
    "independence": ("tierney1994",),
    "nutpie": ("hoffman2014", "nutpie"),
    "pymc": ("hoffman2014", "pymc"),
    "numpyro": ("hoffman2014", "numpyro"),
    "blackjax": ("hoffman2014", "blackjax"),
    "pathfinder": ("zhang2022",),
    "laplace": (),
}
_LABELS = {
    "ecr": ("papastamoulis2010",),
    "ecr_iterative_1": ("papastamoulis2010", "papastamoulis2016"),
    "ecr_iterative_2": ("papastamoulis2010", "papastamoulis2016"),
    "stephens": ("stephens2000",),
    "pivotal": ("papastamoulis2016",),
}


def sampler_of(view: FittedView) -> str:
    """The sampler that made the draws, which "auto" chose."""
    return str(view.tree.attrs["backend"]).split(" on ")[0].split(",")[0]


def on_pymc(view: FittedView) -> bool:
    """Whether the posterior's density was the PyMC model's."""
    return str(view.tree.attrs["backend"]).endswith((" on numba", " on jax"))


def used(view: FittedView) -> dict[str, Source]:
    """Sources of what the fit used, and the report of it, by their keys."""
    keys = ["jointmix"]
    if view.model.clustering and view.response is not None:
        keys += ["gershenfeld1997", "ingrassia2012"]
    elif len(view.clusters) > 1:
        keys.append("mclachlan2000")
    sampler = sampler_of(view)
    if len(view.clusters) > 1:
        keys.append("dempster1977")
        found = view.attribute("identification")
        keys += _LABELS.get(str(found.get("method")), ())
        keys += _LABELS.get(str(found.get("other")), ()) if found.get("n_compared") else ()
    keys += _SAMPLERS.get(sampler, ())
    keys += ["pymc"] * on_pymc(view) + ["arviz"]
    keys += [] if sampler in APPROXIMATIONS else ["vehtari2021"]
    keys += ["vehtari2017", "vehtari2024", "kallioinen2024"]
    keys += ["sailynoja2022"] if view.response is not None else []
    known = SOURCES | {name: _software(view, name) for name in ("jointmix", "nutpie")}
    return {key: known[key] for key in dict.fromkeys(keys)}


def _software(view: FittedView, name: str) -> Source:
    version = str(view.attribute("versions").get(name, ""))
    title, author = {
        "jointmix": ("jointmix: Bayesian joint mixtures",
                     "{The jointmix developers}"),
        "nutpie": ("nutpie: fast sampling for Bayesian models", "{The PyMC developers}"),
    }[name]  # fmt: skip
    fields: tuple[tuple[str, str], ...] = (("version", version),) * bool(version)
    year = str(view.tree.attrs.get("created", ""))[:4]
    return Source(kind="software", author=author, title=title, year=year or "n.d.", fields=fields)
