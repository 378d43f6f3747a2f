"""The longest step of a fit that saves a state of 100 MB: Levin and Lightning, at once and asynchronously, in one run.

Usage: checkpoint_pause.py CHECKPOINT_PAUSE_BINARY PYTHON_WITH_LIGHTNING
"""
import json
import os
import pathlib
import subprocess
import sys

PEER = r'''
import json, logging, sys, tempfile, time, warnings
warnings.filterwarnings("ignore")
logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
import pytorch_lightning as pl, torch
from pytorch_lightning.plugins.io import AsyncCheckpointIO
torch.set_num_threads(1)
STEPS, EVERY = 600, 200
class Heavy(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4, 1)
        for i in range(10):
            self.register_buffer(f"table_{i}", torch.rand(2_500_000))
    def training_step(self, batch, _):
        return self.layer(batch[0]).mean()
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01)
class Stopwatch(pl.Callback):
    last, longest = None, 0.0
    def on_train_batch_start(self, *_):
        now = time.perf_counter()
        if self.last: self.longest = max(self.longest, (now - self.last) * 1e3)
        self.last = now
model = Heavy()
data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.rand(STEPS * 2, 4)), batch_size=2)
for name, plugins in (("Lightning, synchronous", []), ("Lightning, AsyncCheckpointIO", [AsyncCheckpointIO])):
    longest = []
    for _ in range(int(sys.argv[1])):
        with tempfile.TemporaryDirectory() as folder:
            watch = Stopwatch()
            trainer = pl.Trainer(max_epochs=1, logger=False, enable_progress_bar=False, enable_model_summary=False, accelerator="cpu",
                                 plugins=[p() for p in plugins], default_root_dir=folder,
                                 callbacks=[watch, pl.callbacks.ModelCheckpoint(dirpath=folder, every_n_train_steps=EVERY)])
            trainer.fit(model, data)
            longest.append(watch.longest)
    print(json.dumps({"name": "longest step, " + name, "ms": longest}), flush=True)
'''

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
from table import print_table, spread  # noqa: E402

binary, python = sys.argv[1:3]
repeats = "5"


def measure(command):
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    if done.returncode:
        sys.exit(done.stderr)
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


*runs, size = measure([binary, repeats])
runs += measure([python, "-c", PEER, repeats])
print_table(["saving a state of 100 MB", "ms (quartiles)"], [[run["name"], spread(run["ms"])] for run in runs])
print(f"\nThe file is {size['file_bytes'] / size['tensor_bytes'] - 1:.4%} larger than its tensors.")
