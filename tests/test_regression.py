"""One cluster is a Bayesian regression, whose answers are known in closed form."""

import numpy as np
from scipy.stats import norm

import jointmix as jm
from jointmix.families.priors.priors import Fixed


def test_one_cluster_is_bayesian_regression() -> None:
    rng = np.random.default_rng(12)
    n, sigma = 60, 1.5
    u = rng.normal([5.0, -2.0], [3.0, 0.5], (n, 2))
    y = 10 + u @ [0.7, -4.0] + sigma * rng.normal(size=n)
    spec = jm.ModelSpec(
        n_clusters=1,
        features=["a", "b"],
        predictors=["a", "b"],
        response="y",
        noise="fixed",
        priors=jm.Priors(sigma=Fixed(value=sigma)),
    )
    tree = jm.fit({"a": u[:, 0], "b": u[:, 1], "y": y}, spec, seed=4)
    # Standardised columns, coefficients with N(0, 2.5²) priors, known noise: all is normal.
    design = np.column_stack([np.ones(n), (u - u.mean(0)) / u.std(0)])
    noise = sigma / y.std()
    covariance = np.linalg.inv(design.T @ design / noise**2 + np.eye(3) / 2.5**2)
    center = covariance @ design.T @ ((y - y.mean()) / y.std()) / noise**2
    new = rng.normal([5.0, -2.0], [3.0, 0.5], (20, 2))
    given = np.column_stack([np.ones(20), (new - u.mean(0)) / u.std(0)])
    mean = y.mean() + y.std() * (given @ center)
    of_line = y.std() * np.sqrt(np.einsum("ni,ij,nj->n", given, covariance, given))
    sd = np.sqrt(of_line**2 + sigma**2)
    found = jm.predict(tree, {"a": new[:, 0], "b": new[:, 1]})
    draws = 4 * spec.sampler.draws
    # Four standard errors of a mean and of a variance of that many draws, a quarter effective.
    error = of_line / np.sqrt(draws / 4)
    assert (np.abs(found["mean"] - mean) < 4 * error).all()
    spread = of_line**2 * np.sqrt(2 / (draws / 4))
    assert (np.abs(found["variance_parameters"] - of_line**2) < 4 * spread).all()
    np.testing.assert_allclose(found["variance_within"], sigma**2, rtol=1e-12)
    assert not found["variance_between"].any()
    for q in (0.05, 0.5, 0.95):
        ours = found["quantiles"].sel(quantile=q)
        assert (np.abs(ours - norm.ppf(q, mean, sd)) < 4 * error + 0.01 * sd).all()
    # Leave-one-out of a normal regression with known noise, by the hat matrix.
    hat = np.einsum("ni,ij,nj->n", design, covariance, design) / noise**2
    residual = (y - y.mean()) / y.std() - design @ center
    exact = norm.logpdf(residual / (1 - hat), 0, noise / np.sqrt(1 - hat)) - np.log(y.std())
    conditional = jm.loo(tree).pointwise["conditional"].values
    assert np.abs(conditional - exact).max() < 0.05
    assert abs((conditional - exact).sum()) < 0.25
