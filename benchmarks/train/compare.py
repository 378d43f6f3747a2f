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


def over(name, base, share=1):
    """Ours are measured in turns: the difference of neighbours is steadier than that of medians."""
    return [(t - b) / share for t, b in zip(times[name], times[base])]


HAND, LOGGED = "hand-written loop, levin::optim::Adam", "Trainer, one log, CSVLogger"
VALIDATION, BY_HAND = "validation, Trainer, one log", "validation, LibTorch loop"
for title, prefix, ours, base in (("a training step", "", LOGGED, HAND), ("a validation batch", "validation", VALIDATION, BY_HAND)):
    rows = []
    for name, values in times.items():
        if name.startswith("validation") != bool(prefix):
            continue
        above = spread(over(name, base)) if "Trainer" in name and "Lightning" not in name else ""
        rows.append([name, spread(values), f"{min(values):.1f}", above, f"{min(values) / min(times[ours]):.2f}"])
    print(f"1-16-1 network, MSE, Adam, batches of 100, one thread: microseconds {title}\n")
    print_table(["loop", "median (quartiles)", "least", "over the hand-written loop", f"least / {ours}"], rows)
    print()

print("what the Trainer adds, microseconds\n")
print_table(["", "median (quartiles)", "goal"], [
    ["a step with CSVLogger and one log, over the hand-written loop", spread(over(LOGGED, HAND)), "2"],
    ["each further log", spread(over("Trainer, eleven logs, CSVLogger", LOGGED, 10)), "0.2"],
    ["each callback that overrides nothing", spread(over(LOGGED + ", ten idle callbacks", LOGGED, 10)), "0"],
    ["a validation batch with one log, over the hand-written loop", spread(over(VALIDATION, BY_HAND)), "1"],
])
