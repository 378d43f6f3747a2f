"""The names that users of PyTorch Lightning know, for docs/from-lightning.md: flags, hooks, attributes, classes.

Run: python lightning_surface.py OUT_DIR   (torch 2.13.0, pytorch-lightning 2.6.6)
"""
import inspect
import json
import pathlib
import sys

import pytorch_lightning as pl
import torch
from pytorch_lightning import plugins, profilers, strategies


def public(cls, *bases):
    known = {name for base in bases for name in dir(base)}
    return sorted(name for name in dir(cls) if not name.startswith("_") and name not in known and not name.isupper())


def main(out):
    surface = {
        "versions": {"torch": torch.__version__, "pytorch_lightning": pl.__version__, "script": "lightning_surface.py"},
        "flags": list(inspect.signature(pl.Trainer.__init__).parameters)[1:],
        "Trainer": public(pl.Trainer),
        "LightningModule": public(pl.LightningModule, torch.nn.Module),
        "LightningDataModule": public(pl.LightningDataModule),
        "Callback": public(pl.Callback),
        "callbacks": list(pl.callbacks.__all__),
        "loggers": list(pl.loggers.__all__),
        "strategies": list(strategies.__all__),
        "profilers": list(profilers.__all__),
        "plugins": list(plugins.__all__),
    }
    lines = [f" {json.dumps(key)}: {json.dumps(value)}" for key, value in surface.items()]
    (pathlib.Path(out) / "lightning_surface.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main(sys.argv[1])
