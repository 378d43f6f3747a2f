"""The peers of step_overhead.cpp: a plain PyTorch loop and PyTorch Lightning's Trainer on the same network and data.

Usage: python_peers.py [repetitions] [epochs]; prints one JSON object a line.
"""
import json
import logging
import sys
import tempfile
import time
import warnings

import torch

warnings.filterwarnings("ignore")
logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
import pytorch_lightning as pl  # noqa: E402

torch.set_num_threads(1)
REPETITIONS = int(sys.argv[1]) if len(sys.argv) > 1 else 5
EPOCHS = int(sys.argv[2]) if len(sys.argv) > 2 else 20

x = torch.linspace(-1, 1, 1000).unsqueeze(1)
y = 2 * x + 1


def network():
    return torch.nn.Sequential(torch.nn.Linear(1, 16), torch.nn.ReLU(), torch.nn.Linear(16, 1))


NAMES = ["train_loss", *"abcdefghij"]


class Batches:
    """Whole batches gathered at once, the cheapest loader there is in Python."""

    def __len__(self):
        return 10

    def __iter__(self):
        order = torch.randperm(1000)
        for i in range(0, 1000, 100):
            index = order[i:i + 100]
            yield x[index], y[index]


def plain_loop(fused):
    net = network()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01, fused=fused)
    loss_fn = torch.nn.MSELoss()
    for _ in range(EPOCHS):
        for a, b in Batches():
            optimizer.zero_grad()
            loss = loss_fn(net(a), b)
            loss.backward()
            optimizer.step()


class LitModel(pl.LightningModule):
    def __init__(self, logs):
        super().__init__()
        self.net = network()
        self.logs = logs

    def training_step(self, batch, _):
        a, b = batch
        loss = torch.nn.functional.mse_loss(self.net(a), b)
        for i in range(self.logs):
            self.log(NAMES[i], loss)
        return loss

    def validation_step(self, batch, _):
        a, b = batch
        self.log("val_loss", torch.nn.functional.mse_loss(self.net(a), b))

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.01)


QUIET = dict(enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, accelerator="cpu")


def lightning(logs, logger=False):
    with tempfile.TemporaryDirectory() as tmp:
        trainer = pl.Trainer(max_epochs=EPOCHS, logger=pl.loggers.CSVLogger(tmp) if logger else False, **QUIET)
        trainer.fit(LitModel(logs), Batches())


class ManyBatches(Batches):
    """As many validation batches as there are steps."""

    def __len__(self):
        return 10 * EPOCHS

    def __iter__(self):
        for _ in range(EPOCHS):
            yield from ((x[i:i + 100], y[i:i + 100]) for i in range(0, 1000, 100))


many = ManyBatches()
trained = LitModel(1)


def validation_loop():
    trained.eval()
    total = samples = 0
    with torch.no_grad():
        for a, b in many:
            total += torch.nn.functional.mse_loss(trained.net(a), b).item() * len(a)
            samples += len(a)
    return total / samples


def validation():
    pl.Trainer(logger=False, inference_mode=False, **QUIET).validate(trained, many, verbose=False)


RUNS = {
    "PyTorch loop, torch.optim.Adam": lambda: plain_loop(False),
    "PyTorch loop, torch.optim.Adam(fused=True)": lambda: plain_loop(True),
    "Lightning Trainer": lambda: lightning(0),
    "Lightning Trainer, one log": lambda: lightning(1),
    "Lightning Trainer, one log, CSVLogger": lambda: lightning(1, logger=True),
    "Lightning Trainer, eleven logs, CSVLogger": lambda: lightning(11, logger=True),
    "validation, PyTorch loop": validation_loop,
    "validation, Lightning Trainer, one log": validation,
}

times = {name: [] for name in RUNS}
for repetition in range(-1, REPETITIONS):
    for name, run in RUNS.items():
        begin = time.perf_counter()
        run()
        if repetition >= 0:
            times[name].append((time.perf_counter() - begin) * 1e6 / (EPOCHS * 10))
for name, values in times.items():
    print(json.dumps({"name": name, "us": values}))
