"""A training that is killed at random moments and started again ends with the bits of one that was never stopped.

Usage: kill_resume.py WORKER. The worker trains with dropout, batch statistics, a shuffling loader, accumulation and a
scheduler by steps, and saves every three steps behind the training's back. With two loader workers it is killed
(SIGKILL) 20 times, without any 10 times, each time after a random number of batches, and begins with ckpt_path "last"
again. Weights and random state must equal those of an uninterrupted run byte for byte, and so must each row of metrics.
A process that writes one file again and again is killed as well: the file must always be whole.
"""
import csv
import pathlib
import random
import subprocess
import sys
import tempfile
import time
import zipfile

KILLS = {2: 20, 0: 10}  # by number of loader workers
WRITER_KILLS = 8
BATCHES = 60  # at most, between two kills
worker = sys.argv[1]
random.seed(11)


def start(*arguments):
    process = subprocess.Popen([worker, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "begins\n", process.stderr.read()
    return process


def finish(process):
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors


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


def kill_again_and_again(root, workers, kills):
    """A folder that a training of many lives has left, and how many checkpoints it went on from."""
    folder, lives, resumed_from = root / f"killed_{workers}_0", 0, set()
    while lives < kills:
        process = start("train", folder, workers)
        for _ in range(random.randint(1, BATCHES)):
            if not process.stdout.readline():
                break
        time.sleep(random.uniform(0, 0.005))  # anywhere in a batch, or in the writing of a checkpoint
        if process.poll() is not None:
            # It came to its end before: once more from the start, in a folder of its own.
            finish(process)
            folder = root / f"killed_{workers}_{lives}_{random.random()}"
            continue
        process.kill()
        process.communicate()
        lives += 1
        last = folder / "checkpoints/last.ckpt"
        if last.exists():
            assert zipfile.ZipFile(last).testzip() is None, "last.ckpt is not whole"
            resumed_from.add((folder.name, last.stat().st_mtime_ns))
    finish(start("train", folder, workers))
    assert len(resumed_from) >= kills // 2, f"only {len(resumed_from)} different checkpoints were resumed from"
    return folder, len(resumed_from)


with tempfile.TemporaryDirectory() as root:
    root = pathlib.Path(root)
    whole = root / "whole"
    finish(start("train", whole, 0))
    expected = rows(whole)
    assert len(expected) > 300, len(expected)
    for workers, kills in KILLS.items():
        killed, resumed = kill_again_and_again(root, workers, kills)
        assert contents(whole / "weights.pt") == contents(killed / "weights.pt"), f"the weights differ, {workers} workers"
        found = rows(killed)
        differing = [(key, expected.get(key), found.get(key)) for key in {*expected, *found}
                     if expected.get(key) != found.get(key)]
        assert not differing, differing[:3]
        print(f"{workers} workers: killed {kills} times, resumed from {resumed} checkpoints, "
              f"ended with the same bits and {len(expected)} rows of metrics")

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
print(f"killed {WRITER_KILLS} times while overwriting a file, at versions {numbers}: it was always whole")
