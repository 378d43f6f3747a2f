"""One table of microseconds a step: LibTorch, Levin, PyTorch and Lightning on the blog post's network, in one run.

Usage: compare.py STEP_OVERHEAD_BINARY PYTHON_WITH_LIGHTNING
"""
import json
import os
import pathlib
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
runs = measure(peer + ["3"]) + measure([binary, "25", "100"]) + measure(peer + ["3"])
times = {}
for run in runs:
    times.setdefault(run["name"], []).extend(run["us"])
hand, ours = times["hand-written loop, levin::optim::Adam"], min(times["Trainer, one log"])
rows = []
for name, values in times.items():
    # Ours are measured in turns: the difference of neighbours is steadier than that of medians.
    over = spread([t - h for t, h in zip(values, hand)]) if name.startswith("Trainer") else ""
    rows.append([name, spread(values), f"{min(values):.1f}", over, f"{min(values) / ours:.2f}"])
print("1-16-1 network, MSE, Adam, batches of 100, one thread; microseconds a step\n")
print_table(["loop", "median (quartiles)", "least", "over the hand-written loop", "least / Trainer, one log"], rows)
