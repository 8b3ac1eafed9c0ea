"""Ways in which users write the same mixture in NumPyro, on the columns' own scale."""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from jax.scipy.special import gammaln
from numpyro import handlers
from numpyro.infer.reparam import LocScaleReparam

from jointmix.families.priors.priors import Dirichlet, HalfNormal, Normal, Priors
from jointmix.validation.agreement.problem import Problem

#: The priors that all forms have.
PRIORS = Priors(
    weight=Dirichlet(concentration=1.5), mean=Normal(scale=3.0), sd=HalfNormal(scale=2.0),
    intercept=Normal(scale=5.0), slope=Normal(scale=2.0), sigma=HalfNormal(scale=1.5),
)  # fmt: skip
ALONE = Priors(weight=PRIORS.weight, mean=PRIORS.mean, sd=PRIORS.sd)

Form = Callable[[Problem], None]


def share(k: int) -> jnp.ndarray:
    return numpyro.sample("weight", dist.Dirichlet(jnp.full(k, 1.5)))


def cloud(k: int, d: int, prior: dist.Distribution | None = None) -> tuple[jnp.ndarray, ...]:
    """Means and sds (component, feature)."""
    with numpyro.plate("clusters", k):
        mean = numpyro.sample("mean", (prior or dist.Normal(0, 3)).expand([k, d]).to_event(1))
        return mean, numpyro.sample("sd", dist.HalfNormal(2).expand([d]).to_event(1))


def line(k: int, r: int) -> tuple[jnp.ndarray, ...]:
    with numpyro.plate("clusters", k):
        base = numpyro.sample("intercept", dist.Normal(0, 5))
        noise = numpyro.sample("sigma", dist.HalfNormal(1.5))
        return base, numpyro.sample("slope", dist.Normal(0, 2).expand([r]).to_event(1)), noise


def response(problem: Problem, z: jnp.ndarray, b: tuple[jnp.ndarray, ...], *extra: str) -> None:
    u, y = problem.rows.u, problem.rows.y
    about = dist.Normal(b[0][z] + (u * b[1][z]).sum(-1), b[2][z])
    for site in ("y", *extra):
        numpyro.sample(site, about, obs=y)


def sizes(problem: Problem) -> tuple[int, int, int, int]:
    """Rows, features, clusters, predictors."""
    rows = problem.rows
    return len(rows.y), rows.x.shape[1], problem.spec.n_clusters, rows.u.shape[1]


def features_left(problem: Problem) -> None:
    """Features in a plate left of that of the rows, and parameters (feature, cluster)."""
    n, d, k, r = sizes(problem)
    w, own = share(k), line(k, r)
    with numpyro.plate("columns", d, dim=-2), numpyro.plate("labels", k, dim=-1):
        mean = numpyro.sample("mean", dist.Normal(0, 3))
        sd = numpyro.sample("sd", dist.HalfNormal(2))
    with numpyro.plate("data", n, dim=-1):
        z = numpyro.sample("z", dist.Categorical(w), infer={"enumerate": "parallel"})
        response(problem, z, own)
        with numpyro.plate("features", d, dim=-2):
            column = jnp.arange(d)[:, None]
            numpyro.sample("x", dist.Normal(mean[column, z], sd[column, z]), obs=problem.rows.x.T)


def features_right(problem: Problem) -> None:
    """Features in a plate right of that of the rows."""
    n, d, k, _ = sizes(problem)
    w, (mean, sd) = share(k), cloud(k, d)
    with numpyro.plate("data", n, dim=-2):
        z = numpyro.sample("z", dist.Categorical(w), infer={"enumerate": "parallel"})
        with numpyro.plate("features", d, dim=-1):
            column = jnp.arange(d)
            numpyro.sample("x", dist.Normal(mean[z, column], sd[z, column]), obs=problem.rows.x)


def one_cluster(problem: Problem) -> None:
    """A single cluster, x in two plates and y in a third."""
    n, d, _, _ = sizes(problem)
    with numpyro.plate("features", d):
        mean = numpyro.sample("mean", dist.Normal(0, 3))
        sd = numpyro.sample("sd", dist.HalfNormal(2))
    base = numpyro.sample("intercept", dist.Normal(0, 5))
    tilt = numpyro.sample("slope", dist.Normal(0, 2))
    noise = numpyro.sample("sigma", dist.HalfNormal(1.5))
    with numpyro.plate("features", d, dim=-1), numpyro.plate("data", n, dim=-2):
        numpyro.sample("x", dist.Normal(mean, sd), obs=problem.rows.x)
    with numpyro.plate("rows", n):
        about = dist.Normal(base + tilt * problem.rows.u[:, 0], noise)
        numpyro.sample("y", about, obs=problem.rows.y)


def columns_apart(problem: Problem, order: str = "support") -> None:
    """A site a feature, and clusters in the order of the first one's means."""
    n, _, k, r = sizes(problem)
    w, own = share(k), line(k, r)
    if order == "support":
        vector = dist.constraints.ordered_vector
        first = numpyro.sample("first", dist.ImproperUniform(vector, (), (k,)))
        # Normalised inside the order.
        density = dist.Normal(0, 3).log_prob(first).sum() + gammaln(k + 1)
        numpyro.factor("first_prior", density)
    elif order == "transform":
        base = dist.Normal(0, 3).expand([k]).to_event(1)
        ordered = dist.TransformedDistribution(base, dist.transforms.OrderedTransform())
        first = numpyro.sample("first", ordered)
    else:
        first = numpyro.sample("first", dist.Normal(0, 3).expand([k]).to_event(1))
        numpyro.factor("order", jnp.where((jnp.diff(first) > 0).all(), 0.0, -jnp.inf))
    with numpyro.plate("clusters", k):
        second = numpyro.sample("second", dist.Normal(0, 3))
        spreads = [numpyro.sample(f"sd_{i}", dist.HalfNormal(2)) for i in range(2)]
    with numpyro.plate("data", n):
        z = numpyro.sample("z", dist.Categorical(w), infer={"enumerate": "parallel"})
        for i, mean in enumerate((first, second)):
            about = dist.Normal(mean[z], spreads[i][z])
            numpyro.sample(f"obs_{i}", about, obs=problem.rows.x[:, i])
        response(problem, z, own)


COLUMNS_APART = {
    "mean[x0]": "first", "mean[x1]": "second", "sd[x0]": "sd_0", "sd[x1]": "sd_1",
    "x[x0]": "obs_0", "x[x1]": "obs_1",
}  # fmt: skip


def clusters_apart(problem: Problem) -> None:
    """A site a cluster, in MixtureGeneral."""
    n, d, k, _ = sizes(problem)
    w = share(k)
    means = [numpyro.sample(f"m{i}", dist.Normal(0, 3).expand([d]).to_event(1)) for i in range(k)]
    sds = [numpyro.sample(f"s{i}", dist.HalfNormal(2).expand([d]).to_event(1)) for i in range(k)]
    parts = [dist.Normal(m, s).to_event(1) for m, s in zip(means, sds, strict=True)]
    with numpyro.plate("data", n):
        whole = dist.MixtureGeneral(dist.Categorical(w), parts)
        numpyro.sample("x", whole, obs=problem.rows.x)


def not_centred(problem: Problem) -> None:
    """Means reparametrised by NumPyro, partly; a mask that masks nothing."""
    n, d, k, r = sizes(problem)
    w, own = share(k), line(k, r)
    with handlers.reparam(config={"mean": LocScaleReparam(0.3)}):
        mean, sd = cloud(k, d)
    with numpyro.plate("data", n), handlers.mask(mask=np.ones(n, dtype=bool)):
        z = numpyro.sample("z", dist.Categorical(w), infer={"enumerate": "parallel"})
        numpyro.sample("x", dist.Normal(mean[z], sd[z]).to_event(1), obs=problem.rows.x)
        response(problem, z, own)


def joint_normal(problem: Problem) -> None:
    """(x, y) as one mixture of normal distributions; its covariances are factored by NumPyro."""
    n, d, k, r = sizes(problem)
    w, (mean, sd), (base, tilt, noise) = share(k), cloud(k, d), line(k, r)
    own = jnp.eye(d) * sd[:, :, None] ** 2
    across = jnp.einsum("kij,kj->ki", own, tilt)
    last = (noise**2 + (tilt * across).sum(1))[:, None]
    low = jnp.concatenate([across, last], axis=1)[:, None]
    covariance = jnp.concatenate([jnp.concatenate([own, across[:, :, None]], axis=2), low], axis=1)
    centre = jnp.concatenate([mean, (base + (mean * tilt).sum(1))[:, None]], axis=1)
    cloud_of = dist.MultivariateNormal(centre, covariance)
    both = np.column_stack([problem.rows.x, problem.rows.y])
    with numpyro.plate("data", n):
        numpyro.sample("both", dist.MixtureSameFamily(dist.Categorical(w), cloud_of), obs=both)


def enumerated(problem: Problem, wrong: str) -> None:
    """The usual form, with something wrong."""
    n, d, k, r = sizes(problem)
    shift = jnp.arange(k)[:, None] if wrong == "labels" else jnp.zeros((k, 1))
    w, (mean, sd), own = share(k), cloud(k, d, dist.Normal(shift, 3)), line(k, r)
    with numpyro.plate("data", n):
        z = numpyro.sample("z", dist.Categorical(w), infer={"enumerate": "parallel"})
        if wrong != "no x":
            numpyro.sample("x", dist.Normal(mean[z], sd[z]).to_event(1), obs=problem.rows.x)
        response(problem, z, own, *(["again"] if wrong == "y twice" else []))


def allocated_twice(problem: Problem) -> None:
    """x and y are a mixture each."""
    n, d, k, _ = sizes(problem)
    w, (mean, sd), (base, tilt, noise) = share(k), cloud(k, d), line(k, 1)
    choice, u = dist.Categorical(w), problem.rows.u
    about = dist.Normal(base + u * tilt[:, 0], noise)
    with numpyro.plate("data", n):
        inside = dist.Normal(mean, sd).to_event(1)
        numpyro.sample("x", dist.MixtureSameFamily(choice, inside), obs=problem.rows.x)
        numpyro.sample("y", dist.MixtureSameFamily(choice, about), obs=problem.rows.y)


def allocated_by_feature(problem: Problem) -> None:
    """Each feature of a row has an allocation."""
    n, d, k, _ = sizes(problem)
    w, (mean, sd) = share(k), cloud(k, d)
    with numpyro.plate("data", n, dim=-2), numpyro.plate("features", d, dim=-1):
        z, column = numpyro.sample("z", dist.Categorical(w)), jnp.arange(d)
        numpyro.sample("x", dist.Normal(mean[z, column], sd[z, column]), obs=problem.rows.x)


def sorted_inside(problem: Problem, how: str = "first") -> None:
    """Components in the order of their means, which are sorted where they are used.

    ``how`` says what is sorted: the first column of the means or their rows, rising or falling;
    what is carried along; or something wrong.
    """
    n, d, k, r = sizes(problem)
    shift = jnp.arange(k)[:, None] if how == "labels" else jnp.zeros((k, 1))
    alone = problem.spec.response is None
    w, (mean, sd) = share(k), cloud(k, d, dist.Normal(shift, 3))
    own = () if alone else line(k, r)
    order = jnp.argsort(mean[:, 0])
    if how in ("first", "labels"):
        mean = mean.at[:, 0].set(jnp.sort(mean[:, 0]))
    elif how == "each column":
        mean = jnp.sort(mean, axis=0)
    elif how == "inside components":
        mean = jnp.sort(mean)
    else:
        order = order[::-1] if how == "falling" else order
        mean = mean[order]
        sd = sd[order] if how in ("with sd", "all") else sd
    if how == "all":
        w, own = w[order], tuple(each[order] for each in own)
    if how == "counted":
        numpyro.factor("mean_order", gammaln(k + 1))
    if how == "other predictors":
        own = (own[0] - 0.5 * mean[:, 0], *own[1:])
    with numpyro.plate("data", n):
        z = numpyro.sample("z", dist.Categorical(w), infer={"enumerate": "parallel"})
        numpyro.sample("x", dist.Normal(mean[z], sd[z]).to_event(1), obs=problem.rows.x)
        if not alone:
            response(problem, z, own)


def sorted_not_centred(problem: Problem) -> None:
    """Means and sds as deterministic sites of what is sorted and scaled before."""
    n, d, k, _ = sizes(problem)
    w = share(k)
    raw = numpyro.sample("mean_raw", dist.Normal(0, 1).expand([k, d]).to_event(2))
    log = numpyro.sample("sd_log", dist.Normal(0, 1).expand([k, d]).to_event(2))
    order = jnp.argsort(raw[:, 0])
    mean = numpyro.deterministic("mean", 3 * raw[order])
    sd = numpyro.deterministic("sd", jnp.exp(0.5 * log[order] - 1))
    with numpyro.plate("data", n):
        z = numpyro.sample("z", dist.Categorical(w), infer={"enumerate": "parallel"})
        numpyro.sample("x", dist.Normal(mean[z], sd[z]).to_event(1), obs=problem.rows.x)
