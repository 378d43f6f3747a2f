"""What Lightning's ModelCheckpoint keeps, under which names, in a table of scripted runs.

Writes ../checkpoint/model_checkpoint.json. Made with pytorch-lightning 2.6.6 and torch 2.13.0; nothing here is random
but the weights (seed 0).
"""
import datetime
import json
import logging
import os
import pathlib
import tempfile
import warnings

warnings.filterwarnings("ignore")
logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
import pytorch_lightning as pl  # noqa: E402
import torch  # noqa: E402
from pytorch_lightning.callbacks import Callback, ModelCheckpoint  # noqa: E402

OUT = pathlib.Path(__file__).resolve().parents[1] / "checkpoint"
NAN = float("nan")
DOWN = [0.5, 0.25, 0.375, 0.125, 0.75, 0.0625]

SCENARIOS = [
    dict(name="default", checkpoint={}),
    dict(name="best of all", checkpoint=dict(monitor="val_loss")),
    dict(name="best two, max", checkpoint=dict(monitor="val_loss", mode="max", save_top_k=2)),
    dict(name="best three", checkpoint=dict(monitor="val_loss", save_top_k=3)),
    dict(name="all, ranked", checkpoint=dict(monitor="val_loss", save_top_k=-1)),
    dict(name="all, not ranked", checkpoint=dict(save_top_k=-1)),
    dict(name="none", checkpoint=dict(save_top_k=0)),
    dict(name="last", checkpoint=dict(monitor="val_loss", save_top_k=-1, save_last=True)),
    dict(name="last alone", checkpoint=dict(save_top_k=0, save_last=True), final_only=True),
    dict(name="last as link", checkpoint=dict(save_last="link")),
    dict(name="last as link of the best", checkpoint=dict(monitor="val_loss", save_last="link")),
    dict(name="formats", checkpoint=dict(filename="x-{epoch:03d}-{val_loss:.2f}", save_top_k=-1)),
    dict(name="no names", checkpoint=dict(filename="{epoch}-{step}-{val_loss:.3f}", auto_insert_metric_name=False, save_top_k=-1)),
    dict(name="plain number", checkpoint=dict(filename="{val_loss}", save_top_k=-1)),
    dict(name="scientific", checkpoint=dict(filename="{val_loss:.1e}-{train_loss:g}-{step:+06d}", save_top_k=-1)),
    dict(name="slash makes a folder", checkpoint=dict(filename="{epoch}-{val/loss:.2f}", monitor="val/loss")),
    dict(name="folder in the name", checkpoint=dict(filename="sub/{epoch}", save_top_k=-1)),
    dict(name="unknown metric", checkpoint=dict(filename="{nothing}-{nothing:.1f}-{epoch}", save_top_k=-1)),
    dict(name="nan", checkpoint=dict(monitor="val_loss", save_top_k=2), scores=[NAN, 0.5, NAN, 0.25, NAN, 0.125]),
    dict(name="nan first", checkpoint=dict(monitor="val_loss", save_top_k=2, mode="max"), scores=[NAN, NAN, NAN, 0.25, NAN, 0.125]),
    dict(name="ties lose", checkpoint=dict(monitor="val_loss"), scores=[0.5, 0.5, 0.25, 0.25, 0.25, 0.5]),
    dict(name="one name, replaced", checkpoint=dict(monitor="val_loss", filename="best")),
    dict(name="one name, two kept", checkpoint=dict(monitor="val_loss", filename="best", save_top_k=2)),
    dict(name="one name, no counter", checkpoint=dict(filename="same", save_top_k=-1, enable_version_counter=False)),
    dict(name="every three steps", checkpoint=dict(every_n_train_steps=3, save_top_k=-1)),
    dict(name="every three steps, latest", checkpoint=dict(every_n_train_steps=3)),
    dict(name="every three steps, ranked", checkpoint=dict(every_n_train_steps=3, monitor="train_loss", save_top_k=2),
         trainer=dict(limit_val_batches=0)),
    dict(name="every three steps and last", checkpoint=dict(every_n_train_steps=3, save_top_k=0, save_last=True)),
    dict(name="every two epochs", checkpoint=dict(every_n_epochs=2, save_top_k=-1)),
    dict(name="any time", checkpoint=dict(train_time_interval=0, save_top_k=-1)),
    dict(name="after validation", checkpoint=dict(monitor="val_loss", save_top_k=2, save_on_train_epoch_end=False)),
    dict(name="two validations an epoch", checkpoint=dict(monitor="val_loss", save_top_k=2), trainer=dict(val_check_interval=2, max_epochs=3)),
    dict(name="deferred to validation", checkpoint=dict(monitor="val_loss", save_top_k=-1, every_n_train_steps=2),
         trainer=dict(val_check_interval=4, max_epochs=1)),
    dict(name="validation every two epochs", checkpoint=dict(monitor="val_loss", save_top_k=2), trainer=dict(check_val_every_n_epoch=2)),
    dict(name="no validation", checkpoint=dict(save_top_k=-1), trainer=dict(limit_val_batches=0)),
    dict(name="weights only", checkpoint=dict(save_weights_only=True)),
    dict(name="verbose", checkpoint=dict(monitor="val_loss", verbose=True)),
    dict(name="two runs", checkpoint=dict(save_top_k=-1), runs=["fit", "fit"], trainer=dict(max_epochs=2)),
    dict(name="two runs, no counter", checkpoint=dict(enable_version_counter=False), runs=["fit", "fit"], trainer=dict(max_epochs=2)),
    dict(name="two runs with last", checkpoint=dict(save_last=True), runs=["fit", "fit", "fit"], trainer=dict(max_epochs=2)),
    dict(name="resumed from last", checkpoint=dict(monitor="val_loss", save_top_k=2, save_last=True, filename="{epoch}"),
         runs=["fit", "last"], scores=[0.5, 0.25, 0.125, 0.0625, 0.03125, 0.015625]),
    dict(name="resumed in another folder", checkpoint=dict(monitor="val_loss", save_top_k=2, save_last=True, filename="{epoch}"),
         runs=["fit", "last elsewhere"], scores=[0.5, 0.25, 0.375, 0.3125, 0.28125, 0.015625]),
]


class Net(pl.LightningModule):
    def __init__(self, scores, width=1):
        super().__init__()
        self.save_hyperparameters(ignore=["scores"])
        self.layer = torch.nn.Linear(1, width)
        self.scores, self.validations = scores, 0

    def training_step(self, batch, batch_idx):
        loss = self.layer(batch[0]).pow(2).mean()
        self.log("train_loss", 1.0 / (1 + batch_idx * 3 % 4))
        return loss

    def validation_step(self, batch, batch_idx):
        score = self.scores[self.validations % len(self.scores)]
        self.log("val_loss", score)
        self.log("val/loss", score)

    def on_validation_epoch_end(self):
        self.validations += 1

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.125)


def listing(folder):
    return sorted(str(p.relative_to(folder)) for p in pathlib.Path(folder).rglob("*") if not p.is_dir())


class Snapshots(Callback):
    def __init__(self, folder):
        self.folder, self.taken = folder, []

    def on_train_epoch_start(self, trainer, module):
        self.taken.append(listing(self.folder))


def run(scenario):
    with tempfile.TemporaryDirectory() as root:
        root = os.path.realpath(root)
        runs, scores = scenario.get("runs", ["fit"]), scenario.get("scores", DOWN)
        validations, records, last = 0, [], None
        for number, how in enumerate(runs):
            options = dict(scenario["checkpoint"])
            if "train_time_interval" in options:
                options["train_time_interval"] = datetime.timedelta(seconds=options["train_time_interval"])
            folder = os.path.join(root, "b" if how == "last elsewhere" else "a")
            checkpoint, snapshots = ModelCheckpoint(dirpath=folder, **options), Snapshots(root)
            extra = dict(max_epochs=6) | scenario.get("trainer", {})
            if len(runs) == 2 and "last" in runs[1]:
                extra["max_epochs"] = 3 if number == 0 else 6
            trainer = pl.Trainer(callbacks=[checkpoint, snapshots], logger=False, enable_progress_bar=False,
                                 enable_model_summary=False, accelerator="cpu", num_sanity_val_steps=0, default_root_dir=root, **extra)
            torch.manual_seed(0)
            net = Net(scores)
            net.validations = validations if how.startswith("last") else 0
            data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.ones(8, 1)), batch_size=2)
            val = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.ones(2, 1)), batch_size=2)
            trainer.fit(net, data, val, ckpt_path=last if how.startswith("last") else None)
            validations, last = net.validations, checkpoint.last_model_path
            relative = lambda path: os.path.relpath(path, root) if path else ""  # noqa: E731
            number_or_none = lambda value: None if value is None else float(value)  # noqa: E731
            records.append(dict(
                how=how, epochs=snapshots.taken[1:], files=listing(root),
                links={f: os.readlink(os.path.join(root, f)) for f in listing(root) if os.path.islink(os.path.join(root, f))},
                steps={f: torch.load(os.path.join(root, f), weights_only=True)["global_step"] for f in listing(root)},
                best_model_path=relative(checkpoint.best_model_path), best_model_score=number_or_none(checkpoint.best_model_score),
                current_score=number_or_none(checkpoint.current_score), kth_best_model_path=relative(checkpoint.kth_best_model_path),
                kth_value=float(checkpoint.kth_value), last_model_path=relative(checkpoint.last_model_path),
                best_k_models={relative(k): float(v) for k, v in checkpoint.best_k_models.items()}, state_key=checkpoint.state_key))
        return dict(scenario, scores=scores, runs=records, trainer=scenario.get("trainer", {}))


if __name__ == "__main__":
    OUT.mkdir(exist_ok=True)
    results = [run(scenario) for scenario in SCENARIOS]
    versions = json.dumps(dict(lightning=pl.__version__, torch=str(torch.__version__)))
    (OUT / "model_checkpoint.json").write_text(
        f'{{"made_with": {versions},\n"scenarios": [\n' + ",\n".join(map(json.dumps, results)) + "\n]}\n")
    print(len(results), "scenarios")
