"""Methods for several objectives beside Optuna's: hypervolumes on ZDT and DTLZ problems, and one with constraints (BNH).

Usage: python benchmarks/tune/compare_fronts.py BUILD_DIR [--methods nsga2:500,nsga3:500,tpe:100] [--problems zdt1,...]
       [--seeds 20] [--record]
A method is NAME:TRIALS. Optuna's hypervolumes come from optuna_fronts.json; --record makes what it lacks, with Optuna,
and compares nothing. A problem counts as reached when a one-sided Mann-Whitney test does not find Levin's smaller
(p > 0.05).
"""

import argparse
import json
import math
import pathlib
import statistics
import subprocess
import warnings

from compare_methods import p_worse

FILE = pathlib.Path(__file__).with_name("optuna_fronts.json")


def ask(trial, n):
    return [trial.suggest_float(f"x{i}", 0, 1) for i in range(n)]


def zdt(kind):
    def objective(trial):
        x = ask(trial, 10)
        g = 1 + 9 * sum(x[1:]) / 9
        r = x[0] / g
        h = {1: 1 - math.sqrt(r), 2: 1 - r * r, 3: 1 - math.sqrt(r) - r * math.sin(10 * math.pi * x[0])}[kind]
        return x[0], g * h
    return objective


def dtlz2(trial):
    x = ask(trial, 7)
    g = sum((v - 0.5) ** 2 for v in x[2:])
    a, b = x[0] * math.pi / 2, x[1] * math.pi / 2
    return (1 + g) * math.cos(a) * math.cos(b), (1 + g) * math.cos(a) * math.sin(b), (1 + g) * math.sin(a)


def bnh(trial):
    x, y = trial.suggest_float("x", 0, 5), trial.suggest_float("y", 0, 3)
    trial.set_constraint("near", (x - 5) ** 2 + y**2 - 25)
    trial.set_constraint("far", 7.7 - (x - 8) ** 2 - (y + 3) ** 2)
    return 4 * x**2 + 4 * y**2, (x - 5) ** 2 + (y - 5) ** 2


PROBLEMS = {"zdt1": (zdt(1), [1.1, 6]), "zdt2": (zdt(2), [1.1, 6]), "zdt3": (zdt(3), [1.1, 6]), "dtlz2": (dtlz2, [2, 2, 2]),
            "bnh": (bnh, [140, 50])}


def record(methods, problems, seeds):
    import numpy as np
    import optuna
    from optuna._hypervolume import compute_hypervolume

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore")
    makers = {"nsga2": lambda s: optuna.samplers.NSGAIISampler(seed=s), "nsga3": lambda s: optuna.samplers.NSGAIIISampler(seed=s),
              "tpe": lambda s: optuna.samplers.TPESampler(seed=s), "gp": lambda s: optuna.samplers.GPSampler(seed=s)}
    results = json.loads(FILE.read_text()) if FILE.exists() else {"volumes": {}}
    results["made_with"] = {"optuna": optuna.__version__, "numpy": np.__version__}
    for method in methods:
        name, trials = method.split(":")
        for problem in problems:
            objective, reference = PROBLEMS[problem]
            volumes = results["volumes"].setdefault(f"{method} {problem}", [])
            for seed in range(len(volumes), seeds):
                study = optuna.create_study(directions=["minimize"] * len(reference), sampler=makers[name](seed))
                study.optimize(objective, n_trials=int(trials))
                values = np.array([t.values for t in study.trials if all(c <= 0 for c in t.constraints.values())])
                values = values[(values < reference).all(axis=1)]
                volumes.append(float(compute_hypervolume(values, np.array(reference))) if len(values) else 0.0)
                partial = FILE.with_suffix(".partial")  # whole or not at all
                partial.write_text(json.dumps(results, indent=1) + "\n")
                partial.replace(FILE)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("build")
    parser.add_argument("--methods", default="nsga2:500,nsga3:500,tpe:100")
    parser.add_argument("--problems", default="zdt1,zdt2,zdt3,dtlz2")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args()
    methods, problems = options.methods.split(","), options.problems.split(",")
    if options.record:
        return record(methods, problems, options.seeds)
    optuna = json.loads(FILE.read_text())
    print(f"hypervolume, median of {options.seeds} seeds; Optuna {optuna['made_with']['optuna']}\n")
    print("{:20} {:>10} {:>10} {:>10} {:>8}".format("", "levin", "optuna", "p worse", "reached"))
    for method in methods:
        name, trials = method.split(":")
        run = subprocess.run([f"{options.build}/bin/front_quality", name, trials, str(options.seeds), options.problems], check=True,
                             capture_output=True, text=True)
        for problem, ours in json.loads(run.stdout).items():
            theirs = optuna["volumes"].get(f"{method} {problem}", [])
            if len(theirs) < 5:
                print(f"{method + ' ' + problem:20} {statistics.median(ours):10.4f} {'not recorded':>10}")
                continue
            p = p_worse([-v for v in ours], [-v for v in theirs])
            print(f"{method + ' ' + problem:20} {statistics.median(ours):10.4f} {statistics.median(theirs):10.4f} {p:10.3f} "
                  f"{'yes' if p > 0.05 else 'no':>8}")


if __name__ == "__main__":
    main()
