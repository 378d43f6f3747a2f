"""What PyTorch Lightning's Trainer makes of its flags: how many batches, when it validates, what it refuses.

Run: python lightning_flags.py OUT_DIR   (torch 2.13.0, pytorch-lightning 2.6.6; no random numbers are used)

lightning_flags.json:
- "schedules": one entry a run of two epochs. "train" and "val" are the lengths of loaders of batch size 1 (a negative
  one: so many, but unknown beforehand); "flags" are the Trainer's, an integer being a count and a number with a point a
  share. Either "error": "construction" or "fit", or: "num_training_batches" (-1: unknown), "num_val_batches",
  "trained" batches of each epoch, "validated": after which batches of which epoch ("epoch.batch", from 0),
  "val_batches" of each validation, "global_step", "epochs".
- "contradictions": flags, and whether the constructor takes them.
"""
import itertools
import json
import logging
import math
import pathlib
import sys
import tempfile
import warnings

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

warnings.filterwarnings("ignore")
for name in ("pytorch_lightning", "lightning_fabric", "lightning.pytorch"):
    logging.getLogger(name).setLevel(logging.ERROR)

QUIET = dict(logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
             accelerator="cpu")


class Endless(IterableDataset):
    def __init__(self, samples):
        self.samples = samples

    def __iter__(self):
        return iter([(torch.ones(1),)] * self.samples)


def loader(length):
    data = TensorDataset(torch.zeros(length, 1)) if length >= 0 else Endless(-length)
    return DataLoader(data, batch_size=1)


class Net(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.w = torch.nn.Parameter(torch.ones(1))
        self.trained, self.validated, self.val_batches = [], [], []

    def training_step(self, batch, batch_idx):
        if batch_idx == 0:
            self.trained.append(0)
        self.trained[-1] += 1
        return self.w.sum()

    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        self.val_batches[-1] += 1

    def on_validation_start(self):
        self.val_batches.append(0)
        self.validated.append(f"{self.trainer.current_epoch}.{self.trainer.fit_loop.epoch_loop.batch_idx}")

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def play(run, tmp):
    flags = {"max_epochs": 2, "num_sanity_val_steps": 0, **run["flags"]}
    try:
        trainer = pl.Trainer(default_root_dir=tmp, **QUIET, **flags)
    except (MisconfigurationException, ValueError, TypeError):
        return {"error": "construction"}
    net = Net()
    try:
        val = [loader(n) for n in run["val"]]
        trainer.fit(net, loader(run["train"]), val[0] if len(val) == 1 else val or None)
    except (MisconfigurationException, ValueError, TypeError):
        return {"error": "fit"}

    def known(batches):
        return -1 if math.isinf(batches) else int(batches)
    return {"num_training_batches": known(trainer.num_training_batches),
            "num_val_batches": [known(n) for n in trainer.num_val_batches],
            "trained": net.trained, "validated": net.validated, "val_batches": net.val_batches,
            "global_step": trainer.global_step, "epochs": trainer.current_epoch}


def schedules():
    for train, limit, interval in itertools.product(
            (1, 4, 7, -5), (1.0, 0.5, 0.1, 3, 10, 1), (1.0, 0.4, 0.25, 1, 2, 3, 8)):
        yield dict(train=train, val=[2], flags=dict(limit_train_batches=limit, val_check_interval=interval))
    for train, interval, every in itertools.product((4, 5, -5), (1.0, 0.5, 2, 3, 7), (2, None)):
        yield dict(train=train, val=[1], flags=dict(val_check_interval=interval, check_val_every_n_epoch=every, max_epochs=4))
    for train, accumulate, interval in itertools.product((5, 6, -5), (2, 3, 8), (1.0, 2, 0.5)):
        yield dict(train=train, val=[1], flags=dict(accumulate_grad_batches=accumulate, val_check_interval=interval))
    for val, limit in itertools.product(([3], [10], [3, 7], [-4], [2, -4], []), (1.0, 0.5, 0.2, 0.1, 2, 0, 0.0)):
        yield dict(train=2, val=val, flags=dict(limit_val_batches=limit))
    for train, limit in itertools.product((2, -3), (0, 0.0, 2.0)):
        yield dict(train=train, val=[1], flags=dict(limit_train_batches=limit))
    for train, val, overfit in itertools.product((4, 7, -5), ([3], [3, 5], []), (0, 1, 2, 0.5, 0.1, 1.0)):
        yield dict(train=train, val=val, flags=dict(overfit_batches=overfit))
    for flags in (dict(fast_dev_run=True), dict(fast_dev_run=3), dict(fast_dev_run=3, max_epochs=7),
                  dict(fast_dev_run=1, val_check_interval=2), dict(fast_dev_run=2, accumulate_grad_batches=2)):
        yield dict(train=5, val=[4], flags=flags)
    for flags in (dict(max_steps=3), dict(max_steps=4), dict(max_steps=0), dict(max_steps=3, val_check_interval=3),
                  dict(max_steps=5, accumulate_grad_batches=2, max_epochs=9), dict(max_epochs=0), dict(max_epochs=1),
                  dict(max_steps=9, max_epochs=-1)):
        yield dict(train=4, val=[1], flags=flags)
    for sanity in (-1, 0, 1, 2, 5):
        yield dict(train=1, val=[3, 1], flags=dict(num_sanity_val_steps=sanity))


CONTRADICTIONS = [
    dict(max_epochs=-2), dict(max_steps=-2), dict(accumulate_grad_batches=0), dict(check_val_every_n_epoch=0),
    dict(val_check_interval=0), dict(val_check_interval=-1), dict(val_check_interval=1.5), dict(val_check_interval=2.0),
    dict(check_val_every_n_epoch=None), dict(check_val_every_n_epoch=None, val_check_interval=0.5),
    dict(check_val_every_n_epoch=None, val_check_interval=2), dict(limit_train_batches=-1), dict(limit_train_batches=1.5),
    dict(limit_train_batches=2.0), dict(limit_val_batches=-0.1), dict(overfit_batches=-1), dict(overfit_batches=1.5),
    dict(num_sanity_val_steps=-2), dict(fast_dev_run=-1), dict(fast_dev_run=1), dict(reload_dataloaders_every_n_epochs=-1),
    dict(gradient_clip_val=-1), dict(gradient_clip_val=0), dict(gradient_clip_val=0.5), dict(log_every_n_steps=-1),
    dict(min_epochs=3, max_epochs=2), dict(min_steps=3, max_steps=2),
    dict(barebones=True), dict(barebones=True, enable_checkpointing=True), dict(barebones=True, logger=True),
    dict(barebones=True, enable_progress_bar=True), dict(barebones=True, enable_model_summary=True),
    dict(barebones=True, num_sanity_val_steps=1), dict(barebones=True, log_every_n_steps=1),
    dict(barebones=True, fast_dev_run=1), dict(barebones=True, detect_anomaly=True),
    dict(enable_checkpointing=False, callbacks="ModelCheckpoint"),
    dict(enable_progress_bar=False, callbacks="ProgressBar"), dict(enable_model_summary=False, callbacks="ModelSummary"),
    dict(overfit_batches=2, limit_train_batches=3),
]


def takes(flags, tmp):
    flags = dict(flags)
    made = {"ModelCheckpoint": pl.callbacks.ModelCheckpoint, "ProgressBar": pl.callbacks.TQDMProgressBar,
            "ModelSummary": pl.callbacks.ModelSummary}
    if "callbacks" in flags:
        flags["callbacks"] = [made[flags["callbacks"]]()]
    try:
        pl.Trainer(default_root_dir=tmp, accelerator="cpu", **{"max_epochs": 4, **flags})
    except (MisconfigurationException, ValueError, TypeError):
        return False
    return True


def main(out):
    versions = {"torch": torch.__version__, "pytorch_lightning": pl.__version__, "script": "lightning_flags.py"}
    with tempfile.TemporaryDirectory() as tmp:
        runs = [{**run, **play(run, tmp)} for run in schedules()]
        refused = [{"flags": flags, "taken": takes(flags, tmp)} for flags in CONTRADICTIONS]
    lines = [f' "versions": {json.dumps(versions)}']
    for key, entries in (("schedules", runs), ("contradictions", refused)):
        lines.append(f' "{key}": [\n  ' + ",\n  ".join(json.dumps(e) for e in entries) + "\n ]")
    (pathlib.Path(out) / "lightning_flags.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main(sys.argv[1])
