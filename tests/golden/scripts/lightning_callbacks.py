"""Numbers of Lightning's callbacks and of its learning rate finder for tests/train/callbacks_test.cpp.

    python tests/golden/scripts/lightning_callbacks.py     (torch 2.13.0, pytorch-lightning 2.6.6)

A network of 29 weights on 24 samples that both sides compute by formula; no random numbers are drawn.
"""
import json
import logging
import pathlib
import tempfile
import warnings

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import (BackboneFinetuning, EMAWeightAveraging, GradientAccumulationScheduler,
                                         StochasticWeightAveraging, WeightAveraging)
from pytorch_lightning.tuner import Tuner

warnings.filterwarnings("ignore")
logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
torch.set_num_threads(1)
OUT = pathlib.Path(__file__).parent.parent / "train"

X = torch.arange(72, dtype=torch.float64).sin().reshape(24, 3).float()
Y = X.sum(1, keepdim=True)


def loader(batch_size):
    return torch.utils.data.DataLoader(torch.utils.data.TensorDataset(X, Y), batch_size=batch_size)


class Net(pl.LightningModule):
    def __init__(self, batch_norm=False, head_only=False, lr=0.05, scheduler=False):
        super().__init__()
        middle = torch.nn.BatchNorm1d(4) if batch_norm else torch.nn.Identity()
        self.backbone = torch.nn.Sequential(torch.nn.Linear(3, 4), middle, torch.nn.Tanh())
        self.head = torch.nn.Linear(4, 1)
        with torch.no_grad():
            for i, p in enumerate([self.backbone[0].weight, self.backbone[0].bias, self.head.weight, self.head.bias]):
                p.copy_((torch.arange(p.numel(), dtype=torch.float64) * 1.7 + i).sin().mul(0.5).reshape(p.shape))
        self.head_only, self.lr, self.scheduler = head_only, lr, scheduler
        self.lrs, self.val_losses = [], []

    def loss(self, batch):
        x, y = batch
        return torch.nn.functional.mse_loss(self.head(self.backbone(x)), y)

    def training_step(self, batch, batch_idx):
        return self.loss(batch)

    def validation_step(self, batch, batch_idx):
        self.val_losses.append(self.loss(batch).item())

    def on_train_epoch_end(self):
        self.lrs.append([g["lr"] for g in self.trainer.optimizers[0].param_groups])

    def configure_optimizers(self):
        params = [p for p in self.parameters() if p.requires_grad] if self.head_only else self.parameters()
        optimizer = torch.optim.SGD(params, lr=self.lr, momentum=0.9)
        if self.scheduler:
            return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 2, 0.5)]
        return optimizer


class AverageOfBatchNorm(StochasticWeightAveraging):
    """Keeps the average as it is transferred: at the end of its extra epoch Lightning makes one more optimizer step on
    it, with the gradients of the last batch that was trained on."""

    def on_train_epoch_start(self, trainer, module):
        super().on_train_epoch_start(trainer, module)
        module.transferred = {k: v.detach().clone() for k, v in module.named_parameters()}


def fit(net, callback, epochs, batch_size=4, val=False):
    with tempfile.TemporaryDirectory() as folder:
        trainer = pl.Trainer(max_epochs=epochs, logger=False, enable_checkpointing=False, enable_progress_bar=False,
                             enable_model_summary=False, num_sanity_val_steps=0, callbacks=[callback],
                             default_root_dir=folder, accelerator="cpu")
        trainer.fit(net, loader(batch_size), loader(24) if val else None)
    state = {**net.state_dict(), **getattr(net, "transferred", {})}
    state = {k: v.detach().double().flatten().tolist() for k, v in state.items()}
    return {"state": state, "lrs": net.lrs, "val_losses": net.val_losses}


def find(mode, **options):
    with tempfile.TemporaryDirectory() as folder:
        trainer = pl.Trainer(max_epochs=100, logger=False, enable_checkpointing=False, enable_progress_bar=False,
                             enable_model_summary=False, num_sanity_val_steps=0, default_root_dir=folder,
                             accelerator="cpu")
        found = Tuner(trainer).lr_find(Net(), loader(4), mode=mode, update_attr=False, **options)
    return {"lr": found.results["lr"], "loss": found.results["loss"], "suggestion": found.suggestion()}


cases = {
    "ema": fit(Net(), EMAWeightAveraging(decay=0.9), 3, val=True),
    "ema_settings": fit(Net(), EMAWeightAveraging(decay=0.7, update_every_n_steps=2, update_starting_at_step=3,
                                                  update_starting_at_epoch=1), 3, val=True),
    "mean": fit(Net(), WeightAveraging(), 2, val=True),
    "ema_buffers": fit(Net(batch_norm=True), EMAWeightAveraging(decay=0.8), 2, val=True),
    "ema_no_buffers": fit(Net(batch_norm=True), EMAWeightAveraging(decay=0.8, use_buffers=False), 2, val=True),
    "swa": fit(Net(), StochasticWeightAveraging(swa_lrs=0.01, swa_epoch_start=0.5, annealing_epochs=3), 8),
    "swa_linear": fit(Net(scheduler=True), StochasticWeightAveraging(swa_lrs=0.02, swa_epoch_start=3,
                                                                    annealing_epochs=2, annealing_strategy="linear"), 7),
    "swa_batch_norm": fit(Net(batch_norm=True), AverageOfBatchNorm(swa_lrs=0.01, swa_epoch_start=2,
                                                                  annealing_epochs=2), 5),
    "accumulation": fit(Net(), GradientAccumulationScheduler({1: 3, 3: 2}), 4),
    "backbone": fit(Net(head_only=True), BackboneFinetuning(unfreeze_backbone_at_epoch=1), 6),
    "backbone_settings": fit(Net(head_only=True, batch_norm=True),
                             BackboneFinetuning(unfreeze_backbone_at_epoch=2, lambda_func=lambda epoch: 1.5,
                                                backbone_initial_lr=0.01, should_align=False), 5),
}
finds = {"exponential": find("exponential", min_lr=1e-4, max_lr=10.0, num_training=60),
         "linear": find("linear", min_lr=1e-3, max_lr=0.5, num_training=40, early_stop_threshold=None)}
(OUT / "lightning_callbacks.json").write_text(json.dumps(
    {"script": "tests/golden/scripts/lightning_callbacks.py", "torch": torch.__version__,
     "lightning": pl.__version__, "cases": cases, "lr_find": finds}, separators=(",", ":")) + "\n")
