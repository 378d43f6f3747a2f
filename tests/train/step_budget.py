"""Holds the Trainer to its budget of instructions a step, which no load of the machine can disturb.

Usage: step_budget.py STEP_BUDGET_BINARY; exits with 77 without valgrind.

A budget is a time times the instructions that a core runs in it: the hand-written step of the benchmarks takes 450,000
instructions and 120 us, thus 3,700 a microsecond; 3,000 leaves room for code that has worse luck with its caches.
"""
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

PER_MICROSECOND = 3000

# What, the larger and the smaller loop, how many of it are in a step, and the most instructions that each may cost.
BUDGETS = [
    ("the Trainer, CSVLogger and one log, over a hand-written loop", "fit", "hand", 1, 2.0 * PER_MICROSECOND),
    ("the compiled Trainer, CSVLogger and one log, over a compiled step", "compiled_fit", "compiled_step", 1,
     0.3 * PER_MICROSECOND),
    ("a further log", "light_logs", "light", 10, 0.2 * PER_MICROSECOND),
    ("a callback that overrides no hook (0 but for allocators' moods)", "light_idle_callbacks", "light", 100, 2),
    ("a callback that overrides a hook of every batch", "light_callbacks", "light", 100, 50),
    ("a validation batch, one log, over a hand-written loop", "validation", "hand_validation", 1, 1.0 * PER_MICROSECOND),
]


def main(binary):
    if not shutil.which("valgrind"):
        print("step_budget: skipped, valgrind is not installed")
        return 77
    with tempfile.TemporaryDirectory() as tmp:
        done = subprocess.run(["valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={tmp}/out",
                               binary, tmp], capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
        if done.returncode == 77:
            print("step_budget: skipped, built without valgrind/callgrind.h")
            return 77
        if done.returncode:
            print(done.stdout, done.stderr)
            return 1
        counts = {}
        for i, line in enumerate(done.stdout.splitlines(), start=1):
            name, steps = line.split()
            text = (pathlib.Path(tmp) / f"out.{i}").read_text(errors="replace")
            counts.setdefault(name, []).append((int(steps), int(re.search(r"^totals: (\d+)", text, re.M)[1])))
    # The difference of two lengths leaves out what a run costs once.
    a_step = {name: (b[1] - a[1]) / (b[0] - a[0]) for name, (a, b) in counts.items()}
    failed = False
    for what, larger, smaller, times, budget in BUDGETS:
        cost = (a_step[larger] - a_step[smaller]) / times
        over = cost > budget
        failed |= over
        print(f"{cost:8.0f} instructions a step, {budget:5.0f} allowed: {what}{'  <-- over' if over else ''}")
    print(f"{a_step['hand']:8.0f} instructions a step: the hand-written loop")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
