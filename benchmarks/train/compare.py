"""One table of microseconds a step: LibTorch, Levin, PyTorch and Lightning on the blog post's network, in one run.

Usage: compare.py STEP_OVERHEAD_BINARY PYTHON_WITH_LIGHTNING
"""
import json
import os
import pathlib
import statistics
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
from table import print_table, spread  # noqa: E402

binary, python = sys.argv[1:3]
ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1"}


def measure(command):
    done = subprocess.run(command, capture_output=True, text=True, env=ONE_THREAD)
    if done.returncode:
        sys.exit(done.stderr)
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


# Peers before and after ours, so that a drift of the machine shows.
peer = [python, str(pathlib.Path(__file__).with_name("python_peers.py"))]
runs = measure(peer + ["3"]) + measure([binary, "9", "200"]) + measure(peer + ["3"])
times = {}
for run in runs:
    times.setdefault(run["name"], []).extend(run["us"])
hand = statistics.median(times["hand-written loop, levin::optim::Adam"])
ours = statistics.median(times["Trainer, one log"])
rows = []
for name, values in times.items():
    median = statistics.median(values)
    rows.append([name, spread(values), f"{median - hand:+.1f}" if "Trainer" in name else "", f"{median / ours:.2f}"])
print("1-16-1 network, MSE, Adam, batches of 100, one thread; microseconds a step, median (quartiles)\n")
print_table(["loop", "us a step", "over the hand-written loop", "of Trainer, one log"], rows)
