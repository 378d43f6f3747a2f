"""The complete list of calls of hooks of a module, a data module, callbacks and loggers in PyTorch Lightning.

Run: python lightning_hooks.py OUT_DIR   (torch 2.13.0, pytorch-lightning 2.6.6; no random numbers are used)

lightning_hooks.json holds, for each run, its description (to be replayed) and
- "calls": one string a call, "<who>.<hook>:<arguments>". Who: m the module, d the data module, c a callback, e an
  EarlyStopping that never stops, k a checkpoint callback, l a logger; "cm" is c and then m. Arguments: the stage of
  setup and teardown; batch_idx (and dataloader_idx, with several loaders) of batch hooks and steps; dataloader_idx of
  transfers; the index of the optimizer or scheduler; the status of finalize, the step of log_metrics. ".done" is the
  return of a hook that others are called in. "caught" marks the exception leaving the Trainer.
- "counters": "<hook> global_step current_epoch batch_idx is_last_batch" at the module's hooks.
- "modes" (where asked for): at the module's hooks, the train flags of the module, of its part that was set to eval
  beforehand and of its dropout, then whether gradients are on and whether inference mode is.

The description: `fit` etc. names the entry point; `flags` are the Trainer's; loaders are [samples, batch_size] (null
instead of a size: of unknown length); `manual` n: manual optimization with n optimizers; `schedulers`
[interval, frequency, "step" or "plateau"]; `throw` [who.hook, k]: the k-th call throws; `stop` k: stops in the k-th
training step; `skip`: batch indices for which training_step returns nothing; `leave` [epoch, batch]: the
on_train_batch_start that returns -1; `save` [who.hook, k]: the k-th call saves a checkpoint, from which the run named
"<name>.resumed" continues with `resume_flags`.
"""
import datetime
import json
import logging
import pathlib
import sys
import tempfile
import warnings

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities import CombinedLoader
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

warnings.filterwarnings("ignore")
for name in ("pytorch_lightning", "lightning_fabric", "lightning.pytorch"):
    logging.getLogger(name).setLevel(logging.ERROR)

STAGES = ("train", "validation", "test", "predict")
COMMON = (["on_fit_start", "on_fit_end", "setup", "teardown", "on_before_zero_grad", "on_before_backward",
           "on_after_backward", "on_before_optimizer_step", "on_save_checkpoint", "on_load_checkpoint"]
          + [f"on_{s}_{w}" for s in STAGES for w in ("start", "end", "epoch_start", "epoch_end", "batch_start", "batch_end")])
CALLBACK = COMMON + ["on_sanity_check_start", "on_sanity_check_end", "on_exception", "state_dict", "load_state_dict"]
TRANSFER = ["on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer"]
MODULE = COMMON + TRANSFER + [
    "configure_callbacks", "configure_model", "configure_optimizers", "backward", "optimizer_step",
    "optimizer_zero_grad", "lr_scheduler_step", "configure_gradient_clipping", "on_validation_model_zero_grad",
    "on_validation_model_eval", "on_test_model_eval", "on_predict_model_eval", "training_step", "validation_step",
    "test_step", "predict_step"]
MODEL_TRAIN = ["on_validation_model_train", "on_test_model_train"]
DATA = ["prepare_data", "setup", "teardown", "train_dataloader", "val_dataloader", "test_dataloader",
        "predict_dataloader", "state_dict", "load_state_dict", "on_exception"]
COUNTED = {"on_train_start", "on_train_epoch_start", "on_train_batch_start", "training_step", "on_before_optimizer_step",
           "on_train_batch_end", "on_validation_start", "on_validation_end", "on_train_epoch_end", "on_train_end"}
NESTED = {"optimizer_step", "configure_gradient_clipping"}  # others are called within


class Boom(Exception):
    pass


class Endless(IterableDataset):
    """Of a length that nobody knows beforehand."""

    def __init__(self, samples):
        self.samples = samples

    def __iter__(self):
        return iter([(torch.ones(1) * i,) for i in range(self.samples)])


def loader(spec):
    samples, batch_size, *unknown = spec
    if unknown:
        return DataLoader(Endless(samples), batch_size=batch_size)
    return DataLoader(TensorDataset(torch.arange(samples, dtype=torch.float32).unsqueeze(1)), batch_size=batch_size)


class Net(pl.LightningModule):
    def __init__(self, run):
        super().__init__()
        self.run = run
        self.save_hyperparameters({"a": 1})
        self.w = torch.nn.Parameter(torch.ones(1))
        self.frozen = torch.nn.BatchNorm1d(1).eval()
        self.dropout = torch.nn.Dropout()
        self.steps = 0
        self.automatic_optimization = "manual" not in run

    def training_step(self, batch, batch_idx):
        self.steps += 1
        if self.run.get("stop") == self.steps:
            self.trainer.should_stop = True
        if "manual" in self.run:
            optimizers = self.optimizers()
            for optimizer in optimizers if isinstance(optimizers, list) else [optimizers]:
                if self.run["manual"] > 1:
                    self.toggle_optimizer(optimizer)
                optimizer.zero_grad()
                self.manual_backward(self.w.sum())
                optimizer.step()
                if self.run["manual"] > 1:
                    self.untoggle_optimizer(optimizer)
            return None
        if batch_idx in self.run.get("skip", []):
            return None
        self.log("loss", self.w.sum())
        return self.w.sum()

    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        self.log("val", 1.0)

    def test_step(self, batch, batch_idx, dataloader_idx=0):
        self.log("test", 1.0)

    def predict_step(self, batch, batch_idx, dataloader_idx=0):
        return batch[0]

    def on_train_batch_start(self, batch, batch_idx):
        if self.run.get("leave") == [self.trainer.current_epoch, batch_idx]:
            return -1

    def configure_optimizers(self):
        optimizers = [torch.optim.SGD(self.parameters(), lr=0.1) for _ in range(self.run.get("manual", 1))]
        if "schedulers" not in self.run:
            return optimizers
        schedulers = []
        for interval, frequency, kind in self.run["schedulers"]:
            scheduler = (torch.optim.lr_scheduler.ReduceLROnPlateau(optimizers[0]) if kind == "plateau"
                         else torch.optim.lr_scheduler.StepLR(optimizers[0], 100))
            schedulers.append({"scheduler": scheduler, "interval": interval, "frequency": frequency,
                               **({"monitor": "val"} if kind == "plateau" else {})})
        return optimizers, schedulers


class Data(pl.LightningDataModule):
    def __init__(self, run):
        super().__init__()
        self.run = run

    def loaders(self, specs):
        if isinstance(specs, dict):
            return CombinedLoader([loader(spec) for spec in specs["loaders"]], specs["mode"])
        return [loader(spec) for spec in specs] if len(specs) > 1 else loader(specs[0])

    def train_dataloader(self):
        return self.loaders(self.run.get("train", [[6, 2]]))

    def val_dataloader(self):
        return self.loaders(self.run.get("val", [[4, 2]])) if self.run.get("val", 1) else []

    def test_dataloader(self):
        return self.loaders(self.run.get("val", [[4, 2]]))

    predict_dataloader = test_dataloader

    def state_dict(self):
        return {"x": 1}


class Callback(pl.Callback):
    def state_dict(self):
        return {"x": 1}


class Checkpoint(pl.callbacks.Checkpoint):
    def state_dict(self):
        return {"x": 1}


class Stopping(pl.callbacks.EarlyStopping):
    def __init__(self):
        super().__init__("val", patience=1000)


class Logger(pl.loggers.logger.Logger):
    name = version = None

    def __init__(self, call):
        super().__init__()
        self.call = call

    def log_metrics(self, metrics, step=None):
        self.call("l.log_metrics", [step])

    def log_hyperparams(self, *args, **kwargs):
        self.call("l.log_hyperparams", [])

    def finalize(self, status):
        self.call("l.finalize", [status])


class Recording:
    """The calls of one run of a Trainer."""

    def __init__(self, run, path):
        self.run, self.path = run, path
        self.calls, self.counters, self.modes, self.counts = [], [], [], {}
        self.module = self.trainer = None

    def call(self, what, arguments):
        self.calls.append(what + (":" + ",".join(map(str, arguments)) if arguments else ""))
        count = self.counts[what] = self.counts.get(what, 0) + 1
        if self.run.get("throw") == [what, count]:
            raise Boom
        if self.run.get("save") == [what, count]:
            self.trainer.save_checkpoint(self.path)

    def arguments(self, hook, args, kwargs):
        trainer = self.trainer
        if hook in ("setup", "teardown"):
            return [str(getattr(stage, "value", stage)) for stage in (kwargs.get("stage", args[-1] if args else None),)]
        if hook in TRANSFER:
            return [args[-1]]
        if hook.endswith(("batch_start", "batch_end", "_step")) and hook not in ("optimizer_step", "on_before_optimizer_step", "lr_scheduler_step"):
            return [a for a in (*args, *kwargs.values()) if isinstance(a, int)]
        if hook in ("on_before_zero_grad", "on_before_optimizer_step", "optimizer_step", "optimizer_zero_grad",
                    "configure_gradient_clipping"):
            optimizer = next(a for a in (*args, *kwargs.values()) if hasattr(a, "param_groups"))
            optimizer = getattr(optimizer, "optimizer", optimizer)
            return [next(i for i, o in enumerate(trainer.optimizers) if o is optimizer)]
        if hook == "lr_scheduler_step":
            return [next(i for i, c in enumerate(trainer.lr_scheduler_configs) if c.scheduler is args[0])]
        return []

    def state(self, hook):
        trainer = self.trainer
        if hook in COUNTED and trainer.state.fn == "fit":
            loop = trainer.fit_loop.epoch_loop
            self.counters.append(f"{hook} {trainer.global_step} {trainer.current_epoch} {loop.batch_idx} "
                                 f"{int(trainer.is_last_batch)}")
        if self.run.get("modes"):
            flags = (self.module.training, self.module.frozen.training, self.module.dropout.training,
                     torch.is_grad_enabled(), torch.is_inference_mode_enabled())
            self.modes.append(hook + " " + "".join(str(int(f)) for f in flags))

    def wrap(self, who, base, hooks):
        def make(hook):
            original = getattr(base, hook)

            def method(this, *args, **kwargs):
                shown = args[2:] if who in "cek" and hook not in ("state_dict", "load_state_dict") else args
                if who == "m":
                    self.state(hook)
                self.call(f"{who}.{hook}", self.arguments(hook, shown, kwargs))
                result = original(this, *args, **kwargs)
                if who == "m" and hook in NESTED:
                    self.calls.append(f"m.{hook}.done")
                return result
            return method
        return type("Recording" + base.__name__, (base,), {hook: make(hook) for hook in hooks})

    def make(self):
        run = self.run
        hooks = MODULE + ([] if run.get("modes") else MODEL_TRAIN)
        data_hooks = DATA + (TRANSFER if run.get("data_transfers") else [])
        if run.get("data_transfers"):
            hooks = [h for h in hooks if h not in TRANSFER]
        self.module = self.wrap("m", Net, hooks)(run)
        data = self.wrap("d", Data, data_hooks)(run)
        callbacks = [self.wrap("c", Callback, CALLBACK)()]
        if run.get("monitors"):
            ends = ["on_train_epoch_end", "on_validation_end", "setup", "on_train_start"]
            callbacks = [self.wrap("k", Checkpoint, ends)(), self.wrap("e", Stopping, ends)()] + callbacks
        flags = {"max_epochs": 1, "num_sanity_val_steps": 0, "log_every_n_steps": 1, **run.get("flags", {})}
        if isinstance(flags.get("val_check_interval"), dict):
            flags["val_check_interval"] = datetime.timedelta(**flags["val_check_interval"])
        if flags.get("barebones"):
            for key in ("num_sanity_val_steps", "log_every_n_steps"):
                del flags[key]
        else:
            flags |= dict(logger=Logger(self.call), enable_checkpointing=bool(run.get("monitors")))
        self.trainer = pl.Trainer(callbacks=callbacks, enable_progress_bar=False, enable_model_summary=False,
                                  accelerator="cpu", default_root_dir=self.path + ".root", **flags)
        return data

    def play(self, resume=None):
        data = self.make()
        entry = self.run.get("entry", "fit")
        options = {"verbose": False} if entry in ("validate", "test") else {}
        try:
            getattr(self.trainer, entry)(self.module, datamodule=data, ckpt_path=resume, **options)
        except Boom:
            self.calls.append("caught")
        return self

    def result(self):
        joined = []
        for call in self.calls:
            if joined and call.startswith("m.") and joined[-1] == "c." + call[2:]:
                joined[-1] = "cm." + call[2:]
            else:
                joined.append(call)
        out = {"calls": joined}
        if self.counters:
            out["counters"] = self.counters
        if self.modes:
            out["modes"] = self.modes
        return out


TWO = [[4, 2], [2, 2]]
RUNS = {
    # --- fit ---
    "plain": dict(flags=dict(max_epochs=2)),
    "sanity": dict(flags=dict(num_sanity_val_steps=1)),
    "sanity_several_loaders": dict(val=TWO, flags=dict(num_sanity_val_steps=1)),
    "no_val_loader": dict(val=[]),
    "accumulation": dict(train=[[5, 1]], flags=dict(accumulate_grad_batches=2, max_epochs=2)),
    "several_val_loaders": dict(val=TWO, train=[[2, 2]]),
    "val_every_batch": dict(flags=dict(val_check_interval=1)),
    "val_count": dict(train=[[5, 1]], val=[[2, 2]], flags=dict(val_check_interval=2)),
    "val_fraction": dict(train=[[5, 1]], val=[[2, 2]], flags=dict(val_check_interval=0.5)),
    "val_in_a_window": dict(train=[[4, 1]], val=[[2, 2]], flags=dict(val_check_interval=1, accumulate_grad_batches=2)),
    "val_every_second_epoch": dict(train=[[2, 2]], val=[[2, 2]], flags=dict(check_val_every_n_epoch=2, max_epochs=3)),
    "val_across_epochs": dict(train=[[3, 1]], val=[[2, 2]],
                              flags=dict(check_val_every_n_epoch=None, val_check_interval=2, max_epochs=3)),
    "val_at_all_times": dict(train=[[2, 1]], val=[[2, 2]], flags=dict(val_check_interval={"microseconds": 1})),
    "unknown_length": dict(train=[[3, 1, None]], val=[[2, 1, None]], flags=dict(max_epochs=2)),
    "unknown_length_val_count": dict(train=[[3, 1, None]], val=[[2, 1, None]], flags=dict(val_check_interval=2)),
    "limit_train_0": dict(flags=dict(limit_train_batches=0, num_sanity_val_steps=1)),
    "limit_train_count": dict(flags=dict(limit_train_batches=2)),
    "limit_val_0": dict(flags=dict(limit_val_batches=0, num_sanity_val_steps=1)),
    "limit_val_count": dict(val=TWO, flags=dict(limit_val_batches=1)),
    "overfit": dict(flags=dict(overfit_batches=1, max_epochs=2)),
    "fast_dev_run": dict(flags=dict(fast_dev_run=1)),
    "max_epochs_0": dict(flags=dict(max_epochs=0, num_sanity_val_steps=1)),
    "max_steps_mid_epoch": dict(flags=dict(max_steps=2, max_epochs=5)),
    "max_steps_at_the_end": dict(flags=dict(max_steps=3, max_epochs=5)),
    "max_steps_with_accumulation": dict(train=[[5, 1]], flags=dict(max_steps=2, max_epochs=5, accumulate_grad_batches=2)),
    "min_steps": dict(stop=1, train=[[4, 1]], val=[[2, 2]], flags=dict(min_steps=2, max_epochs=3)),
    "min_epochs": dict(stop=1, train=[[2, 1]], val=[[2, 2]], flags=dict(min_epochs=2, max_epochs=5)),
    "stop": dict(stop=2, flags=dict(max_epochs=3)),
    "stop_in_a_window": dict(stop=3, train=[[6, 1]], flags=dict(max_epochs=3, accumulate_grad_batches=2)),
    "skipped_batch": dict(skip=[1]),
    "skipped_batch_in_a_window": dict(skip=[1], train=[[4, 1]], flags=dict(accumulate_grad_batches=2)),
    "leave_the_epoch": dict(leave=[0, 1], train=[[3, 1]], flags=dict(max_epochs=2)),
    "clip_norm": dict(flags=dict(gradient_clip_val=0.5)),
    "clip_in_windows": dict(train=[[3, 1]], flags=dict(gradient_clip_val=0.5, accumulate_grad_batches=2)),
    "scheduler_epoch": dict(schedulers=[["epoch", 1, "step"]], flags=dict(max_epochs=2)),
    "scheduler_step": dict(schedulers=[["step", 2, "step"]], train=[[5, 1]]),
    "scheduler_step_accumulation": dict(schedulers=[["step", 1, "step"]], train=[[5, 1]],
                                        flags=dict(accumulate_grad_batches=2)),
    "scheduler_plateau": dict(schedulers=[["epoch", 1, "plateau"]], flags=dict(max_epochs=2)),
    "scheduler_plateau_step": dict(schedulers=[["step", 1, "plateau"]], flags=dict(val_check_interval=1)),
    "schedulers": dict(schedulers=[["epoch", 2, "step"], ["step", 1, "step"], ["epoch", 1, "plateau"]],
                       flags=dict(max_epochs=2)),
    "reload_every_epoch": dict(train=[[2, 2]], val=[[2, 2]],
                               flags=dict(reload_dataloaders_every_n_epochs=1, max_epochs=3)),
    "reload_every_second_epoch": dict(train=[[2, 2]], val=[[2, 2]],
                                      flags=dict(reload_dataloaders_every_n_epochs=2, max_epochs=4)),
    "monitoring_callbacks": dict(monitors=True, flags=dict(max_epochs=1)),
    "data_module_transfers": dict(data_transfers=True),
    "barebones": dict(flags=dict(barebones=True, max_epochs=2)),
    "modes": dict(modes=True, flags=dict(num_sanity_val_steps=1, max_epochs=1)),
    "manual": dict(manual=1, flags=dict(max_epochs=2)),
    "manual_several_optimizers": dict(manual=2, flags=dict(max_epochs=1)),
    "manual_max_steps": dict(manual=2, flags=dict(max_epochs=5, max_steps=3)),
    "several_train_loaders": {"train": {"loaders": [[3, 1], [4, 2]], "mode": "max_size_cycle"}},
    "several_train_loaders_min": {"train": {"loaders": [[3, 1], [4, 2]], "mode": "min_size"}},
    "several_train_loaders_max": {"train": {"loaders": [[3, 1], [4, 2]], "mode": "max_size"}},
    "several_val_loaders_max": {"train": [[1, 1]], "val": {"loaders": [[3, 1], [4, 2]], "mode": "max_size"}},
    # --- exceptions ---
    "throw_in_setup": dict(throw=["m.setup", 1]),
    "throw_in_fit_start": dict(throw=["c.on_fit_start", 1]),
    "throw_in_training_step": dict(throw=["m.training_step", 2]),
    "throw_in_train_batch_end": dict(throw=["m.on_train_batch_end", 2]),
    "throw_in_validation_step": dict(throw=["m.validation_step", 2]),
    "throw_in_sanity_check": dict(throw=["m.validation_step", 1], flags=dict(num_sanity_val_steps=1)),
    "throw_in_train_epoch_end": dict(throw=["c.on_train_epoch_end", 1]),
    "throw_in_train_end": dict(throw=["m.on_train_end", 1]),
    "throw_in_teardown": dict(throw=["m.teardown", 1]),
    "throw_in_test_step": dict(entry="test", throw=["m.test_step", 1]),
    # --- resuming: "<name>.resumed" is the second run ---
    "save_at_epoch_end": dict(save=["c.on_train_epoch_end", 1], flags=dict(max_epochs=2), resume_flags=dict(max_epochs=3)),
    "save_at_validation_end": dict(save=["c.on_validation_end", 1], flags=dict(max_epochs=1), resume_flags=dict(max_epochs=2)),
    "save_at_train_end": dict(save=["c.on_train_end", 1], flags=dict(max_epochs=1), resume_flags=dict(max_epochs=2)),
    "save_mid_epoch": dict(save=["c.on_train_batch_end", 2], train=[[4, 1]], flags=dict(max_epochs=1),
                           resume_flags=dict(max_epochs=2)),
    "save_mid_epoch_and_sanity": dict(save=["c.on_train_batch_end", 2], train=[[4, 1]], flags=dict(max_epochs=1),
                                      resume_flags=dict(max_epochs=1, num_sanity_val_steps=1)),
    "save_at_mid_epoch_validation": dict(save=["c.on_validation_end", 1], train=[[4, 1]],
                                         flags=dict(max_epochs=1, val_check_interval=2),
                                         resume_flags=dict(max_epochs=2, val_check_interval=2)),
    "save_at_epoch_end_max_steps": dict(save=["c.on_train_epoch_end", 1], train=[[2, 1]], flags=dict(max_steps=4, max_epochs=-1),
                                        resume_flags=dict(max_steps=6, max_epochs=-1)),
    "save_at_epoch_end_and_sanity": dict(save=["c.on_train_epoch_end", 1], flags=dict(max_epochs=1),
                                         resume_flags=dict(max_epochs=2, num_sanity_val_steps=1)),
    # --- the other stages ---
    "validate": dict(entry="validate"),
    "validate_several_loaders": dict(entry="validate", val=TWO),
    "test": dict(entry="test"),
    "test_several_loaders": dict(entry="test", val=TWO),
    "test_modes": dict(entry="test", modes=True),
    "test_without_inference_mode": dict(entry="test", modes=True, flags=dict(inference_mode=False)),
    "predict": dict(entry="predict"),
    "predict_several_loaders": dict(entry="predict", val=TWO),
    "predict_modes": dict(entry="predict", modes=True),
    "validate_0": dict(entry="validate", flags=dict(limit_val_batches=0)),
}


def dump(value, indent=0, depth=2):
    """JSON with one line an item below `depth` levels."""
    if depth and isinstance(value, dict) and value:
        pad = " " * (indent + 1)
        items = [f"{pad}{json.dumps(k)}: {dump(v, indent + 1, depth - 1)}" for k, v in value.items()]
        return "{\n" + ",\n".join(items) + "\n" + " " * indent + "}"
    return json.dumps(value)


def main(out):
    runs = {}
    with tempfile.TemporaryDirectory() as tmp:
        for name, run in RUNS.items():
            path = str(pathlib.Path(tmp) / name)
            runs[name] = {**run, **Recording(run, path).play().result()}
            if "save" in run:
                run = {**{k: v for k, v in run.items() if k not in ("save", "resume_flags")}, "flags": run["resume_flags"]}
                runs[name + ".resumed"] = {**run, **Recording(run, path).play(resume=path).result()}
    versions = {"torch": torch.__version__, "pytorch_lightning": pl.__version__, "script": "lightning_hooks.py"}
    text = dump({"versions": versions, "runs": runs}, depth=3)
    (pathlib.Path(out) / "lightning_hooks.json").write_text(text + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
