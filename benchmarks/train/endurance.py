"""Time and memory of ten million training steps on the smallest net, a row for every tenth.

Usage: endurance.py ENDURANCE_BINARY [steps]
"""
import json
import os
import pathlib
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
from table import print_table  # noqa: E402

done = subprocess.run(sys.argv[1:], capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
if done.returncode:
    sys.exit(done.stderr)
reports = [json.loads(line) for line in done.stdout.splitlines()]
print("one weight, SGD, CSVLogger, one log by step and epoch, validation every 1,000 steps, one thread\n")
print_table(["steps", "us a step", "resident MiB"],
            [[f"{r['steps']:,}", f"{r['us']:.2f}", f"{r['bytes'] / 2**20:.1f}"] for r in reports])
