"""What PB2 of Ray Tune computes: writes tests/golden/tune/pb2.json.

Made with ray[tune] 2.60.0, scikit-learn 1.9.1 and numpy's default_rng(0): kernel likelihoods and posteriors of its
time-varying process, the data it fits to, and upper bounds of what it would choose.
Usage: ray_pb2.py OUT.json
"""
import json
import sys
from unittest import mock

import numpy as np
import pandas as pd
from ray.tune.schedulers import pb2
from ray.tune.schedulers.pb2_utils import UCB, TV_SquaredExp
from sklearn.gaussian_process import GaussianProcessRegressor


def processes(rng):
    out = []
    for n, d in [(6, 3), (20, 4), (60, 3)]:
        points = np.round(rng.uniform(size=(n, d)), 6)
        points[:, 0] = np.sort(points[:, 0])
        values = np.round(np.sin(5 * points[:, -1]) * (1 - points[:, 0]) + 0.1 * rng.normal(size=n), 6)
        at = np.round(rng.uniform(size=(5, d)), 6)
        fixed = GaussianProcessRegressor(kernel=TV_SquaredExp(1.3, 0.4, 0.2), optimizer=None, alpha=1e-10).fit(points, values)
        fitted = GaussianProcessRegressor(kernel=TV_SquaredExp(1.0, 1.0, 0.1), optimizer="fmin_l_bfgs_b", alpha=1e-10)
        fitted.fit(points, values)
        mean, std = fixed.predict(at, return_std=True)
        out.append({"points": points.tolist(), "values": values.tolist(), "params": [1.3, 0.4, 0.2],
                    "log_likelihood": fixed.log_marginal_likelihood(fixed.kernel_.theta), "at": at.tolist(),
                    "mean": mean.tolist(), "variance": (std**2).tolist(),
                    "fitted_log_likelihood": fitted.log_marginal_likelihood_value_,
                    "bounds": [UCB(fixed, fixed, p[2:], p[:2]) for p in at]})
    return out


def gains(rng):
    """Looks at a population, and what _explore makes of them before it fits."""
    out = []
    bounds = {"lr": (0.0, 1.0), "momentum": (0.0, 1.0)}
    for trials, steps in [(4, 3), (6, 5)]:
        rows = []
        for step in range(1, steps + 1):
            for trial in range(trials):
                moved = trial % 2 if step > 2 else 0  # its hyperparameters changed on the way
                rows.append([str(trial), 10.0 * step + trial % 3, round(0.1 * trial + 0.05 * moved, 6), 0.5,
                             round(step * 0.3 + 0.1 * rng.normal(), 6)])
        data = pd.DataFrame(rows, columns=["Trial", "Time", "lr", "momentum", "Reward"])
        seen = {}

        def select(X, y, current, newpoint, bounds, num_f):
            seen.update(X=X, y=y, newpoint=newpoint)
            raise StopIteration

        with mock.patch.object(pb2, "_select_config", select):
            try:
                pb2._explore(data, bounds, None, "1", "0", {"lr": 0.1, "momentum": 0.5})
            except StopIteration:
                pass
        X, y = seen["X"].astype(float), seen["y"].astype(float)
        old = X[:, :2]
        limits = np.concatenate((np.concatenate((old.max(axis=0), old.min(axis=0))).reshape(2, 2),
                                 np.array(list(bounds.values())).T), axis=1)
        out.append({"looks": rows, "source": 1, "points": pb2.normalize(X, limits).tolist(),
                    "values": pb2.standardize(y).tolist(),
                    "now": pb2.normalize(seen["newpoint"].astype(float), old).tolist()})
    return out


if __name__ == "__main__":
    rng = np.random.default_rng(0)
    with open(sys.argv[1], "w") as file:
        json.dump({"ray": "2.60.0", "seed": 0, "processes": processes(rng), "gains": gains(rng)}, file)
        file.write("\n")
