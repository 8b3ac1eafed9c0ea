# %% [markdown]
# # A clinic's patients
#
# The table of `clinic_visits.toml` and `clinic_readmitted.toml`, simulated: two kinds of patients
# differ in blood pressure and body mass index, in how often they come, by age and treatment, and in
# whether they are readmitted, by ward and smoking. Months of follow-up differ too: the exposure.

# %%
from pathlib import Path

import numpy as np
import pandas as pd

import jointmix as jm


def clinic(n: int = 600, seed: int = 2) -> pd.DataFrame:
    """Patients, one a row."""
    rng = np.random.default_rng(seed)
    frail = rng.random(n) < 0.4
    table = pd.DataFrame(
        {
            "systolic_mmhg": np.where(frail, rng.normal(152, 11, n), rng.normal(124, 9, n)),
            "bmi": np.where(frail, rng.normal(30, 3, n), rng.normal(25, 2.5, n)),
            "age": rng.uniform(20, 80, n).round(),
            "treatment": rng.choice(["usual care", "drug", "drug and diet"], n),
            "ward": rng.choice(["north", "south", "west"], n, p=[0.5, 0.3, 0.2]),
            "smoker": rng.choice(["no", "yes"], n, p=[0.7, 0.3]),
            "months": rng.integers(3, 25, n),
        }
    )
    helped = table["treatment"].map({"usual care": 0.0, "drug": -0.3, "drug and diet": -0.7})
    bend = ((table["age"] - 45) / 25) ** 2
    rate = np.exp(np.where(frail, -0.9 + helped, -2.2 + 0.4 * bend)) * table["months"]
    odds = np.where(frail, -1.0, -0.5) + np.where(table["smoker"] == "yes", 1.2, 0.0)
    odds += table["ward"].map({"north": 0.0, "south": 0.8, "west": -0.6}) * np.where(frail, 2, 1)
    odds += np.where(frail, 0.05, 0.0) * (table["age"] - 50)
    table["visits"] = rng.poisson(rate)
    table["readmitted"] = (rng.random(n) < 1 / (1 + np.exp(-odds))).astype(int)
    return table


# %% [markdown]
# `python examples/clinic.py` writes the table beside the recipes, and says what is to be known of
# it before anything is sampled; then `jointmix run examples/clinic_visits.toml` fits the counts and
# `jointmix run examples/clinic_readmitted.toml` the readmissions.

# %%
if __name__ == "__main__":
    folder, table = Path(__file__).parent, clinic()
    table.to_csv(folder / "clinic.csv", index=False)
    for name in ("clinic_visits", "clinic_readmitted"):
        print(jm.check(table, jm.read_recipe(folder / f"{name}.toml").spec))
