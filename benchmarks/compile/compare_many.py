"""Many small trainings: Levin beside JAX and Optuna with PyTorch, a table a question.

Usage: compare_many.py MANY_BINARY PYTHON_WITH_PEERS
"""
import json
import pathlib
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
from table import print_table, spread  # noqa: E402

binary, python = sys.argv[1:3]


def measure(command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


# Peers before and after ours, so that a drift of the machine shows.
peers = [python, str(pathlib.Path(__file__).with_name("many_peers.py")), "2"]
tables = {}
for run in measure(peers) + measure([binary]) + measure(peers):
    tables.setdefault(run["what"], {}).setdefault(run["name"], []).extend(run["values"])
print("trainings of a 1-16-1 network, batch 100, with Adam, on two threads\n")
for what, names in tables.items():
    best = max if "a second" in what else min
    ours = best(next(values for name, values in names.items() if name.startswith("Levin")))
    print_table([what, "median (quartiles)", "best", "of Levin's first"],
                [[name, spread(values), f"{best(values):.4g}", f"{best(values) / ours:.3g}"]
                 for name, values in sorted(names.items(), key=lambda item: not item[0].startswith("Levin"))])
    print()
