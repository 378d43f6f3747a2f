"""Seconds per trial of 10 parameters on each storage, Levin's and Optuna's, beside the fsync that durability costs.

Usage: python benchmarks/tune/storage_compare.py BUILD_DIR [--folder DIR] [--repeats 5] [--trials 200] [--postgres URL]
The two take turns on fresh studies of the same file; random sampler, objective without cost, one process each. DIR must
be on the disk that is meant. URL names an empty PostgreSQL database.
"""

import argparse
import json
import pathlib
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
import warnings

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
import optuna  # noqa: E402

from table import print_table, spread  # noqa: E402

optuna.logging.set_verbosity(optuna.logging.ERROR)
warnings.simplefilter("ignore")


def optuna_storage(url):
    if url.startswith("journal:///"):
        from optuna.storages.journal import JournalFileBackend
        return optuna.storages.JournalStorage(JournalFileBackend(url[len("journal:///"):]))
    return optuna.storages.RDBStorage(url.replace("postgresql://", "postgresql+psycopg2://"))


def optuna_seconds(url, trials, parameters):
    study = optuna.create_study(storage=optuna_storage(url), sampler=optuna.samplers.RandomSampler(seed=0), study_name="o")
    names = [f"x{i}" for i in range(parameters)]

    def objective(trial):
        return sum(trial.suggest_float(name, -5, 5) for name in names)

    study.optimize(objective, n_trials=2)
    start = time.perf_counter()
    study.optimize(objective, n_trials=trials)
    seconds = (time.perf_counter() - start) / trials
    optuna.delete_study(study_name="o", storage=optuna_storage(url))
    return seconds


def many_processes(build, folder, processes, trials, parameters):
    """Processes that all write to one SQLite file at once: what they said, and the numbers of their trials."""
    path = f"{folder}/shared.db"
    command = [f"{build}/bin/storage_speed", f"sqlite:///{path}", str(trials), str(parameters)]
    running = [subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) for _ in range(processes)]
    errors = [text for text in (p.communicate()[1] for p in running) if text]
    failed = sum(p.returncode != 0 for p in running)
    locked = sum("locked" in text for text in errors)
    with sqlite3.connect(path) as database:
        numbers = sorted(n for n, in database.execute("SELECT number FROM trials WHERE state = 'COMPLETE'"))
    whole = numbers == list(range(processes * (trials + 2)))  # each runs two trials to warm up
    print(f"\n{processes} processes on one SQLite file, {len(numbers)} trials: {failed} processes failed, {locked} said "
          f"\"locked\", numbers {'without gaps' if whole else 'WITH GAPS'}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("build")
    parser.add_argument("--folder")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--parameters", type=int, default=10)
    parser.add_argument("--postgres")
    parser.add_argument("--processes", type=int, default=8, help="that share one SQLite file in the last part")
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        kinds = ["journal", "sqlite"] + (["postgresql"] if options.postgres else [])
        for kind in kinds:
            ours, theirs, fsyncs, trips = [], [], [], []
            for repeat in range(options.repeats):
                url = options.postgres if kind == "postgresql" else f"{kind}:///{folder}/{kind}{repeat}"
                done = json.loads(subprocess.run(
                    [f"{options.build}/bin/storage_speed", url, str(options.trials), str(options.parameters), folder],
                    check=True, capture_output=True, text=True).stdout)
                ours.append(done["seconds"] * 1e3)
                fsyncs.append(done["fsync"] * 1e3)
                trips.append(done["round_trips"])
                theirs.append(optuna_seconds(url, max(20, options.trials // 10), options.parameters) * 1e3)
            rows.append([kind, spread(ours), spread(theirs), spread([b / a for a, b in zip(ours, theirs)]), spread(fsyncs),
                         spread([a / (2 * f) for a, f in zip(ours, fsyncs)]),
                         f"{statistics.median(trips):.2f}" if kind == "postgresql" else ""])
    print(f"milliseconds per trial of {options.parameters} parameters, median (quartiles); optuna {optuna.__version__}\n")
    print_table(["storage", "levin", "optuna", "optuna / levin", "one fsync", "levin / two fsyncs", "round trips"], rows)
    if options.processes:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            many_processes(options.build, folder, options.processes, options.trials, options.parameters)


if __name__ == "__main__":
    main()
