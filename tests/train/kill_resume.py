"""A training that is killed at random moments and started again ends with the bits of one that was never stopped.

Usage: kill_resume.py WORKER. The worker trains with dropout, batch statistics, a shuffling loader, accumulation and a
scheduler by steps, and saves every three steps behind the training's back. It is killed (SIGKILL) 20 times and begins
with ckpt_path "last" each time. Weights and random state must equal those of an uninterrupted run byte for byte, and so
must each row of metrics. A process that writes one file again and again is killed as well: the file must always be whole.
"""
import csv
import pathlib
import random
import subprocess
import sys
import tempfile
import time
import zipfile

KILLS, WRITER_KILLS = 20, 8
worker = sys.argv[1]
random.seed(11)


def start(*arguments):
    process = subprocess.Popen([worker, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "begins\n", process.stderr.read()
    return process


def finish(process):
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    return time.monotonic()


def rows(folder):
    """The metrics of all runs in the folder; what a later run logs again replaces what an earlier one logged."""
    merged = {}
    for path in sorted(folder.glob("logs/version_*/metrics.csv"), key=lambda p: int(p.parent.name.split("_")[1])):
        with open(path) as file:
            for row in csv.DictReader(file):
                values = {name: value for name, value in row.items() if value}
                if "step" in values and "epoch" in values:
                    merged[values["epoch"], values["step"], tuple(sorted(values))] = values
    return merged


def contents(path):
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist() if "serialization_id" not in name}


with tempfile.TemporaryDirectory() as root:
    root = pathlib.Path(root)
    whole, killed = root / "whole", root / "killed"
    process = start("train", whole)
    began = time.monotonic()
    duration = finish(process) - began

    kills, resumed_from = 0, set()
    while True:
        process = start("train", killed)
        if kills < KILLS:
            try:
                process.wait(timeout=random.uniform(0, 1.6 * duration / KILLS))
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
                kills += 1
                last = killed / "checkpoints/last.ckpt"
                if last.exists():
                    assert zipfile.ZipFile(last).testzip() is None, "last.ckpt is not whole"
                    resumed_from.add(last.stat().st_mtime_ns)
                continue
        finish(process)
        if kills >= KILLS:
            break
        # It was done before the last kill: once more from the start, in a folder of its own.
        killed = root / f"killed_{kills}"
    assert contents(whole / "weights.pt") == contents(killed / "weights.pt"), "the weights differ"
    expected, found = rows(whole), rows(killed)
    assert len(expected) > 300, len(expected)
    assert found == expected, [(expected.get(k), found.get(k)) for k in {*expected, *found} if expected.get(k) != found.get(k)][:3]
    assert len(resumed_from) >= KILLS // 2, f"only {len(resumed_from)} different checkpoints were resumed from"

    path, numbers = root / "file.pt", []
    for _ in range(WRITER_KILLS):
        process = start("overwrite", path)
        time.sleep(random.uniform(0.05, 0.4))
        process.kill()
        process.communicate()
        with zipfile.ZipFile(path) as archive:
            assert archive.testzip() is None, "the file is not whole"
            data = next(archive.read(name) for name in archive.namelist() if name.endswith("/data/0"))
        assert len(data) == 8 << 18 and data == data[:8] * (1 << 18), "the file mixes states"
        numbers.append(int.from_bytes(data[:8], "little"))
print(f"killed {KILLS} times, resumed from {len(resumed_from)} checkpoints, ended with the same bits and {len(expected)} rows of metrics")
print(f"killed {WRITER_KILLS} times while overwriting a file, at versions {numbers}: it was always whole")
