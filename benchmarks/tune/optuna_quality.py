"""The best values that Optuna's methods reach on the functions of method_quality.cpp, kept in optuna_quality.json.

Usage: python benchmarks/tune/optuna_quality.py [--methods tpe,cma,...] [--functions ...] [--seeds 20]
What the file holds already is not computed again. Needs optuna, cmaes, scipy and torch (for GP).
"""

import argparse
import json
import math
import os
import pathlib
import time
import warnings

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import numpy as np  # noqa: E402
import optuna  # noqa: E402
from lcbench.surrogate import surrogate  # noqa: E402

optuna.logging.set_verbosity(optuna.logging.ERROR)
warnings.simplefilter("ignore")
FILE = pathlib.Path(__file__).with_name("optuna_quality.json")
NOTHING = 1e9  # no feasible trial


def floats(t, n, low, high):
    return np.array([t.suggest_float(f"x{i}", low, high) for i in range(n)])


def branin_at(x, y):
    a = y - 5.1 / (4 * math.pi**2) * x**2 + 5 / math.pi * x - 6
    return a**2 + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x) + 10


def branin(t):
    return branin_at(t.suggest_float("x", -5, 10), t.suggest_float("y", 0, 15))


ALPHA = np.array([1.0, 1.2, 3.0, 3.2])
A = np.array([[10, 3, 17, 3.5, 1.7, 8], [0.05, 10, 17, 0.1, 8, 14], [3, 3.5, 1.7, 10, 17, 8], [17, 8, 0.05, 10, 0.1, 14]])
P = np.array([[0.1312, 0.1696, 0.5569, 0.0124, 0.8283, 0.5886], [0.2329, 0.4135, 0.8307, 0.3736, 0.1004, 0.9991],
              [0.2348, 0.1451, 0.3522, 0.2883, 0.3047, 0.6650], [0.4047, 0.8828, 0.8732, 0.5743, 0.1091, 0.0381]])


def hartmann6(t):
    return float(-(ALPHA * np.exp(-(A * (floats(t, 6, 0, 1) - P) ** 2).sum(axis=1))).sum())


def ackley5(t):
    x = floats(t, 5, -32.768, 32.768)
    return float(-20 * np.exp(-0.2 * np.sqrt((x**2).mean())) - np.exp(np.cos(2 * np.pi * x).mean()) + 20 + math.e)


def rosenbrock4(t):
    x = floats(t, 4, -5, 10)
    return float((100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum())


def levy10(t):
    w = 1 + (floats(t, 10, -10, 10) - 1) / 4
    middle = ((w[:-1] - 1) ** 2 * (1 + 10 * np.sin(np.pi * w[:-1] + 1) ** 2)).sum()
    return float(np.sin(np.pi * w[0]) ** 2 + middle + (w[-1] - 1) ** 2 * (1 + np.sin(2 * np.pi * w[-1]) ** 2))


def mixed(t):
    kind = t.suggest_categorical("kind", ["a", "b", "c", "d"])
    n, lr = t.suggest_int("n", 1, 100, log=True), t.suggest_float("lr", 1e-5, 1, log=True)
    loss = {"a": 0.5, "b": 0.2, "c": 0.0, "d": 0.3}[kind] + 0.1 * (math.log10(lr) + 3) ** 2 + 0.3 * (math.log10(n) - 1.2) ** 2
    if kind in "ab":
        return loss + 0.02 * (t.suggest_int("depth", 1, 8) - 5) ** 2
    return loss + (t.suggest_float("momentum", 0, 1) - 0.9) ** 2


def gardner(t):
    x, y = t.suggest_float("x", 0, 6), t.suggest_float("y", 0, 6)
    t.set_constraint("c", math.cos(x) * math.cos(y) - math.sin(x) * math.sin(y) + 0.5)
    return math.cos(2 * x) * math.cos(y) + math.sin(x)


def branin_disk(t):
    x, y = t.suggest_float("x", -5, 10), t.suggest_float("y", 0, 15)
    t.set_constraint("c", (x - 2.5) ** 2 + (y - 7.5) ** 2 - 50)
    return branin_at(x, y)


def lcbench(task):
    """The validation error in per cent after 52 epochs."""
    def objective(t):
        batch_size, learning_rate = t.suggest_int("batch_size", 16, 512, log=True), t.suggest_float("learning_rate", 1e-4, 1e-1, log=True)
        momentum, weight_decay = t.suggest_float("momentum", 0.1, 0.99), t.suggest_float("weight_decay", 1e-5, 1e-1)
        num_layers, max_units = t.suggest_int("num_layers", 1, 5), t.suggest_int("max_units", 64, 1024, log=True)
        max_dropout = t.suggest_float("max_dropout", 0, 1)
        return 100 - float(surrogate(task, [52, batch_size, learning_rate, momentum, weight_decay, num_layers, max_units, max_dropout])[1])
    return objective


FUNCTIONS = {f.__name__: f for f in (branin, hartmann6, ackley5, rosenbrock4, levy10, mixed, gardner, branin_disk)}
FUNCTIONS |= {f"lcbench_{task}": lcbench(task) for task in ("3945", "7593", "34539", "126026", "189906")}
METHODS = {
    "random": lambda seed: optuna.samplers.RandomSampler(seed=seed),
    "qmc": lambda seed: optuna.samplers.QMCSampler(seed=seed, scramble=True, warn_independent_sampling=False),
    "tpe": lambda seed: optuna.samplers.TPESampler(seed=seed),
    "tpe_univariate": lambda seed: optuna.samplers.TPESampler(seed=seed, multivariate=False),
    "cma": lambda seed: optuna.samplers.CmaEsSampler(seed=seed, warn_independent_sampling=False),
    "nsga2": lambda seed: optuna.samplers.NSGAIISampler(seed=seed),
    "gp": lambda seed: optuna.samplers.GPSampler(seed=seed, warn_independent_sampling=False),
}


def best_feasible(study):
    values = [t.value for t in study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
              if all(c <= 0 for c in t.constraints.values())]
    return min(values, default=NOTHING)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--functions", default=",".join(FUNCTIONS))
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--file", type=pathlib.Path, default=FILE, help="where values are read from and kept")
    options = parser.parse_args()
    results = json.loads(options.file.read_text()) if options.file.exists() else {"values": {}, "seconds": {}}
    results["made_with"] = {"optuna": optuna.__version__, "numpy": np.__version__}
    for method in options.methods.split(","):
        for function in options.functions.split(","):
            key = f"{method}/{function}"
            values = results["values"].setdefault(key, {"50": [], "100": []})
            for seed in range(len(values["100"]), options.seeds):
                study = optuna.create_study(sampler=METHODS[method](seed), pruner=optuna.pruners.NopPruner())
                start = time.perf_counter()
                study.optimize(FUNCTIONS[function], n_trials=50)
                values["50"].append(best_feasible(study))
                study.optimize(FUNCTIONS[function], n_trials=50)
                values["100"].append(best_feasible(study))
                results["seconds"].setdefault(key, []).append(time.perf_counter() - start)
                partial = options.file.with_suffix(".partial")  # whole or not at all
                partial.write_text(json.dumps(results, indent=1) + "\n")
                partial.replace(options.file)


if __name__ == "__main__":
    main()
