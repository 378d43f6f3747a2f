"""Writes tests/golden/data/preprocessor.json: what scikit-learn makes of two data sets of this repository.

Run in the repository's root: python tests/golden/scripts/data_preprocessor.py
"""

import csv
import json

import numpy as np
import sklearn
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import OneHotEncoder, StandardScaler


def read(name, columns):
    with open(f"data/{name}/{name}.csv") as file:
        rows = list(csv.DictReader(file))
    return [[row[column] for column in columns] for row in rows]


def numbers(name, columns):
    return np.array([[float(cell) if cell else np.nan for cell in row] for row in read(name, columns)])


# Fitted on every row whose number is not a multiple of 5, shown on the rows SHOWN of the whole table.
def training(rows):
    return rows[[i for i in range(len(rows)) if i % 5]]


SHOWN = [0, 3, 5, 8, 9, 100, 271, 343]
PENGUINS = ["bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g", "year"]

golden = {"script": "tests/golden/scripts/data_preprocessor.py", "scikit-learn": sklearn.__version__, "rows": SHOWN}

x = numbers("penguins", PENGUINS)
scaler = StandardScaler().fit(training(x))
golden["scaler_mean"] = scaler.mean_.tolist()
golden["scaler_scale"] = scaler.scale_.tolist()
for strategy in ["mean", "median", "most_frequent"]:
    imputer = SimpleImputer(strategy=strategy).fit(training(x))
    golden[f"penguins_{strategy}"] = scaler.transform(imputer.transform(x))[SHOWN].tolist()
imputer = SimpleImputer(strategy="constant", fill_value=0).fit(training(x))
golden["penguins_zero"] = scaler.transform(imputer.transform(x))[SHOWN].tolist()

sex_island = np.array(read("penguins", ["island", "sex"]), dtype=object)
encoder = OneHotEncoder(sparse_output=False).fit(training(sex_island))
golden["penguins_one_hot_names"] = encoder.get_feature_names_out(["island", "sex"]).tolist()
golden["penguins_one_hot"] = encoder.transform(sex_island)[SHOWN].tolist()

y = numbers("diabetes", ["target"])
golden["diabetes_target"] = StandardScaler().fit(training(y)).transform(y)[SHOWN].tolist()

with open("tests/golden/data/preprocessor.json", "w") as file:
    json.dump(golden, file, indent=1)
    file.write("\n")
