"""PyTorch and PyTorch Lightning read the checkpoints of `levin fit`: the weights give the same predictions, and a Lightning
Trainer goes on with the fit.

Usage: interop_lightning.py LEVIN_BINARY DATA_FOLDER. Needs a Python with Lightning: the one that LEVIN_ORACLE_PYTHON
names, the project's .bench-venv, or the one that runs this. Exits with 77 (skipped) when there is none.
"""
import csv
import logging
import os
import pathlib
import subprocess
import sys
import tempfile
import warnings

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

warnings.filterwarnings("ignore")
logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
import pytorch_lightning as pl  # noqa: E402
import torch  # noqa: E402


class Net(pl.LightningModule):
    """The network of `levin fit` with its defaults."""

    def __init__(self, **settings):
        super().__init__()
        self.net = torch.nn.Module()
        self.net.linear_0 = torch.nn.Linear(64, 128)
        self.net.linear_1 = torch.nn.Linear(128, 128)
        self.net.head = torch.nn.Linear(128, 10)

    def forward(self, x):
        return self.net.head(torch.relu(self.net.linear_1(torch.relu(self.net.linear_0(x)))))

    def training_step(self, batch, _):
        return torch.nn.functional.cross_entropy(self(batch[0]), batch[1])

    def configure_optimizers(self):
        optimizer = torch.optim.AdamW(self.parameters(), lr=3e-3)
        return [optimizer], [torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 20)]


levin, data = sys.argv[1], pathlib.Path(sys.argv[2]).resolve() / "digits/digits.csv"
with tempfile.TemporaryDirectory() as folder:
    def run(*arguments):
        subprocess.run([levin, *map(str, arguments)], cwd=folder, check=True, capture_output=True)

    run("fit", "--data", data, "--target", "target", "--name", "run", "--data.standardize", "false")
    path = pathlib.Path(folder, "runs/run/version_0/checkpoints/last.ckpt")
    run("predict", "--ckpt_path", path, "--data", data, "--out", "pred.csv")

    checkpoint = torch.load(path, weights_only=True)
    assert checkpoint["global_step"] == 400, checkpoint["global_step"]
    net = Net()
    net.load_state_dict(checkpoint["state_dict"])
    with open(data) as file:
        rows = [[float(v) for v in row] for row in list(csv.reader(file))[1:]]
    x, y = torch.tensor(rows)[:, :-1], torch.tensor(rows)[:, -1].long()
    with open(pathlib.Path(folder, "pred.csv")) as file:
        ours = torch.tensor([[float(v) for v in row[1:]] for row in list(csv.reader(file))[1:]])
    torch.testing.assert_close(net(x).softmax(1), ours, rtol=1e-4, atol=1e-6)

    trainer = pl.Trainer(max_epochs=21, logger=False, enable_checkpointing=False, enable_progress_bar=False,
                         enable_model_summary=False, accelerator="cpu", default_root_dir=folder)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=90)
    trainer.fit(net, loader, ckpt_path=str(path))
    assert (trainer.current_epoch, trainer.global_step) == (21, 420), (trainer.current_epoch, trainer.global_step)
    step = trainer.optimizers[0].state_dict()["state"][0]["step"]
    assert int(step) == 420, step  # the moments went on as well
print("PyTorch and Lightning read the checkpoint and go on with it")
