"""Metrics of a small fit in PyTorch Lightning, for tests/train.

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
    (out / "lightning_fit.json").write_text(json.dumps({"versions": versions, "final": final}, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
