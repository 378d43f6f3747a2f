"""A fit begun in PyTorch Lightning goes on in Levin, and the other way round: Adam, AdamW and SGD with momentum, with a
scheduler, saved in the middle and at the end of an epoch, read with weights_only=True.

Usage: interop_lightning.py WORKER (checkpoint_worker). Needs a Python with Lightning: the one that LEVIN_ORACLE_PYTHON
names, the project's .bench-venv, or the one that runs this. Exits with 77 (skipped) when there is none.
"""
import json
import os
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]

if "LEVIN_INTEROP_CHILD" not in os.environ:
    for python in filter(None, [os.environ.get("LEVIN_ORACLE_PYTHON"), str(ROOT / ".bench-venv/bin/python"), sys.executable]):
        try:
            if subprocess.run([python, "-c", "import pytorch_lightning"], capture_output=True).returncode == 0:
                sys.exit(subprocess.run([python, *sys.argv], env={**os.environ, "LEVIN_INTEROP_CHILD": "1"}).returncode)
        except OSError:
            continue
    print("skipped: no Python with Lightning; set LEVIN_ORACLE_PYTHON or install pytorch-lightning==2.6.6 into .bench-venv")
    sys.exit(77)

sys.dont_write_bytecode = True
sys.path.insert(0, str(ROOT / "tests/golden/scripts"))
import torch  # noqa: E402
from lightning_fit import EPOCHS, OPTIMIZERS, WHERE, Net, fit, plain  # noqa: E402

RTOL, ATOL = 1e-5, 1e-6  # the kernels round differently by a few units in the last place
worker = sys.argv[1]


def close(ours, theirs):
    assert ours.keys() == theirs.keys(), (ours.keys(), theirs.keys())
    for name in ours:
        torch.testing.assert_close(torch.tensor(ours[name]), torch.tensor(theirs[name]), rtol=RTOL, atol=ATOL, msg=lambda m: f"{name}: {m}")


def counters(path):
    """Loop counters of a checkpoint, without those that Lightning itself does not read back."""
    state = torch.load(path, weights_only=True)
    loop = state["loops"]["fit_loop"]
    return dict(epoch=state["epoch"], global_step=state["global_step"], progress=loop["epoch_progress"], batch=loop["epoch_loop.batch_progress"],
                stepped=loop["epoch_loop.state_dict"], scheduler=loop["epoch_loop.scheduler_progress"],
                optimizer=loop["epoch_loop.automatic_optimization.optim_progress"])


with tempfile.TemporaryDirectory() as folder:
    folder = pathlib.Path(folder)

    def levin(*arguments):
        out = folder / "out.json"
        done = subprocess.run([worker, "fit", *map(str, arguments[:1]), out, *map(str, arguments[1:])], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return json.loads(out.read_text())

    for optimizer in OPTIMIZERS:
        trainer, net = fit(optimizer)
        wanted, lr = plain(net), trainer.optimizers[0].param_groups[0]["lr"]
        for where, step in WHERE.items():
            theirs, ours = folder / f"lightning_{optimizer}_{where}.ckpt", folder / f"levin_{optimizer}_{where}.ckpt"
            fit(optimizer, save_to=theirs, save_at=step)
            # Lightning began, Levin goes on.
            result = levin(optimizer, "--resume", theirs)
            close(result["weights"], wanted)
            assert (result["global_step"], result["epoch"], result["batches"], result["lr"]) == (15, EPOCHS, 15, lr), result
            # Levin began, Lightning goes on. Its own loader would begin the epoch anew: it is given what is left.
            close(levin(optimizer, "--save", ours, step)["weights"], wanted)
            assert counters(ours) == counters(theirs), (optimizer, where, counters(ours), counters(theirs))
            trainer, net = fit(optimizer, ckpt_path=str(ours), skip=step % 5)
            close(plain(net), wanted)
            loop = trainer.fit_loop.epoch_loop.batch_progress.total
            assert (trainer.global_step, trainer.current_epoch, loop.completed) == (15, EPOCHS, 15), (trainer.global_step, loop)
            assert trainer.optimizers[0].param_groups[0]["lr"] == lr
            # Hyperparameters go along.
            assert Net.load_from_checkpoint(str(ours), weights_only=True).hparams.optimizer == optimizer
print(f"Lightning and Levin go on with each other's fits: {', '.join(OPTIMIZERS)}, {' and '.join(WHERE)} of an epoch")
