"""NSGA-II side by side with Optuna and Rustuna: seconds for a study in memory, and hypervolumes on ZDT and DTLZ.

Usage: python benchmarks/tune/compare_genetic.py BUILD_DIR [--trials 10000] [--parameters 10] [--repeats 3] [--seeds 20]
       [--quality-trials 500] [--skip-optuna-speed]
Needs a Python with optuna, rustuna and scipy, and a build with -DLEVIN_BUILD_BENCHMARKS=ON. One thread; the programs
take turns, so that all see the same machine. A problem counts as reached when a one-sided Mann-Whitney test does not
find Levin's hypervolumes smaller (p > 0.05).
"""

import argparse
import json
import math
import os
import subprocess
import time
import warnings

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np  # noqa: E402
import optuna  # noqa: E402
import rustuna  # noqa: E402
import scipy.stats  # noqa: E402
from optuna._hypervolume import compute_hypervolume  # noqa: E402

optuna.logging.set_verbosity(optuna.logging.ERROR)
warnings.simplefilter("ignore")


def run_levin(build, *args):
    return json.loads(subprocess.run([f"{build}/bin/genetic", *map(str, args)], check=True, capture_output=True, text=True).stdout)


def seconds(module, trials, parameters, seed):
    study = module.create_study(directions=["minimize", "minimize"], sampler=module.samplers.NSGAIISampler(seed=seed))
    names = [f"x{i}" for i in range(parameters)]

    def objective(trial):
        x = [trial.suggest_float(name, 0, 1) for name in names]
        return x[0], sum(x)

    start = time.perf_counter()
    study.optimize(objective, n_trials=trials)
    return time.perf_counter() - start


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


PROBLEMS = {"zdt1": (zdt(1), [1.1, 6]), "zdt2": (zdt(2), [1.1, 6]), "zdt3": (zdt(3), [1.1, 6]), "dtlz2": (dtlz2, [2, 2, 2])}


def volume(objective, reference, trials, sampler):
    study = optuna.create_study(directions=["minimize"] * len(reference), sampler=sampler)
    study.optimize(objective, n_trials=trials)
    values = np.array([t.values for t in study.trials])
    values = values[(values < reference).all(axis=1)]
    return compute_hypervolume(values, np.array(reference)) if len(values) else 0.0


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("build")
    parser.add_argument("--trials", type=int, default=10000)
    parser.add_argument("--parameters", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--quality-trials", type=int, default=500)
    parser.add_argument("--skip-optuna-speed", action="store_true")
    o = parser.parse_args()

    print(f"optuna {optuna.__version__}, rustuna {getattr(rustuna, '__version__', '?')}, numpy {np.__version__}\n")
    ours, rust, theirs = [], [], []
    for seed in range(o.repeats):
        ours += run_levin(o.build, "speed", o.trials, o.parameters, 1)["seconds"]
        rust.append(seconds(rustuna, o.trials, o.parameters, seed))
        if not o.skip_optuna_speed:
            theirs.append(seconds(optuna, o.trials, o.parameters, seed))
    print(f"NSGA-II, {o.trials} trials x {o.parameters} floats, median of {o.repeats}, seconds")
    print(f"  levin {np.median(ours):.3f}   rustuna {np.median(rust):.3f} (x {np.median(np.array(rust) / ours):.1f})", end="")
    print(f"   optuna {np.median(theirs):.2f} (x {np.median(np.array(theirs) / ours):.1f})" if theirs else "")

    levin = run_levin(o.build, "quality", o.quality_trials, o.seeds)
    makers = {"nsga2": lambda s: optuna.samplers.NSGAIISampler(seed=s), "nsga3": lambda s: optuna.samplers.NSGAIIISampler(seed=s)}
    print(f"\nhypervolume after {o.quality_trials} trials, median of {o.seeds} seeds")
    print("{:16} {:>10} {:>10} {:>10} {:>8}".format("", "levin", "optuna", "p", "reached"))
    for method, make in makers.items():
        for name, (objective, reference) in PROBLEMS.items():
            mine = levin[f"{method} {name}"]
            peer = [volume(objective, reference, o.quality_trials, make(s)) for s in range(o.seeds)]
            p = scipy.stats.mannwhitneyu(mine, peer, alternative="less").pvalue
            print(f"{method + ' ' + name:16} {np.median(mine):10.4f} {np.median(peer):10.4f} {p:10.3f} {'yes' if p > 0.05 else 'no':>8}")


if __name__ == "__main__":
    main()
