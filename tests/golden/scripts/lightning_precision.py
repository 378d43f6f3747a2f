"""How PyTorch scales gradients and what Lightning trains in each precision, on the CPU.

Run: python lightning_precision.py OUT_DIR   (torch 2.13.0, pytorch-lightning 2.6.6; no random numbers are used)

precision.json:
- "scaler": torch.amp.GradScaler("cpu", init_scale=4, growth_interval=2) over gradients given by "grads" (of one
  parameter that starts at 1, SGD of rate 0.5): whether the step was taken, the parameter and the state after each.
- "fits": a linear layer (weights 0.5 and -0.25, bias 0) on x = arange(10).reshape(5, 2) / 10, y = x.sum(1), batches of
  2, mean squared error, SGD of rate 0.1 and momentum 0.9, 3 epochs, accumulation over 2 batches, clipping at norm 0.5;
  the final weights and the dtype of the layer's output and parameters. Lightning's Trainer, but "16-mixed" is a loop of
  torch.autocast("cpu", float16) and GradScaler("cpu"): Lightning turns it into bf16-mixed on a CPU. The loss of the
  last, shorter window is divided by the batches it holds, in all of them.
"""
import json
import logging
import pathlib
import sys
import tempfile
import warnings

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, TensorDataset

warnings.filterwarnings("ignore")
for name in ("pytorch_lightning", "lightning_fabric", "lightning.pytorch"):
    logging.getLogger(name).setLevel(logging.ERROR)

GRADS = [1.0, float("inf"), 0.5, 0.25, float("nan"), 1.0, 1.0, 1.0, -2.0]


def scaler():
    param = torch.nn.Parameter(torch.ones(()))
    sgd = torch.optim.SGD([param], lr=0.5)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0, growth_interval=2)
    steps = []
    for grad in GRADS:
        sgd.zero_grad()
        scaler.scale(param * grad).backward()
        before = param.item()
        scaler.step(sgd)
        stepped = param.item() != before
        scaler.update()
        steps.append({"grad": str(grad), "stepped": stepped, "param": param.item(), "state": scaler.state_dict()})
    return steps


def data():
    x = torch.arange(10, dtype=torch.float32).reshape(5, 2) / 10
    return TensorDataset(x, x.sum(1, keepdim=True))


def layer():
    layer = torch.nn.Linear(2, 1)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[0.5, -0.25]]))
        layer.bias.zero_()
    return layer


class Net(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = layer()
        self.out = None

    def training_step(self, batch, batch_idx):
        x, y = batch
        out = self.layer(x)
        self.out = out.dtype
        loss = torch.nn.functional.mse_loss(out, y.to(out.dtype))
        # The last window of the epoch holds one batch; Lightning divides its loss by two all the same.
        return loss * 2 if batch_idx == 2 else loss

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)


def result(layer, out):
    return {"weight": layer.weight.detach().double().flatten().tolist(), "bias": layer.bias.detach().double().tolist(),
            "output": str(out), "parameters": str(layer.weight.dtype)}


def fit(precision, tmp):
    net = Net()
    pl.Trainer(accelerator="cpu", precision=precision, max_epochs=3, accumulate_grad_batches=2, gradient_clip_val=0.5,
               logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
               default_root_dir=tmp).fit(net, DataLoader(data(), batch_size=2))
    return result(net.layer, net.out)


def fit_fp16():
    net = layer()
    sgd = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    scaler = torch.amp.GradScaler("cpu")
    for _ in range(3):
        for i, (x, y) in enumerate(DataLoader(data(), batch_size=2)):
            with torch.autocast("cpu", torch.float16):
                out = net(x)
                loss = torch.nn.functional.mse_loss(out, y.to(out.dtype))
            if i in (0, 2):
                sgd.zero_grad()
            scaler.scale(loss if i == 2 else loss / 2).backward()
            if i in (1, 2):
                scaler.unscale_(sgd)
                torch.nn.utils.clip_grad_norm_(net.parameters(), 0.5)
                scaler.step(sgd)
                scaler.update()
    return {**result(net, out.dtype), "scaler": scaler.state_dict()}


def main(out):
    with tempfile.TemporaryDirectory() as tmp:
        fits = {p: fit(p, tmp) for p in ("32-true", "64-true", "bf16-mixed", "bf16-true", "16-true")}
    fits["16-mixed"] = fit_fp16()
    versions = {"torch": torch.__version__, "pytorch_lightning": pl.__version__, "script": "lightning_precision.py"}
    text = json.dumps({"versions": versions, "scaler": scaler(), "fits": fits}, indent=1)
    (pathlib.Path(out) / "precision.json").write_text(text + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
