"""The peers of step_overhead.cpp: a plain PyTorch loop and PyTorch Lightning's Trainer on the same network and data.

Usage: python_peers.py [repetitions] [epochs]; prints one JSON object a line.
"""
import json
import logging
import sys
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
        if self.logs:
            self.log("train_loss", loss)
        return loss

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.01)


def lightning(logs):
    trainer = pl.Trainer(max_epochs=EPOCHS, logger=False, enable_checkpointing=False, enable_progress_bar=False,
                         enable_model_summary=False, accelerator="cpu")
    trainer.fit(LitModel(logs), Batches())


RUNS = {
    "PyTorch loop, torch.optim.Adam": lambda: plain_loop(False),
    "PyTorch loop, torch.optim.Adam(fused=True)": lambda: plain_loop(True),
    "Lightning Trainer": lambda: lightning(False),
    "Lightning Trainer, one log": lambda: lightning(True),
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
