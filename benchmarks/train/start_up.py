"""Wall time of whole `levin` commands: start-up without LibTorch, and a fit of the digits data with defaults.

Usage: start_up.py LEVIN_BINARY DATA_FOLDER
"""
import pathlib
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
from table import print_table, spread  # noqa: E402

levin, data = (pathlib.Path(argument).resolve() for argument in sys.argv[1:3])
with tempfile.TemporaryDirectory() as folder:
    def timed(arguments, repetitions):
        times, output = [], ""
        for _ in range(repetitions + 1):  # the first warms the disk's cache
            begin = time.perf_counter()
            done = subprocess.run([levin, *arguments], cwd=folder, capture_output=True, text=True)
            times.append(time.perf_counter() - begin)
            if done.returncode:
                sys.exit(done.stderr)
            output = done.stdout
        return times[1:], output

    digits = ["--data", str(data / "digits/digits.csv"), "--target", "target"]
    timed(["tune", *digits, "--tune.trials", "1", "--trainer.max_epochs", "1", "--tune.storage", "sqlite:///study.db"], 0)
    rows = []
    for name, arguments, repetitions in [
        ("levin --help", ["--help"], 20),
        ("levin fit --help", ["fit", "--help"], 20),
        ("levin study list", ["study", "list", "--storage", "sqlite:///study.db"], 20),
        ("levin fit on digits, 20 epochs", ["fit", *digits], 7),
    ]:
        times, output = timed(arguments, repetitions)
        accuracy = next((line.split()[2] for line in output.splitlines() if line.startswith("acc")), "")
        rows.append([name, spread([t * 1000 for t in times]), accuracy])
print("whole commands, milliseconds, median (quartiles)\n")
print_table(["command", "ms", "test accuracy"], rows)
