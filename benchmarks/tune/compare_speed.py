"""Seconds for a study in memory: Levin, Optuna and Rustuna in turns, one thread.

Usage: python benchmarks/tune/compare_speed.py BUILD_DIR [--repeats 3] [--cases tpe:1000:40,gp:100:5,cma:10000:10]
A case is METHOD:TRIALS:PARAMETERS. Needs optuna, and rustuna for its column. Optuna sits out cases above
--optuna-limit trials times parameters.
"""

import argparse
import json
import os
import statistics
import subprocess
import time
import warnings

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import optuna  # noqa: E402

try:
    import rustuna
except ImportError:
    rustuna = None

optuna.logging.set_verbosity(optuna.logging.ERROR)
warnings.simplefilter("ignore")


def peer(library, method, trials, parameters, seed):
    name = {"tpe": "TPESampler", "gp": "GPSampler", "cma": "CmaEsSampler"}[method]
    if library is None or not hasattr(library.samplers, name):
        return None
    study = library.create_study(sampler=getattr(library.samplers, name)(seed=seed))
    names = [f"x{i}" for i in range(parameters)]
    start = time.perf_counter()
    study.optimize(lambda t: sum(t.suggest_float(name, -5, 5) ** 2 for name in names), n_trials=trials)
    return time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("build")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--cases", default="tpe:1000:40,tpe:1000:10,gp:100:5,cma:10000:10")
    parser.add_argument("--optuna-limit", type=int, default=100_000)
    options = parser.parse_args()
    row = "{:28} {:>10} {:>10} {:>10} {:>16} {:>16}"
    print(row.format("medians, seconds", "levin", "optuna", "rustuna", "optuna / levin", "rustuna / levin"))
    for case in options.cases.split(","):
        method, trials, parameters = case.split(":")
        trials, parameters = int(trials), int(parameters)
        times = {"levin": [], "optuna": [], "rustuna": []}
        for seed in range(options.repeats):
            out = subprocess.run([f"{options.build}/bin/sampler_speed", method, str(trials), str(parameters), "1"],
                                 check=True, capture_output=True, text=True)
            times["levin"] += json.loads(out.stdout)["seconds"]
            if trials * parameters <= options.optuna_limit:
                times["optuna"].append(peer(optuna, method, trials, parameters, seed))
            times["rustuna"].append(peer(rustuna, method, trials, parameters, seed))
        middle = {k: statistics.median(v) if v and v[0] is not None else None for k, v in times.items()}
        cells = [f"{middle[k]:.3f}" if middle[k] is not None else "" for k in times]
        ratios = [f"{middle[k] / middle['levin']:.1f}" if middle[k] is not None else "" for k in ("optuna", "rustuna")]
        print(row.format(f"{method}, {trials} x {parameters}", *cells, *ratios), flush=True)


if __name__ == "__main__":
    main()
