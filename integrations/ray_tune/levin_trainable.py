"""LevinTrainable: `levin fit` as a trainable of Ray Tune, an epoch a step.

    import ray.tune, levin_trainable
    trainable = levin_trainable.of(data="/shared/digits.csv", target="target")
    tuner = ray.tune.Tuner(
        trainable,
        param_space={"optimizer.lr": ray.tune.loguniform(1e-4, 1e-1), "model.width": ray.tune.choice([64, 128])},
        tune_config=ray.tune.TuneConfig(metric="val_loss", mode="min", num_samples=20,
                                        scheduler=ray.tune.schedulers.ASHAScheduler(max_t=20)))
    best = tuner.fit().get_best_result()

Each trial is a process of the `levin` binary (LEVIN, or the one in PATH, on every node); the keys of its config are
settings, as `levin fit --help` lists them. What the training logs are the metrics: val_loss, val_acc, train_loss and so
on. Checkpoints are Levin's (Lightning opens them), so schedulers may pause, clone and mutate trials.
"""
import json
import os
import pathlib
import shutil
import subprocess
import sys

from ray import cloudpickle, tune

# Nodes need not have this file: the class travels with the trials.
cloudpickle.register_pickle_by_value(sys.modules[__name__])


class LevinTrainable(tune.Trainable):
    settings = {}  # of all trials; a trial's config comes on top

    def setup(self, config):
        self.ckpt = self.process = None
        self.last = {}

    def begin(self):
        settings = {"trainer.max_epochs": 1000, "trainer.enable_progress_bar": "false", **self.settings, **self.config}
        settings.update({"run_dir": self.logdir, "name": "levin", "reports": "-"})
        if self.ckpt:
            settings["ckpt_path"] = self.ckpt
        command = [os.environ.get("LEVIN", "levin"), "fit", *(f"--{key}={value}" for key, value in settings.items())]
        self.errors = open(os.path.join(self.logdir, "levin.log"), "a+")
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self.errors, text=True)

    def step(self):
        if self.process is None:
            self.begin()
        for line in self.process.stdout:
            if line.startswith('{"step"'):
                self.last = json.loads(line)
                return dict(self.last)
        if self.process.wait() != 0:
            self.errors.seek(0)
            raise RuntimeError("levin fit failed: " + self.errors.read()[-2000:])
        return {**self.last, "done": True}  # all epochs are over, or the training stopped early

    def save_checkpoint(self, folder):
        # A line comes once its epoch's checkpoint is written, so the newest is of the last step.
        runs = sorted(pathlib.Path(self.logdir, "levin").glob("version_*"), key=lambda run: int(run.name.split("_")[1]))
        shutil.copy(runs[-1] / "checkpoints/last.ckpt", os.path.join(folder, "levin.ckpt"))

    def load_checkpoint(self, folder):
        self.cleanup()
        self.ckpt = os.path.join(self.logdir, "resumed.ckpt")
        shutil.copy(os.path.join(folder, "levin.ckpt"), self.ckpt)

    def reset_config(self, config):
        self.cleanup()
        self.ckpt = None
        return True

    def cleanup(self):
        if self.process is not None:
            self.process.terminate()
            self.process.wait()
            self.process = None


def of(**settings):
    """A trainable of these settings, named as `levin fit` names them, "." written as "__": trainer__num_threads=2."""
    return type("LevinTrainable", (LevinTrainable,), {"settings": {k.replace("__", "."): v for k, v in settings.items()}})
