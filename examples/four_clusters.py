# %% [markdown]
# # Four clusters
#
# Four clusters of two features lie on the corners of a square, each with its own regression of
# y on the features. The table is simulated, so that the truth is known.

# %%
from pathlib import Path

import jointmix as jm
from jointmix.model.simulate import simulate

truth = jm.four_clusters()
table = simulate(truth, 1000, seed=1)

# %% [markdown]
# The model is told the number of clusters and what the columns are for; the allocation that the
# simulation drew, the column `cluster`, is not used.

# %%
spec = jm.ModelSpec(
    n_clusters=4,
    features=truth.features,
    predictors=truth.predictors,
    response=truth.response,
)
tree = jm.fit(table, spec, seed=1)

# %% [markdown]
# The verdict says whether the fit can be used; the report shows what it rests on.

# %%
folder = Path(__file__).parent
jm.save(tree, folder / "four_clusters.nc")
jm.report(tree, folder / "four_clusters.html", title="Four clusters")
