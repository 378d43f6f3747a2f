"""What PyTorch Lightning's `log` does: where it is allowed, the names it makes, the numbers and the loggers' rows.

Run: python lightning_logging.py OUT_DIR   (torch 2.13.0, pytorch-lightning 2.6.6; no random numbers are used)

lightning_logging.json:
- "hooks": for each hook, nine characters for on_step = unset, true, false (outer) and on_epoch = unset, true, false
  (inner): "." allowed, "H" the hook cannot log, "L" this level is not allowed there, "U" both off. "names" lists what
  an allowed call leaves in callback_metrics, logged_metrics and progress_bar_metrics.
- "cases": runs described by data, to be replayed. An entry of "log" is made in hook `fx` (of the module; on_sanity_*
  of a callback): its k-th call logs values[k % len(values)] with the options given. "metric" logs a metric object with
  that attribute name: `mean` (sum of what `update` got over the number of updates). Loaders are [samples, batch_size]
  and the loss is the sum of a parameter that starts at 0, with SGD of rate 0.1.
  "rows": [step, {name: value}] as the logger got them. "at": callback_metrics seen by a callback at that hook.
"""
import json
import logging
import math
import pathlib
import sys
import tempfile
import warnings

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics import MeanMetric

warnings.filterwarnings("ignore")
for name in ("pytorch_lightning", "lightning_fabric", "lightning.pytorch"):
    logging.getLogger(name).setLevel(logging.ERROR)

MODULE_HOOKS = [
    "configure_callbacks", "prepare_data", "setup", "configure_model", "configure_optimizers", "on_fit_start",
    "on_train_start", "on_train_epoch_start", "on_before_batch_transfer", "transfer_batch_to_device",
    "on_after_batch_transfer", "on_train_batch_start", "optimizer_step", "training_step", "on_before_zero_grad",
    "optimizer_zero_grad", "on_before_backward", "backward", "on_after_backward", "on_before_optimizer_step",
    "configure_gradient_clipping", "lr_scheduler_step", "on_train_batch_end", "on_validation_model_zero_grad",
    "on_validation_model_eval", "on_validation_start", "on_validation_epoch_start", "on_validation_batch_start",
    "validation_step", "on_validation_batch_end", "on_validation_epoch_end", "on_validation_end",
    "on_validation_model_train", "on_train_epoch_end", "on_train_end", "on_fit_end", "teardown", "on_save_checkpoint",
    "train_dataloader", "val_dataloader",
]
TEST_HOOKS = ["on_test_model_eval", "on_test_start", "on_test_epoch_start", "on_test_batch_start", "test_step",
              "on_test_batch_end", "on_test_epoch_end", "on_test_end", "on_test_model_train", "test_dataloader"]
PREDICT_HOOKS = ["on_predict_model_eval", "on_predict_start", "on_predict_epoch_start", "on_predict_batch_start",
                 "predict_step", "on_predict_batch_end", "on_predict_epoch_end", "on_predict_end",
                 "predict_dataloader"]
CALLBACK_HOOKS = ["on_sanity_check_start", "on_sanity_check_end"]


def loader(spec):
    samples, batch_size = spec
    return DataLoader(TensorDataset(torch.arange(samples, dtype=torch.float32).unsqueeze(1)), batch_size=batch_size)


class Base(pl.LightningModule):
    def __init__(self, train=(5, 2), val=((3, 2),)):
        super().__init__()
        self.w = torch.nn.Parameter(torch.zeros(1))
        self.mean = MeanMetric()
        self.specs = train, val

    def training_step(self, batch, batch_idx):
        return self.w.sum()

    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        return None

    def test_step(self, batch, batch_idx, dataloader_idx=0):
        return None

    def predict_step(self, batch, batch_idx, dataloader_idx=0):
        return batch[0]

    def configure_optimizers(self):
        sgd = torch.optim.SGD(self.parameters(), lr=0.1)
        return [sgd], [torch.optim.lr_scheduler.StepLR(sgd, 1)]

    def train_dataloader(self):
        return loader(self.specs[0])

    def val_dataloader(self):
        loaders = [loader(spec) for spec in self.specs[1]]
        return loaders[0] if len(loaders) == 1 else loaders

    test_dataloader = predict_dataloader = val_dataloader


class Rows(pl.loggers.logger.Logger):
    name = version = None

    def __init__(self):
        super().__init__()
        self.rows = []

    def log_metrics(self, metrics, step=None):
        self.rows.append([step, {k: number(v) for k, v in metrics.items()}])

    def log_hyperparams(self, *args, **kwargs):
        pass


def number(value):
    value = float(value)
    return str(value) if math.isnan(value) or math.isinf(value) else value


def numbers(metrics):
    return {k: number(v) for k, v in metrics.items()}


def logging_class(base, hooks, action):
    """A subclass whose hooks call action(self, hook) and then do what they did."""
    def make(hook):
        original = getattr(base, hook)

        def method(self, *args, **kwargs):
            action(self, hook)
            return original(self, *args, **kwargs)
        return method
    return type("Logging", (base,), {hook: make(hook) for hook in hooks})


QUIET = dict(enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, accelerator="cpu")


def run_of(hook):
    return "test" if hook in TEST_HOOKS else "predict" if hook in PREDICT_HOOKS else "fit"


def probe_hook(hook, tmp):
    letters, names = "", {}
    for on_step in (None, True, False):
        for on_epoch in (None, True, False):
            seen = {}

            def action(module, fx):
                try:
                    module.log("x", torch.tensor(1.0), prog_bar=True, on_step=on_step, on_epoch=on_epoch)
                except Exception as error:
                    text = str(error)
                    seen["letter"] = "U" if "not useful" in text else "L" if "must be one of" in text else "H"
                    if seen["letter"] == "H":
                        assert "inside `" in text or "predict" in text or "not managed" in text or "loop" in text, text
                    raise
                seen["letter"] = "."
            if hook in CALLBACK_HOOKS:
                callback = type("C", (pl.Callback,), {hook: lambda self, trainer, module: action(module, hook)})()
                module, callbacks = Base(), [callback]
            else:
                module, callbacks = logging_class(Base, [hook], action)(), []
            flags = dict(QUIET)
            if hook == "on_save_checkpoint":
                flags["enable_checkpointing"] = True
            trainer = pl.Trainer(max_epochs=1, logger=False, callbacks=callbacks, default_root_dir=tmp, **flags)
            try:
                getattr(trainer, run_of(hook))(module)
            except (MisconfigurationException, RuntimeError):
                assert seen["letter"] != "."
            assert seen, hook
            letters += seen["letter"]
            if seen["letter"] == ".":
                key = ",".join({None: "unset", True: "true", False: "false"}[v] for v in (on_step, on_epoch))
                names[key] = [sorted(trainer.callback_metrics), sorted(trainer.logged_metrics),
                              sorted(trainer.progress_bar_metrics)]
    if len(names) == 9 or names:
        kinds = []
        for key, value in names.items():
            kinds.append([key, *value])
        return {"allowed": letters, "names": kinds}
    return {"allowed": letters}


def entry(fx, name, values, **options):
    return {"fx": fx, "name": name, "values": values, **({"options": options} if options else {})}


T = "training_step"
V = "validation_step"
AT = ["on_train_batch_end", "on_train_epoch_end", "on_train_end", "on_validation_end"]
CASES = {
    # --- names and reductions ---
    "defaults": dict(log=[entry(T, "loss", [3, 1, 4]), entry(V, "val", [2, 7])], flags=dict(log_every_n_steps=1)),
    "step_and_epoch": dict(log=[entry(T, "loss", [3, 1, 4, 1, 5], on_step=True, on_epoch=True),
                                entry(V, "val", [2, 7], on_step=True, on_epoch=True)],
                           flags=dict(log_every_n_steps=1, max_epochs=2)),
    "epoch_only": dict(log=[entry(T, "loss", [3, 1, 4], on_step=False, on_epoch=True)], flags=dict(log_every_n_steps=1)),
    "eval_step_only": dict(log=[entry(V, "val", [2, 7, 1], on_step=True, on_epoch=False)], flags=dict(log_every_n_steps=2)),
    "reductions": dict(log=[entry(T, f, [3, 1, 4, 1, 5], on_epoch=True, on_step=False, reduce_fx=f)
                            for f in ("mean", "sum", "min", "max")], flags=dict(log_every_n_steps=1, max_epochs=2)),
    "reductions_and_step": dict(log=[entry(T, f, [3, 1, 4, 1, 5], on_epoch=True, on_step=True, reduce_fx=f)
                                     for f in ("mean", "sum", "min", "max")], flags=dict(log_every_n_steps=1)),
    "mean_weighs_batches": dict(train=[7, 3], log=[entry(T, "x", [1, 2, 10], on_epoch=True),
                                                  entry(T, "own", [1, 2, 10], on_epoch=True, batch_size=5)]),
    "prog_bar": dict(log=[entry(T, "a", [3, 1, 4], prog_bar=True), entry(T, "b", [5, 6, 7], prog_bar=True, on_epoch=True),
                          entry(V, "c", [8, 9], prog_bar=True), entry(V, "d", [1, 2], prog_bar=True, on_step=True)]),
    "no_logger": dict(log=[entry(T, "a", [3, 1, 4], logger=False), entry(T, "b", [1], on_epoch=True, logger=False),
                           entry(V, "c", [8, 9], logger=False), entry(T, "d", [5])], flags=dict(log_every_n_steps=1)),
    "nan_and_inf": dict(log=[entry(T, f, [1, "nan", 2], on_epoch=True, reduce_fx=f) for f in ("mean", "sum", "min", "max")]
                        + [entry(T, "inf", ["inf", 1, 2], on_epoch=True)]),
    # --- the same name more than once ---
    "twice_in_one_hook": dict(log=[entry(T, "q", [1, 2, 3], on_epoch=True), entry(T, "q", [5, 6, 9], on_epoch=True)],
                              flags=dict(log_every_n_steps=1)),
    "twice_with_other_options": dict(log=[entry(T, "q", [1]), entry(T, "q", [2], prog_bar=True)]),
    "twice_with_other_reduction": dict(log=[entry(T, "q", [1], on_epoch=True),
                                            entry(T, "q", [2], on_epoch=True, reduce_fx="max")]),
    "twice_with_other_batch_size": dict(log=[entry(T, "q", [1, 2, 3], on_epoch=True, batch_size=1),
                                             entry(T, "q", [5, 6, 9], on_epoch=True, batch_size=3)]),
    "in_two_hooks": dict(log=[entry("on_train_batch_start", "q", [1, 2, 3], on_epoch=True),
                              entry(T, "q", [10, 20, 30], on_epoch=True)], flags=dict(log_every_n_steps=1)),
    "in_two_stages": dict(log=[entry(T, "q", [1, 2, 3], on_epoch=True), entry(V, "q", [10, 20])],
                          flags=dict(log_every_n_steps=1, max_epochs=2)),
    "in_step_and_epoch_hook": dict(log=[entry(T, "q", [1, 2, 3]), entry("on_train_epoch_end", "q", [10, 20])],
                                   flags=dict(log_every_n_steps=1, max_epochs=2)),
    "only_in_some_batches": dict(log=[entry(T, "x", [1, None, 3], on_epoch=True), entry(T, "y", [None, 5, None])],
                                 flags=dict(log_every_n_steps=1, max_epochs=2)),
    "only_in_the_first_epoch": dict(log=[entry(T, "x", [1, 2, 3, None, None, None], on_epoch=True)],
                                    flags=dict(log_every_n_steps=1, max_epochs=2)),
    # --- other hooks ---
    "epoch_hooks": dict(log=[entry(fx, fx[3:], [1, 2]) for fx in
                             ("on_train_start", "on_train_epoch_start", "on_train_epoch_end", "on_validation_start",
                              "on_validation_epoch_start", "on_validation_epoch_end")], flags=dict(max_epochs=2)),
    "batch_hooks": dict(log=[entry(fx, fx, [1, 2, 3], on_step=True, on_epoch=True) for fx in
                             ("on_train_batch_start", "on_before_zero_grad", "on_before_backward", "on_after_backward",
                              "on_before_optimizer_step", "on_train_batch_end", "on_validation_batch_start",
                              "on_validation_batch_end")], flags=dict(log_every_n_steps=1)),
    "optimizer_hooks": dict(log=[entry(fx, fx, [1, 2, 3]) for fx in
                                 ("backward", "optimizer_step", "optimizer_zero_grad", "configure_gradient_clipping")],
                            flags=dict(log_every_n_steps=1)),
    "sanity_check_leaves_nothing": dict(log=[entry(V, "val", [100, 100, 2, 7])],
                                        flags=dict(num_sanity_val_steps=2, max_epochs=1), val=[[4, 2]]),
    # --- when and where rows go ---
    "every_2_steps": dict(train=[7, 1], log=[entry(T, "x", [0, 1, 2, 3, 4, 5, 6])], flags=dict(log_every_n_steps=2)),
    "every_3_steps_over_epochs": dict(train=[4, 1], log=[entry(T, "x", list(range(12)), on_step=True, on_epoch=True)],
                                      flags=dict(log_every_n_steps=3, max_epochs=3)),
    "never": dict(train=[4, 1], log=[entry(T, "x", [1, 2, 3, 4], on_epoch=True, on_step=True),
                                     entry(V, "v", [1, 2], on_step=True)], flags=dict(log_every_n_steps=0)),
    "accumulation": dict(train=[5, 1], log=[entry(T, "x", list(range(10)), on_step=True, on_epoch=True)],
                         flags=dict(log_every_n_steps=1, accumulate_grad_batches=2, max_epochs=2)),
    "accumulation_every_2": dict(train=[7, 1], log=[entry(T, "x", list(range(14)))],
                                 flags=dict(log_every_n_steps=2, accumulate_grad_batches=2, max_epochs=2)),
    "mid_epoch_validation": dict(train=[6, 1], log=[entry(T, "x", list(range(12)), on_step=True, on_epoch=True),
                                                    entry(V, "v", list(range(12)), on_step=True, on_epoch=True)],
                                 flags=dict(log_every_n_steps=1, val_check_interval=2, max_epochs=2)),
    "mid_epoch_validation_in_a_window": dict(train=[6, 1], log=[entry(T, "x", list(range(6)), on_epoch=True),
                                                                entry(V, "v", list(range(6)))],
                                             flags=dict(log_every_n_steps=1, val_check_interval=3, accumulate_grad_batches=2)),
    "max_steps": dict(train=[6, 1], log=[entry(T, "x", list(range(6)), on_epoch=True), entry(V, "v", [1, 2])],
                      flags=dict(log_every_n_steps=3, max_steps=4, max_epochs=5)),
    "fast_dev_run": dict(train=[6, 1], log=[entry(T, "x", list(range(6)), on_epoch=True), entry(V, "v", [1, 2])],
                         flags=dict(fast_dev_run=2)),
    "stop_logs_the_step": dict(train=[6, 1], stop_at=3, log=[entry(T, "x", list(range(6))), entry(V, "v", [1, 2])],
                               flags=dict(log_every_n_steps=50, max_epochs=5)),
    "step_metric_moves_the_axis": dict(train=[4, 1], log=[entry(T, "x", [1, 2, 3, 4]), entry(T, "step", [10, 20, 30, 40])],
                                       flags=dict(log_every_n_steps=1)),
    "step_metric_for_the_epoch": dict(train=[3, 1], log=[entry("on_train_epoch_end", "x", [1, 2]),
                                                         entry("on_train_epoch_end", "step", [7, 8])], flags=dict(max_epochs=2)),
    "epoch_metric_is_the_users": dict(train=[3, 1], log=[entry(T, "x", [1, 2, 3]), entry(T, "epoch", [0.25, 0.5, 0.75])],
                                      flags=dict(log_every_n_steps=1)),
    "skipped_batches": dict(train=[4, 1], skip=[1], log=[entry(T, "x", [1, 2, 3, 4], on_step=True, on_epoch=True)],
                            flags=dict(log_every_n_steps=1)),
    # --- several loaders ---
    "two_val_loaders": dict(val=[[3, 2], [4, 2]], log=[entry(V, "v", [1, 2, 10, 20]), entry(V, "s", [1, 2, 3, 4], on_step=True)],
                            flags=dict(max_epochs=1)),
    "two_val_loaders_one_name": dict(val=[[3, 2], [4, 2]],
                                     log=[entry(V, "v", [1, 2, 10, 20], add_dataloader_idx=False)], flags=dict(max_epochs=1)),
    "two_val_loaders_epoch_end": dict(val=[[3, 2], [4, 2]], log=[entry(V, "v", [1, 2, 10, 20]),
                                                                 entry("on_validation_epoch_end", "all", [5]),
                                                                 entry("on_validation_batch_end", "b", [1, 2, 3, 4])]),
    "suffix_in_the_name": dict(log=[entry(V, "v/dataloader_idx_0", [1])]),
    "suffix_in_the_name_by_hand": dict(log=[entry(V, "v/dataloader_idx_0", [1], add_dataloader_idx=False)]),
    # --- metric objects ---
    "metric_object": dict(log=[dict(entry(T, "m", [1, 2, 6, 10, 11, 15], on_step=False, on_epoch=True), metric="mean")],
                          flags=dict(max_epochs=2)),
    "metric_object_in_validation": dict(log=[dict(entry(V, "m", [1, 5, 2, 3]), metric="mean")], flags=dict(max_epochs=2)),
    # --- stages alone ---
    "validate": dict(run="validate", val=[[3, 2]], log=[entry(V, "v", [1, 4], on_step=True, on_epoch=True), entry(V, "w", [2, 3])]),
    "test": dict(run="test", val=[[3, 2]], log=[entry("test_step", "t", [1, 4]), entry("on_test_epoch_end", "e", [9])]),
    "test_two_loaders": dict(run="test", val=[[3, 2], [4, 2]],
                             log=[entry("test_step", "t", [1, 4, 2, 3]), entry("on_test_epoch_end", "e", [9]),
                                  entry("test_step", "plain", [1, 4, 2, 3], add_dataloader_idx=False)]),
    "predict": dict(run="predict", log=[entry("predict_step", "p", [1])]),
    "manual_optimization": dict(train=[4, 1], manual=2, log=[entry(T, "x", [1, 2, 3, 4], on_step=True, on_epoch=True)],
                                flags=dict(log_every_n_steps=1)),
    "both_off": dict(log=[entry(T, "x", [1], on_step=False, on_epoch=False)]),
}


def run_case(case, tmp, watch):
    calls = {}

    def act(module, fx):
        for i, e in enumerate(case["log"]):
            if e["fx"] != fx:
                continue
            k = calls.get(i, 0)
            calls[i] = k + 1
            value = e["values"][k % len(e["values"])]
            if value is None:
                continue
            options = e.get("options", {})
            if "metric" in e:
                module.mean.update(torch.tensor(float(value)))
                module.log(e["name"], module.mean, **options)
            else:
                module.log(e["name"], torch.tensor(float(value)), **options)

    class Module(Base):
        def training_step(self, batch, batch_idx):
            if case.get("manual"):
                for optimizer in self.optimizers():
                    loss = self.w.sum()
                    optimizer.zero_grad()
                    self.manual_backward(loss)
                    optimizer.step()
                return None
            if case.get("stop_at") == self.trainer.fit_loop.epoch_loop.total_batch_idx + 1:
                self.trainer.should_stop = True
            return None if batch_idx in case.get("skip", []) else self.w.sum()

        def configure_optimizers(self):
            if case.get("manual"):
                return [torch.optim.SGD(self.parameters(), lr=0.1) for _ in range(case["manual"])]
            return torch.optim.SGD(self.parameters(), lr=0.1)

    at = {hook: [] for hook in AT}

    class Watch(pl.Callback):
        pass

    for hook in AT:
        setattr(Watch, hook, lambda self, trainer, *args, hook=hook: at[hook].append(numbers(trainer.callback_metrics)))
    logger = Rows()
    flags = {**QUIET, "max_epochs": 1, "num_sanity_val_steps": 0, **case.get("flags", {})}
    trainer = pl.Trainer(logger=logger, callbacks=[Watch()] if watch else [], default_root_dir=tmp, **flags)
    module = logging_class(Module, dict.fromkeys(e["fx"] for e in case["log"]), act)(
        case.get("train", [5, 2]), case.get("val", [[3, 2]]))
    module.automatic_optimization = "manual" not in case
    out, result = {}, None
    run = case.get("run", "fit")
    try:
        if run in ("validate", "test"):
            result = getattr(trainer, run)(module, verbose=False)
        else:
            getattr(trainer, run)(module)
    except (MisconfigurationException, RuntimeError, ValueError) as error:
        return {"error": type(error).__name__}
    if result is not None:
        out["result"] = [numbers(r) for r in result]
    out["rows"] = logger.rows
    out["callback_metrics"] = numbers(trainer.callback_metrics)
    out["logged_metrics"] = numbers(trainer.logged_metrics)
    out["progress_bar_metrics"] = numbers(trainer.progress_bar_metrics)
    if watch:
        out["at"] = {hook: seen for hook, seen in at.items() if seen}
    return out


def dump(value, indent=0, depth=2):
    """JSON with one line an item below `depth` levels."""
    if depth and isinstance(value, dict) and value:
        pad = " " * (indent + 1)
        items = [f"{pad}{json.dumps(k)}: {dump(v, indent + 1, depth - 1)}" for k, v in value.items()]
        return "{\n" + ",\n".join(items) + "\n" + " " * indent + "}"
    return json.dumps(value)


def main(out):
    with tempfile.TemporaryDirectory() as tmp:
        hooks = {hook: probe_hook(hook, tmp) for hook in MODULE_HOOKS + TEST_HOOKS + PREDICT_HOOKS + CALLBACK_HOOKS}
        cases = {}
        for label, case in CASES.items():
            plain, watched = run_case(case, tmp, watch=False), run_case(case, tmp, watch=True)
            assert plain == {k: v for k, v in watched.items() if k != "at"}, label
            cases[label] = {**case, **watched}
    versions = {"torch": torch.__version__, "pytorch_lightning": pl.__version__, "script": "lightning_logging.py"}
    text = dump({"versions": versions, "hooks": hooks, "cases": cases}, depth=3)
    (pathlib.Path(out) / "lightning_logging.json").write_text(text + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
