"""The command line from outside: real data in, files, tables and exit codes out.

Usage: end_to_end.py LEVIN_BINARY DATA_FOLDER
"""
import csv
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time
import unittest

LEVIN, DATA = sys.argv[1], pathlib.Path(sys.argv[2]).resolve()


def levin(*arguments, cwd, expect=0):
    done = subprocess.run([LEVIN, *map(str, arguments)], cwd=cwd, capture_output=True, text=True, timeout=300)
    if expect is not None and done.returncode != expect:
        raise AssertionError(f"levin {' '.join(map(str, arguments))} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
    return done


def rows_of(path):
    with open(path) as file:
        return list(csv.DictReader(file))


def table(text, name):
    """The cells of the line of a printed table that starts with `name`."""
    for line in text.splitlines():
        if line.startswith(name):
            return re.split(r"  +", line.strip())
    raise AssertionError(f"no line {name!r} in:\n{text}")


class Case(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.cwd = pathlib.Path(self.folder.name)

    def write(self, name, text):
        path = self.cwd / name
        path.write_text(text)
        return path

    def error(self, *arguments):
        done = levin(*arguments, cwd=self.cwd, expect=2)
        lines = done.stderr.rstrip("\n").split("\n")
        errors = [line for line in lines if line.startswith("levin: error: ")]
        self.assertEqual(errors, lines[-1:], done.stderr)  # one paragraph, the last
        return lines[-1]


class Fit(Case):
    def test_digits_with_defaults(self):
        done = levin("fit", "--data", DATA / "digits/digits.csv", "--target", "target", cwd=self.cwd)
        self.assertGreaterEqual(float(table(done.stdout, "acc")[2]), 0.96)
        run = self.cwd / "runs/fit-digits/version_0"
        rows = rows_of(run / "metrics.csv")
        self.assertEqual(len([row for row in rows if row["val_acc"]]), 20)
        for name in ("config.yaml", "hparams.yaml", "checkpoints/best.ckpt", "checkpoints/last.ckpt"):
            self.assertTrue((run / name).exists(), name)

        # The saved model tests and predicts without anything else.
        best = run / "checkpoints/best.ckpt"
        done = levin("test", "--ckpt_path", best, "--data", DATA / "digits/digits.csv", cwd=self.cwd)
        self.assertGreaterEqual(float(table(done.stdout, "test_acc")[1]), 0.97)
        levin("predict", "--ckpt_path", best, "--data", DATA / "digits/digits.csv", "--out", "pred.csv", cwd=self.cwd)
        predictions = rows_of(self.cwd / "pred.csv")
        truth = [row["target"] for row in rows_of(DATA / "digits/digits.csv")]
        self.assertEqual(len(predictions), len(truth))
        self.assertGreater(sum(p["target"] == t for p, t in zip(predictions, truth)) / len(truth), 0.97)
        self.assertAlmostEqual(sum(float(predictions[0][f"p({c})"]) for c in range(10)), 1, places=5)

        # The same configuration gives the same numbers.
        levin("fit", "--config", run / "config.yaml", cwd=self.cwd)
        self.assertEqual((run / "metrics.csv").read_text(), (self.cwd / "runs/fit-digits/version_1/metrics.csv").read_text())

    def test_texts_and_missing_values(self):
        for categorical in ("onehot", "embedding"):
            done = levin("fit", "--data", DATA / "penguins/penguins.csv", "--target", "target", "--data.categorical", categorical,
                         "--trainer.max_epochs", 40, cwd=self.cwd)
            self.assertIn("classification", done.stderr)
            self.assertGreaterEqual(float(table(done.stdout, "acc")[2]), 0.9)
        best = self.cwd / "runs/fit-penguins/version_1/checkpoints/best.ckpt"
        levin("predict", "--ckpt_path", best, "--data", DATA / "penguins/penguins.csv", "--out", "pred.csv", cwd=self.cwd)
        species = {row["target"] for row in rows_of(self.cwd / "pred.csv")}
        self.assertEqual(species, {"Adelie", "Chinstrap", "Gentoo"})

    def test_regression(self):
        done = levin("fit", "--data", DATA / "diabetes/diabetes.csv", "--target", "target", "--trainer.max_epochs", 60,
                     "--optimizer.weight_decay", 0.1, cwd=self.cwd)
        self.assertIn("regression", done.stderr)
        self.assertGreater(float(table(done.stdout, "r2")[1]), 0.3)
        best = self.cwd / "runs/fit-diabetes/version_0/checkpoints/best.ckpt"
        levin("predict", "--ckpt_path", best, "--data", DATA / "diabetes/diabetes.csv", "--out", "pred.csv", cwd=self.cwd)
        values = [float(row["target"]) for row in rows_of(self.cwd / "pred.csv")]
        self.assertTrue(100 < sum(values) / len(values) < 200)  # in the target's own units

    def test_binary(self):
        rows = "".join(f"{x / 10},{'yes' if x > 0 else 'no'}\n" for x in range(-100, 100))
        self.write("signs.csv", "x,positive\n" + rows)
        done = levin("fit", "--data", "signs.csv", "--target", "positive", "--trainer.max_epochs", 50, cwd=self.cwd)
        self.assertIn("binary", done.stderr)
        self.assertGreaterEqual(float(table(done.stdout, "acc")[2]), 0.9)
        levin("predict", "--ckpt_path", "runs/fit-signs/version_0/checkpoints/best.ckpt", "--data", "signs.csv", "--out", "p.csv", cwd=self.cwd)
        self.assertEqual(list(rows_of(self.cwd / "p.csv")[0]), ["positive", "p(no)", "p(yes)"])

    def test_interrupt_saves_and_resumes_to_the_same_bits(self):
        base = ["fit", "--data", DATA / "digits/digits.csv", "--target", "target", "--model.dropout", 0.2, "--data.noise", 0.1,
                "--trainer.max_epochs", 60, "--scheduler.name", "cosine", "--trainer.enable_progress_bar", "false"]
        levin(*base, "--name", "whole", cwd=self.cwd)
        process = subprocess.Popen([LEVIN, *map(str, base), "--name", "cut"], cwd=self.cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        metrics = self.cwd / "runs/cut/version_0/checkpoints/last.ckpt"
        for _ in range(1000):
            if metrics.exists():
                break
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 130, err)
        self.assertIn("interrupted after", err)
        cut = self.cwd / "runs/cut/version_0/checkpoints/interrupted.ckpt"
        levin(*base, "--name", "resumed", "--ckpt_path", cut, cwd=self.cwd)

        def last(name):
            return rows_of(self.cwd / f"runs/{name}/version_0/metrics.csv")[-1]
        self.assertEqual(last("resumed"), last("whole"))


class Tune(Case):
    def test_default_space(self):
        done = levin("tune", "--data", DATA / "penguins/penguins.csv", "--target", "target", "--tune.trials", 12, "--trainer.max_epochs", 8, cwd=self.cwd)
        for key in ("optimizer.lr", "optimizer.name", "data.batch_size", "model.layers", "model.width", "model.activation", "model.dropout",
                    "optimizer.weight_decay", "model.init", "data.noise", "data.mixup", "scheduler.name", "model.skip", "model.norm",
                    "trainer.early_stopping_patience"):
            table(done.stdout, key)
        tuned = table(done.stdout, "tuned")
        self.assertLessEqual(float(tuned[2]), 1.1 * float(table(done.stdout, "untuned default")[2]))  # the first trial
        table(done.stdout, "linear baseline")
        run = self.cwd / "runs/tune-penguins/version_0"
        checkpoint = next((run / "checkpoints").glob("trial-*.ckpt"))
        levin("test", "--ckpt_path", checkpoint, "--data", DATA / "penguins/penguins.csv", cwd=self.cwd)
        url = f"sqlite:///{run.relative_to(self.cwd)}/study.db"
        self.assertIn("tune-penguins", levin("study", "list", "--storage", url, cwd=self.cwd).stdout)
        trials = levin("study", "trials", "--storage", url, "--format", "csv", cwd=self.cwd).stdout
        self.assertEqual(len(trials.strip().splitlines()), 13)
        # The best settings are a configuration of their own, and the study goes on.
        levin("fit", "--config", run / "best.yaml", cwd=self.cwd)
        levin("tune", "--data", DATA / "penguins/penguins.csv", "--target", "target", "--tune.trials", 3, "--trainer.max_epochs", 8,
              "--tune.storage", url, cwd=self.cwd)
        trials = levin("study", "trials", "--storage", url, "--format", "csv", cwd=self.cwd).stdout
        self.assertEqual(len(trials.strip().splitlines()), 16)

    def test_embedded_texts(self):
        penguins = ["--data", DATA / "penguins/penguins.csv", "--target", "target", "--data.categorical", "embedding"]
        done = levin("tune", *penguins, "--tune.trials", 6, "--trainer.max_epochs", 4, cwd=self.cwd)
        self.assertIn(" 0 failed", done.stdout)
        self.assertNotIn("data.mixup", done.stdout)  # codes cannot be blended
        self.assertIn("onehot", self.error("fit", *penguins, "--data.mixup", 0.2))

    def test_given_distributions_and_jobs(self):
        self.write("space.yaml", "optimizer:\n  lr: loguniform(1e-3, 1e-1)\nmodel.width: choice(8, 16)\n")
        done = levin("tune", "--config", "space.yaml", "--data", DATA / "penguins/penguins.csv", "--target", "target",
                     "--model.dropout", "uniform(0, 0.3)", "--tune.trials", 8, "--tune.jobs", 2, "--tune.pruner", "halving",
                     "--tune.sampler", "random", "--trainer.max_epochs", 4, cwd=self.cwd)
        names = re.findall(r"^(?:optimizer|model|data|scheduler|trainer)\.\w+", done.stdout, re.M)
        self.assertEqual(sorted(names), ["model.dropout", "model.width", "optimizer.lr"])

    def test_a_diverging_trial_fails_and_the_study_goes_on(self):
        done = levin("tune", "--data", DATA / "diabetes/diabetes.csv", "--target", "target", "--optimizer.name", "sgd",
                     "--optimizer.lr", "choice(0.001, 1e30)", "--tune.sampler", "grid", "--tune.trials", 2, "--tune.pruner", "none",
                     "--trainer.max_epochs", 5, cwd=self.cwd)
        self.assertIn("2 trials: 1 complete, 0 pruned, 1 failed", done.stdout)

    def test_interrupt_prints_the_best_so_far(self):
        process = subprocess.Popen([LEVIN, "tune", "--data", str(DATA / "penguins/penguins.csv"), "--target", "target", "--tune.timeout", "120s"],
                                   cwd=self.cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(3000):
            if list(self.cwd.glob("runs/*/*/checkpoints/trial-*.ckpt")):
                break
            time.sleep(0.01)
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 130, err)
        table(out, "tuned")
        self.assertNotIn("RUNNING", levin("study", "trials", "--storage", "sqlite:///runs/tune-penguins/version_0/study.db", cwd=self.cwd).stdout)


class Mistakes(Case):
    def test_each_is_one_paragraph_with_a_suggestion(self):
        digits = DATA / "digits/digits.csv"
        self.assertIn('did you mean "optimizer.lr"?', self.error("fit", "--data", digits, "--target", "target", "--optimizer.lrr", 1))
        self.assertIn('did you mean "adam"?', self.error("fit", "--data", digits, "--target", "target", "--optimizer.name", "adamx"))
        self.assertIn('did you mean "target"', self.error("fit", "--data", digits, "--target", "targt"))
        self.assertIn("did you mean", self.error("fit", "--data", str(digits).replace("digits.csv", "digit.csv"), "--target", "target"))
        self.write("empty.csv", "")
        self.assertIn("empty", self.error("fit", "--data", "empty.csv", "--target", "y"))
        self.write("one.csv", "x,y\n" + "1,a\n2,a\n3,a\n" * 20)
        self.assertIn("class", self.error("fit", "--data", "one.csv", "--target", "y"))
        self.write("bare.csv", "x,y\n" + ",a\n,b\n" * 20)
        self.assertIn('"x"', self.error("fit", "--data", "bare.csv", "--target", "y"))
        self.write("inf.csv", "x,y\n" + "1,a\ninf,b\n" * 20)
        self.assertIn("inf", self.error("fit", "--data", "inf.csv", "--target", "y"))
        self.write("config.yaml", "optimizer:\n  lr: fast\n")
        self.assertIn("config.yaml:2", self.error("fit", "--config", "config.yaml", "--data", digits, "--target", "target"))
        self.assertIn("ckpt_path", self.error("test", "--data", digits))
        self.write("bad.ckpt", "not a checkpoint")
        self.assertIn("bad.ckpt", self.error("test", "--data", digits, "--ckpt_path", "bad.ckpt"))

    def test_a_checkpoint_of_other_data(self):
        levin("fit", "--data", DATA / "penguins/penguins.csv", "--target", "target", "--trainer.max_epochs", 1, cwd=self.cwd)
        best = "runs/fit-penguins/version_0/checkpoints/best.ckpt"
        self.assertIn("island", self.error("predict", "--ckpt_path", best, "--data", DATA / "digits/digits.csv"))
        self.assertIn("another model", self.error("fit", "--data", DATA / "digits/digits.csv", "--target", "target", "--ckpt_path", best))


class Workers(Case):
    """Others join a search by the name of its study, and finish what the dead left."""

    SEARCH = ("--data", DATA / "digits/digits.csv", "--target", "target", "--model.width", "choice(128)",
              "--optimizer.lr", "loguniform(1e-3,1e-2)", "--tune.pruner", "none")

    def trials(self, storage):
        done = levin("study", "trials", "--storage", storage, "--format", "csv", cwd=self.cwd)
        return list(csv.DictReader(done.stdout.splitlines()))

    def test_a_killed_trial_goes_on_from_its_own_checkpoint(self):
        search = [*self.SEARCH, "--tune.trials", 1, "--trainer.max_epochs", 500, "--tune.heartbeat", "0.5s",
                  "--tune.checkpoint_interval", "0.3s", "--name", "s"]
        levin("tune", *search, "--tune.storage", "whole.db", cwd=self.cwd)
        process = subprocess.Popen([LEVIN, "tune", *map(str, search), "--tune.storage", "killed.db"], cwd=self.cwd,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        checkpoint = self.cwd / "killed.db.checkpoints/s/0/trial.ckpt"
        for _ in range(1000):
            if checkpoint.exists() or process.poll() is not None:
                break
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
        self.assertTrue(checkpoint.exists())
        done = levin("worker", "--storage", "killed.db", "--study", "s", "--until", 1, cwd=self.cwd)
        self.assertIn("trial 1 goes on from", done.stderr)
        whole, killed = self.trials("whole.db"), self.trials("killed.db")
        self.assertEqual([trial["state"] for trial in killed], ["fail", "complete"])
        self.assertEqual(killed[1]["value"], whole[0]["value"])  # to the last bit: nothing was lost or done twice
        self.assertFalse(checkpoint.parent.exists())  # what nobody needs any more is cleared away

    def test_workers_join_and_leave(self):
        search = [*self.SEARCH, "--tune.trials", 12, "--trainer.max_epochs", 30, "--name", "s", "--tune.storage", "s.db"]
        process = subprocess.Popen([LEVIN, "tune", *map(str, search)], cwd=self.cwd, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, text=True)
        for _ in range(1000):
            if (self.cwd / "s.db").exists() and levin("study", "show", "--storage", "s.db", "--study", "s", cwd=self.cwd,
                                                      expect=None).returncode == 0:
                break
            time.sleep(0.01)
        # The study tells them what to train; a folder of their own does not disturb them.
        (self.cwd / "elsewhere").mkdir()
        for _ in range(200):
            joined = levin("worker", "--storage", "../s.db", "--study", "s", "--trials", 3, cwd=self.cwd / "elsewhere",
                           expect=None)
            if "must be told what to run" not in joined.stderr:
                break  # else it came before levin tune had described the search
        self.assertEqual(joined.returncode, 0, joined.stderr)
        out, err = process.communicate(timeout=300)
        self.assertEqual(process.returncode, 0, err)
        trials = self.trials("s.db")
        self.assertIn(len(trials), (12, 13, 14, 15), out)
        self.assertEqual({trial["state"] for trial in trials}, {"complete"})
        self.assertIn("tuned (trial ", out)

    def test_mistakes(self):
        levin("tune", *self.SEARCH, "--tune.trials", 1, "--trainer.max_epochs", 1, "--name", "s", "--tune.storage", "s.db",
              cwd=self.cwd)
        head = ("worker", "--storage", "s.db", "--study", "s")
        self.assertIn("takes no --command", self.error(*head, "--command", "true"))
        other = self.write("other.csv", "a,target\n1,x\n2,y\n")
        self.assertIn("not the table that the study is about", self.error(*head, "--data", other))
        self.assertIn("named by its number", self.error(*head, "--devices", "a", "--trials", "1"))


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
