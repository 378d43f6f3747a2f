"""A study of 100,000 trials of 10 parameters in an SQLite file: processor time and memory to open it and read them all,
Levin and Optuna, and the time a trial takes in the first and the last thousand.

Usage: python benchmarks/tune/large_study.py BUILD_DIR [--folder DIR] [--trials 100000] [--repeats 3]
DIR may be in memory (/dev/shm): what is compared is not the disk.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from table import print_table, spread  # noqa: E402

OPTUNA = """
import sys, optuna
optuna.logging.set_verbosity(optuna.logging.ERROR)
print(len(optuna.load_study(study_name="speed", storage=sys.argv[1]).get_trials(deepcopy=False)))
"""


def used(command):
    """Processor seconds and MB at the most of a process that reads the study."""
    code = "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL); " \
           "u = resource.getrusage(resource.RUSAGE_CHILDREN); print(u.ru_utime + u.ru_stime, u.ru_maxrss / 1024)"
    out = subprocess.run([sys.executable, "-c", code, *command], check=True, capture_output=True, text=True).stdout
    return [float(number) for number in out.split()]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("build")
    parser.add_argument("--folder")
    parser.add_argument("--trials", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        url = f"sqlite:///{folder}/study.db"

        def run(trials):
            command = [f"{options.build}/bin/storage_speed", url, str(trials), "10"]
            return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)["seconds"] * 1e3

        first = run(1000)
        run(options.trials - 2004 - 2)  # each run makes two trials more, to warm up
        last = run(1000)
        programs = {"levin": [f"{options.build}/bin/levin", "study", "best", "--storage", url, "--study", "speed"],
                    "optuna": [sys.executable, "-c", OPTUNA, url]}
        results = {name: [used(command) for _ in range(options.repeats)] for name, command in programs.items()}
    rows = [[name, spread([r[0] for r in runs]), spread([r[1] for r in runs])] for name, runs in results.items()]
    rows.append(["optuna / levin", *(spread([b[i] / a[i] for a, b in zip(results["levin"], results["optuna"])])
                                     for i in range(2))])
    print(f"{options.trials:,} trials; to open the study and read them all, median (quartiles)\n")
    print_table(["", "processor seconds", "MB at the most"], rows)
    print(f"\nmilliseconds a trial: {first:.4f} in the first 1,000, {last:.4f} in the last")


if __name__ == "__main__":
    main()
