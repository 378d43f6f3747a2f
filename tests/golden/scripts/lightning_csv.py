"""Metrics and hook order of a small fit in PyTorch Lightning, for tests/train.

Run: python lightning_csv.py OUT_DIR   (torch 2.13.0, pytorch-lightning 2.6.6; no random numbers are used)
"""
import json
import pathlib
import shutil
import sys
import tempfile
import warnings

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, TensorDataset

warnings.filterwarnings("ignore")


class Net(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(2, 1)
        with torch.no_grad():
            self.layer.weight.copy_(torch.tensor([[0.5, -0.25]]))
            self.layer.bias.zero_()

    def loss(self, batch):
        x, y = batch
        return torch.nn.functional.mse_loss(self.layer(x), y)

    def training_step(self, batch, batch_idx):
        loss = self.loss(batch)
        self.log("train_loss", loss, on_step=True, on_epoch=True)
        self.log("batch_max", batch[0].max(), on_step=False, on_epoch=True, reduce_fx="max")
        return loss

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", self.loss(batch))

    def configure_optimizers(self):
        opt = torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)
        return {"optimizer": opt, "lr_scheduler": torch.optim.lr_scheduler.StepLR(opt, 2, gamma=0.5)}


HOOKS = [
    "setup", "teardown", "on_fit_start", "on_fit_end", "on_sanity_check_start", "on_sanity_check_end",
    "on_train_start", "on_train_end", "on_train_epoch_start", "on_train_epoch_end", "on_train_batch_start",
    "on_train_batch_end", "on_validation_start", "on_validation_end", "on_validation_epoch_start",
    "on_validation_epoch_end", "on_validation_batch_start", "on_validation_batch_end", "on_before_zero_grad",
    "on_before_backward", "on_after_backward", "on_before_optimizer_step", "on_test_start", "on_test_end",
    "on_test_epoch_start", "on_test_epoch_end", "on_test_batch_start", "on_test_batch_end", "on_predict_start",
    "on_predict_end", "on_predict_epoch_start", "on_predict_epoch_end", "on_predict_batch_start",
    "on_predict_batch_end",
]


class Recorder(pl.Callback):
    def __init__(self, calls):
        self.calls = calls


def recording(name):
    def hook(self, *args, **kwargs):
        self.calls.append("callback." + name)
    return hook


for name in HOOKS:
    setattr(Recorder, name, recording(name))


class RecordingNet(Net):
    def __init__(self, calls):
        super().__init__()
        self.calls = calls

    def test_step(self, batch, batch_idx):
        self.calls.append("module.test_step")

    def predict_step(self, batch, batch_idx):
        self.calls.append("module.predict_step")
        return batch[0]

    def training_step(self, batch, batch_idx):
        self.calls.append("module.training_step")
        return super().training_step(batch, batch_idx)

    def validation_step(self, batch, batch_idx):
        self.calls.append("module.validation_step")
        return super().validation_step(batch, batch_idx)


def module_recording(name):
    original = getattr(pl.LightningModule, name, None)
    if original is None:
        return None

    def hook(self, *args, **kwargs):
        self.calls.append("module." + name)
    return hook


for name in HOOKS:
    hook = module_recording(name)
    if hook is not None and name not in ("on_sanity_check_start", "on_sanity_check_end"):
        setattr(RecordingNet, name, hook)


def data():
    x = torch.arange(10, dtype=torch.float32).reshape(5, 2) / 10
    y = x.sum(1, keepdim=True)
    return TensorDataset(x, y)


def main(out):
    out = pathlib.Path(out)
    versions = {"torch": torch.__version__, "pytorch_lightning": pl.__version__, "script": "lightning_csv.py"}
    with tempfile.TemporaryDirectory() as tmp:
        logger = pl.loggers.CSVLogger(tmp, name="run", version=0)
        net = Net()
        trainer = pl.Trainer(max_epochs=3, logger=logger, log_every_n_steps=2, enable_progress_bar=False,
                             enable_model_summary=False, default_root_dir=tmp, accelerator="cpu",
                             callbacks=[pl.callbacks.LearningRateMonitor()])
        trainer.fit(net, DataLoader(data(), batch_size=2), DataLoader(data(), batch_size=3))
        shutil.copy(pathlib.Path(tmp) / "run" / "version_0" / "metrics.csv", out / "lightning_metrics.csv")
        final = {"weight": net.layer.weight.flatten().tolist(), "bias": net.layer.bias.tolist(),
                 "callback_metrics": {k: float(v) for k, v in trainer.callback_metrics.items()}}
        sequences = {}
        for label, flags in {
            "plain": dict(max_epochs=2),
            "accumulate": dict(max_epochs=1, accumulate_grad_batches=2),
            "mid_epoch_validation": dict(max_epochs=1, val_check_interval=1),
            "max_steps": dict(max_epochs=3, max_steps=4),
            "limit_val_0": dict(max_epochs=1, limit_val_batches=0),
            "max_epochs_0": dict(max_epochs=0),
        }.items():
            calls = []
            trainer = pl.Trainer(logger=False, enable_checkpointing=False, enable_progress_bar=False,
                                 enable_model_summary=False, default_root_dir=tmp, accelerator="cpu",
                                 callbacks=[Recorder(calls)], **flags)
            net = RecordingNet(calls)
            trainer.fit(net, DataLoader(data(), batch_size=2), DataLoader(data(), batch_size=3))
            sequences[label] = calls
        for label in ("validate", "test", "predict"):
            calls = []
            trainer = pl.Trainer(logger=False, enable_checkpointing=False, enable_progress_bar=False,
                                 enable_model_summary=False, default_root_dir=tmp, accelerator="cpu",
                                 callbacks=[Recorder(calls)])
            getattr(trainer, label)(RecordingNet(calls), DataLoader(data(), batch_size=3))
            sequences[label] = calls
    (out / "lightning_fit.json").write_text(json.dumps({"versions": versions, "final": final, "hooks": sequences}, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
