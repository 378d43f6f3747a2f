"""One table a model: microseconds a training step by each way of taking it, and how many compiled steps that is.

Usage: compare.py STEP_COMPILED_BINARY PYTHON_WITH_TORCH [PART_OF_A_MODELS_NAME [THREADS]]
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
wanted = sys.argv[3] if len(sys.argv) > 3 else ""
threads = sys.argv[4] if len(sys.argv) > 4 else "1"
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": threads}
if threads == "1":
    ENVIRONMENT["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"


def measure(command):
    done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT)
    if done.returncode:
        sys.exit(done.stderr)
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def peak(way, model):
    (run,) = measure([binary, "memory", way, model])
    return run["mib"][0]


# Peers before and after ours, so that a drift of the machine shows.
peers = [python, str(pathlib.Path(__file__).with_name("peers.py")), "3", wanted, threads]
tables, captures = {}, {}
for run in measure(peers) + measure([binary, "5", wanted, threads]) + measure(peers):
    if "capture" in run:
        captures[run["model"]] = run["capture"]
        continue
    tables.setdefault(run["model"], {}).setdefault(run["name"], []).extend(run["us"])
print(f"a training step with Adam on {threads} thread{'s' * (threads != '1')}, microseconds\n")
for model, ways in tables.items():
    least = min(ways["Levin, compiled"])
    print_table([model, "median (quartiles)", "least", "compiled steps"],
                [[name, spread(us), f"{min(us):.4g}", f"{min(us) / least:.2f}"] for name, us in ways.items()])
    print()
print_table(["compiled steps of Levin over", "PyTorch's best"],
            [[model, f"{min(ways['Levin, compiled']) / min(min(us) for name, us in ways.items() if 'PyTorch' in name):.2f}"]
             for model, ways in tables.items()])
print("\nthe last capture of each; recorded and shadow step hold the arithmetic of a step each, the comparison of up to"
      " six where rounding makes gradients jump\n")
print_table(["model", "milliseconds"], captures.items())
print("\npeak of memory of a process that trains, over what LibTorch takes, MiB\n")
rows = []
for model in tables:
    eager, compiled = ([peak(way, model) for _ in range(3)] for way in ("eager", "compiled"))
    rows.append([model, spread(eager), spread(compiled), f"{statistics.median(compiled) / statistics.median(eager):.2f}"])
print_table(["model", "LibTorch, eager", "Levin, compiled", "ratio"], rows)
