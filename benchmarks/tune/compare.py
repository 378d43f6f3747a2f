"""TPE side by side: Levin's and Optuna's seconds for a study in memory, and the best values they reach.

Usage: python benchmarks/tune/compare.py BUILD_DIR [--repeats 5] [--seeds 20] [--trials 1000] [--parameters 10]
Needs a Python with optuna (and a build with -DLEVIN_BUILD_BENCHMARKS=ON). One thread; the two take turns, so that both
see the same machine.
"""

import argparse
import json
import math
import os
import subprocess
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np  # noqa: E402
import optuna  # noqa: E402

optuna.logging.set_verbosity(optuna.logging.ERROR)


def run_levin(build, name, *args):
    return json.loads(subprocess.run([f"{build}/bin/{name}", *map(str, args)], check=True, capture_output=True, text=True).stdout)


def optuna_seconds(trials, parameters, seed):
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
    names = [f"x{i}" for i in range(parameters)]
    start = time.perf_counter()
    study.optimize(lambda t: sum(t.suggest_float(name, -5, 5) ** 2 for name in names), n_trials=trials)
    return time.perf_counter() - start


def branin(trial):
    x, y = trial.suggest_float("x", -5, 10), trial.suggest_float("y", 0, 15)
    a = y - 5.1 / (4 * math.pi**2) * x**2 + 5 / math.pi * x - 6
    return a**2 + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x) + 10


ALPHA = np.array([1.0, 1.2, 3.0, 3.2])
A = np.array([[10, 3, 17, 3.5, 1.7, 8], [0.05, 10, 17, 0.1, 8, 14], [3, 3.5, 1.7, 10, 17, 8], [17, 8, 0.05, 10, 0.1, 14]])
P = np.array([[0.1312, 0.1696, 0.5569, 0.0124, 0.8283, 0.5886], [0.2329, 0.4135, 0.8307, 0.3736, 0.1004, 0.9991],
              [0.2348, 0.1451, 0.3522, 0.2883, 0.3047, 0.6650], [0.4047, 0.8828, 0.8732, 0.5743, 0.1091, 0.0381]])


def hartmann6(trial):
    x = np.array([trial.suggest_float(f"x{i}", 0, 1) for i in range(6)])
    return float(-(ALPHA * np.exp(-(A * (x - P) ** 2).sum(axis=1))).sum())


def optuna_best(objective, seeds):
    at_50, at_100 = [], []
    for seed in range(seeds):
        study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
        study.optimize(objective, n_trials=50)
        at_50.append(study.best_value)
        study.optimize(objective, n_trials=50)
        at_100.append(study.best_value)
    return {"50": at_50, "100": at_100}


def spread(values, digits):
    low, middle, high = np.percentile(values, [25, 50, 75])
    return f"{middle:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("build")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--parameters", type=int, default=10)
    options = parser.parse_args()

    print(f"median [quartiles]; optuna {optuna.__version__}, numpy {np.__version__}\n")
    row = "{:34} {:>28} {:>28} {:>24}"
    print(row.format("", "levin", "optuna", "optuna / levin"))
    ours, theirs = [], []
    for seed in range(options.repeats):
        ours += run_levin(options.build, "tpe_speed", options.trials, options.parameters, 1)["seconds"]
        theirs.append(optuna_seconds(options.trials, options.parameters, seed))
    ratios = [b / a for a, b in zip(ours, theirs)]
    print(row.format(f"{options.trials} trials x {options.parameters} floats, seconds", spread(ours, 3), spread(theirs, 2),
                     spread(ratios, 1)))

    levin = run_levin(options.build, "tpe_quality", options.seeds)
    print()
    print(row.format(f"best of n trials, {options.seeds} seeds", "levin", "optuna", "median within quartiles"))
    for name, objective in (("branin", branin), ("hartmann6", hartmann6)):
        peer = optuna_best(objective, options.seeds)
        for n in ("50", "100"):
            low, high = np.percentile(peer[n], [25, 75])
            verdict = "yes" if low <= np.median(levin[name][n]) <= high else "better" if np.median(levin[name][n]) < low else "no"
            print(row.format(f"{name}, n = {n}", spread(levin[name][n], 4), spread(peer[n], 4), verdict))


if __name__ == "__main__":
    main()
