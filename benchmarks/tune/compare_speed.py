"""Seconds for a study in memory: Levin, Optuna and Rustuna in turns, one thread; and how TPE's time per trial grows.

Usage: python benchmarks/tune/compare_speed.py BUILD_DIR [--repeats 7] [--cases tpe:1000:40,gp:100:5,...]
A case is METHOD:TRIALS:PARAMETERS. The three take turns, so that all see the same machine; a ratio is that of two
neighbours, and its median and quartiles over the repeats are what counts. Optuna runs once a case where trials times
parameters are more than --optuna-limit. Needs optuna, and rustuna for its column.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import time
import warnings

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")
sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))

import optuna  # noqa: E402
from table import print_table, spread  # noqa: E402

try:
    import rustuna
except ImportError:
    rustuna = None

optuna.logging.set_verbosity(optuna.logging.ERROR)
warnings.simplefilter("ignore")
SAMPLERS = {"tpe": "TPESampler", "gp": "GPSampler", "cma": "CmaEsSampler", "nsga2": "NSGAIISampler"}


def peer(library, method, trials, parameters, seed):
    if library is None or not hasattr(library.samplers, SAMPLERS[method]):
        return None
    n_objectives = 2 if method == "nsga2" else 1
    sampler = getattr(library.samplers, SAMPLERS[method])(seed=seed)
    study = library.create_study(directions=["minimize"] * n_objectives, sampler=sampler)
    names = [f"x{i}" for i in range(parameters)]

    def objective(trial):
        x = [trial.suggest_float(name, -5, 5) for name in names]
        loss = sum(v * v for v in x)
        return loss if n_objectives == 1 else (x[0], loss)

    start = time.perf_counter()
    study.optimize(objective, n_trials=trials)
    return time.perf_counter() - start


def levin(build, method, trials, parameters):
    command = [f"{build}/bin/sampler_speed", method, str(trials), str(parameters), "1"]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("build")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--cases", default="tpe:1000:40,tpe:1000:10,gp:100:5,cma:10000:10,cma:10000:40,nsga2:10000:10")
    parser.add_argument("--optuna-limit", type=int, default=20_000)
    parser.add_argument("--peers", default="optuna,rustuna")
    parser.add_argument("--growth", type=int, default=10_000, help="trials x 40 parameters of the last table; 0: none")
    options = parser.parse_args()
    rows = []
    for case in filter(None, options.cases.split(",")):
        method, trials, parameters = case.split(":")
        trials, parameters = int(trials), int(parameters)
        ours, others = [], {"optuna": [], "rustuna": []}
        for seed in range(options.repeats):
            ours += levin(options.build, method, trials, parameters)["seconds"]
            for name, library in (("optuna", optuna), ("rustuna", rustuna)):
                if name not in options.peers.split(","):
                    continue
                large = name == "optuna" and trials * parameters > options.optuna_limit
                seconds = None if large and seed > 0 else peer(library, method, trials, parameters, seed)
                if seconds is not None:
                    others[name].append((seconds, seconds / ours[-1]))
        cells = [spread([v[i] for v in values]) if values else "" for i in (0, 1) for values in others.values()]
        rows.append([f"{method}, {trials} x {parameters}", spread(ours), *cells])
        print(f"{rows[-1][0]}: done", file=sys.stderr, flush=True)
    print(f"Seconds, medians (quartiles) of {options.repeats}; Optuna {optuna.__version__}, "
          f"Rustuna {getattr(rustuna, '__version__', '0.2.0') if rustuna else 'not installed'}\n")
    print_table(["", "Levin", "Optuna", "Rustuna", "Optuna / Levin", "Rustuna / Levin"], rows)
    if options.growth:
        growth = levin(options.build, "tpe", options.growth, 40)["growth"]
        print("\nTPE with 40 parameters: microseconds a trial, and a trial and a finished trial before it\n")
        print_table(["trials", "us", "us / trials"], [[n, f"{us:.0f}", f"{us / n:.3f}"] for n, us in growth])


if __name__ == "__main__":
    main()
