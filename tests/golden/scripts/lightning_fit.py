"""Fits of a small network in Lightning, saved in the middle and at the end of an epoch: files to go on with in Levin.

Writes ../checkpoint/lightning_<optimizer>_<where>.ckpt, the weights after all epochs in ../checkpoint/lightning_fit.json
and ../checkpoint/weights.safetensors. Made with pytorch-lightning 2.6.6, torch 2.13.0 and safetensors; no random numbers.
tests/train/interop_lightning.py uses the functions here as well.
"""
import json
import logging
import pathlib
import tempfile
import warnings

warnings.filterwarnings("ignore")
logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
import pytorch_lightning as pl  # noqa: E402
import torch  # noqa: E402

OUT = pathlib.Path(__file__).resolve().parents[1] / "checkpoint"
OPTIMIZERS = ["Adam", "AdamW", "SGD"]
WHERE = {"mid": 7, "end": 5}  # optimizer steps done when the file is saved; five batches an epoch
EPOCHS = 3


class Net(pl.LightningModule):
    def __init__(self, optimizer, width, **unused):
        super().__init__()
        self.save_hyperparameters()
        self.net = torch.nn.Sequential(torch.nn.Linear(3, width), torch.nn.Tanh(), torch.nn.Linear(width, 1))
        with torch.no_grad():
            for phase, p in enumerate(self.net.parameters(), 1):
                p.copy_((torch.arange(p.numel(), dtype=torch.float64) * phase).sin().mul(0.5).reshape(p.shape).float())

    def training_step(self, batch, _):
        loss = torch.nn.functional.mse_loss(self.net(batch[0]), batch[1])
        self.log("train_loss", loss)
        return loss

    def configure_optimizers(self):
        parameters = self.parameters()
        optimizer = {"SGD": lambda: torch.optim.SGD(parameters, lr=0.125, momentum=0.875),
                     "Adam": lambda: torch.optim.Adam(parameters, lr=0.0625),
                     "AdamW": lambda: torch.optim.AdamW(parameters, lr=0.0625, weight_decay=0.125)}[self.hparams.optimizer]()
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, step_size=4, gamma=0.5)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class Batches:
    """Five batches in order; the first epoch can begin later, where a resumed run goes on."""

    def __init__(self, skip=0):
        x = torch.arange(60, dtype=torch.float64).cos().reshape(20, 3).float()
        self.batches = list(zip(x.split(4), x.sum(1, keepdim=True).sin().split(4)))
        self.skip = skip

    def __len__(self):
        return len(self.batches)

    def __iter__(self):
        for index in range(self.skip, len(self.batches)):
            if index + 1 == len(self.batches):
                self.skip = 0  # the epoch was run, not only looked at
            yield self.batches[index]


class Saver(pl.Callback):
    def __init__(self, path, step):
        self.path, self.step = path, step

    def save(self, trainer):
        if trainer.global_step == self.step and not self.path.exists():
            trainer.save_checkpoint(self.path)

    def on_train_batch_end(self, trainer, *_):
        if self.step % 5:
            self.save(trainer)

    def on_train_epoch_end(self, trainer, _):
        if self.step % 5 == 0:
            self.save(trainer)


def fit(optimizer, ckpt_path=None, save_to=None, save_at=None, skip=0):
    """The trainer and module after all epochs."""
    with tempfile.TemporaryDirectory() as folder:
        callbacks = [Saver(pathlib.Path(save_to), save_at)] if save_to else []
        trainer = pl.Trainer(max_epochs=EPOCHS, logger=False, enable_checkpointing=False, enable_progress_bar=False, callbacks=callbacks,
                             enable_model_summary=False, accelerator="cpu", default_root_dir=folder)
        net = Net(optimizer=optimizer, width=4)
        trainer.fit(net, Batches(skip), ckpt_path=ckpt_path, weights_only=True if ckpt_path else None)
        return trainer, net


def plain(net):
    return {name: value.flatten().tolist() for name, value in net.state_dict().items()}


if __name__ == "__main__":
    from safetensors.torch import save_file

    OUT.mkdir(exist_ok=True)
    expected = {}
    for optimizer in OPTIMIZERS:
        for where, step in WHERE.items():
            path = OUT / f"lightning_{optimizer}_{where}.ckpt"
            path.unlink(missing_ok=True)
            trainer, net = fit(optimizer, save_to=path, save_at=step)
        expected[optimizer] = dict(weights=plain(net), lr=trainer.optimizers[0].param_groups[0]["lr"], global_step=trainer.global_step)
    (OUT / "lightning_fit.json").write_text(json.dumps(
        dict(made_with=dict(lightning=pl.__version__, torch=str(torch.__version__)), fits=expected)) + "\n")
    save_file({"a": torch.arange(6, dtype=torch.float32).reshape(2, 3), "half": torch.tensor([0.5, -2.0], dtype=torch.float16),
               "bf": torch.tensor([[1.5]], dtype=torch.bfloat16), "flags": torch.tensor([True, False, True]), "long": torch.tensor(7),
               "empty": torch.zeros(0, 3), "byte": torch.tensor([1, 255], dtype=torch.uint8),
               "double": torch.tensor([0.1], dtype=torch.float64)}, OUT / "weights.safetensors", {"format": "pt", "by": "grüß"})
