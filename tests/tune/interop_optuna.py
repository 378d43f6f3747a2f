"""Levin and Optuna 5 work on one SQLite study, in turns and at once.

Usage: interop_optuna.py WORKER. Needs a Python with Optuna: the one that LEVIN_ORACLE_PYTHON names, the project's
.bench-venv, or the one that runs this. Exits with 77 (skipped) when there is none.
"""

import json
import math
import os
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]


def find_python():
    candidates = [os.environ.get("LEVIN_ORACLE_PYTHON"), str(ROOT / ".bench-venv/bin/python"), sys.executable]
    for python in filter(None, candidates):
        try:
            done = subprocess.run([python, "-c", "import optuna; print(optuna.__version__)"], capture_output=True, text=True)
        except OSError:
            continue
        if done.returncode == 0 and done.stdout.startswith("5."):
            return python
    return None


if "LEVIN_INTEROP_CHILD" not in os.environ:
    python = find_python()
    if python is None:
        print("skipped: no Python with Optuna 5; set LEVIN_ORACLE_PYTHON or install optuna==5.0.0 into .bench-venv")
        sys.exit(77)
    sys.exit(subprocess.run([python, *sys.argv], env={**os.environ, "LEVIN_INTEROP_CHILD": "1"}).returncode)

import optuna  # noqa: E402

optuna.logging.set_verbosity(optuna.logging.ERROR)
WORKER = sys.argv[1]


def worker(*args, **kwargs):
    return subprocess.run([WORKER, *map(str, args)], check=True, stdout=subprocess.PIPE, text=True, **kwargs).stdout


def dump(url, name):
    return json.loads(worker("dump", url, name))


def same(a, b):
    """Equal with equal types, NaN equal to NaN."""
    if isinstance(a, float) and isinstance(b, float) and math.isnan(a) and math.isnan(b):
        return True
    if isinstance(a, dict) and isinstance(b, dict):
        return list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and a == b


def micros(time):
    return None if time is None else round(time.astimezone().timestamp() * 1e6)


def compare(url, name):
    """What Levin reads is what Optuna reads."""
    study = optuna.load_study(study_name=name, storage=url)
    mine = dump(url, name)
    assert same(mine["user_attrs"], study.user_attrs), (mine["user_attrs"], study.user_attrs)
    assert len(mine["trials"]) == len(study.trials)
    for ours, theirs in zip(mine["trials"], study.trials):
        expected = {
            "number": theirs.number, "state": theirs.state.name, "values": theirs.values or [], "params": theirs.params,
            "distributions": {k: optuna.distributions.distribution_to_json(d) for k, d in theirs.distributions.items()},
            "reports": [[s, v] for s, v in sorted(theirs.intermediate_values.items())],
            "user_attrs": theirs.user_attrs, "system_attrs": theirs.system_attrs,
            "start": micros(theirs.datetime_start), "complete": micros(theirs.datetime_complete),
        }
        for key, value in expected.items():
            if key.endswith("attrs"):
                assert sorted(ours[key]) == sorted(value), (theirs.number, key, ours[key], value)
                value = {k: value[k] for k in ours[key]}
            assert same(ours[key], value), (theirs.number, key, ours[key], value)
    return study


def objective(trial):
    x = trial.suggest_float("x", -5, 5)
    lr = trial.suggest_float("lr", 1e-5, 1e-1, log=True)
    s = trial.suggest_float("s", 0, 2, step=0.25)
    n = trial.suggest_int("n", 1, 9, step=2)
    k = trial.suggest_int("k", 1, 100, log=True)
    c = trial.suggest_categorical("c", [None, False, 2, 0.5, "a"])
    if c is None:
        trial.suggest_float("only_null", 0, 1)
    trial.set_user_attr("who", "optuna ü")
    value = x * x + lr + s + n + k + (0 if c == "a" else 1)
    if trial.number % 7 == 3:
        return math.nan
    for step in range(1, 10):
        trial.report(value + 1 / step, step)
        if trial.should_prune():
            raise optuna.TrialPruned()
    trial.report(math.nan, 10)
    trial.report(math.inf, 11)
    trial.report(-math.inf, 12)
    return value


def sampler_and_pruner(seed):
    return {"sampler": optuna.samplers.TPESampler(seed=seed, n_startup_trials=5),
            "pruner": optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=3)}


def in_turns(url):
    worker("work", url, "s", 14, 0)  # Levin makes the file
    study = compare(url, "s")
    states = {t.state.name for t in study.trials}
    assert {"COMPLETE", "PRUNED", "FAIL"} <= states, states
    assert any("tpe:relative_params:0" in t.system_attrs for t in study.trials)
    assert any("completed_rung_0" in t.system_attrs for t in study.trials)
    assert any(math.isinf(t.value) for t in study.trials if t.state.name == "COMPLETE")

    study = optuna.load_study(study_name="s", storage=url, **sampler_and_pruner(1))
    study.set_user_attr("data", {"name": "digits", "nan": math.nan, "list": [1, None, "ü"]})
    fixed = {"x": 0.5, "lr": 0.01, "s": 0.75, "n": 7, "k": 3, "c": None, "only_null": 0.25}
    study.enqueue_trial(fixed, user_attrs={"from": "optuna"})
    worker("work", url, "s", 1, 2)  # Levin takes what Optuna enqueued
    trial = compare(url, "s").trials[-1]
    assert trial.params == fixed and trial.user_attrs["from"] == "optuna" and trial.number == 14, trial

    worker("enqueue", url, "s", json.dumps({**fixed, "c": False, "n": 3}))
    assert dump(url, "s")["trials"][-1]["state"] == "WAITING"
    compare(url, "s")
    study.optimize(objective, n_trials=12)  # Optuna takes what Levin enqueued, and goes on
    trial = study.trials[15]
    assert trial.params["c"] is False and trial.params["n"] == 3 and trial.user_attrs["from"] == "levin", trial
    compare(url, "s")
    worker("work", url, "s", 12, 3)
    study = compare(url, "s")
    assert [t.number for t in study.trials] == list(range(39))

    # A trial whose worker died stays RUNNING for both, and both go on around it.
    process = subprocess.Popen([WORKER, "abandon", url, "s"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    number = int(process.stdout.readline())
    process.communicate("\n")
    assert optuna.load_study(study_name="s", storage=url).trials[number].state.name == "RUNNING"
    study = optuna.load_study(study_name="s", storage=url, **sampler_and_pruner(4))
    study.optimize(objective, n_trials=2)
    worker("work", url, "s", 2, 5)
    compare(url, "s")


def made_by_optuna(url):
    study = optuna.create_study(study_name="o", storage=url, direction="minimize", **sampler_and_pruner(0))
    study.optimize(objective, n_trials=12)
    worker("work", url, "o", 12, 1)
    study = compare(url, "o")
    assert [t.number for t in study.trials] == list(range(24))
    assert all(t.state.is_finished() for t in study.trials)
    optuna.delete_study(study_name="o", storage=url)


def at_once(url):
    worker("work", url, "p", 1, 0)
    code = ("import sys, runpy, os; sys.argv = [%r, %r]; os.environ['LEVIN_INTEROP_CHILD'] = '1';"
            "m = runpy.run_path(%r, run_name='child'); o = m['optuna'];"
            "o.load_study(study_name='p', storage=%r, **m['sampler_and_pruner'](9)).optimize(m['objective'], n_trials=6)")
    processes = [subprocess.Popen([sys.executable, "-c", code % (__file__, WORKER, __file__, url)])]
    processes += [subprocess.Popen([WORKER, "work", url, "p", "10", str(seed)]) for seed in (1, 2)]
    assert [p.wait() for p in processes] == [0, 0, 0]
    study = compare(url, "p")
    assert [t.number for t in study.trials] == list(range(27))
    assert all(t.state.is_finished() for t in study.trials)


def several_objectives(url):
    """Optuna opens a study with several objectives that Levin pruned, and its NSGA-II goes on where Levin's was."""
    worker("objectives", url, "m", 24)
    study = compare(url, "m")
    pruned = [t for t in study.trials if t.state.name == "PRUNED"]
    assert pruned and len(study.get_trials(states=(optuna.trial.TrialState.COMPLETE,))) >= 6
    for trial in study.trials:
        for step, first in trial.intermediate_values.items():
            report = trial.system_attrs[f"levin:report:{step}"]
            assert report["values"][0] == first and len(report["values"]) == 2 and report["metrics"] == {"seconds": 0.5 * step}
        assert trial.values == trial.system_attrs[f"levin:report:{trial.last_step}"]["values"]
    assert len(study.best_trials) > 0
    study.sampler = optuna.samplers.NSGAIISampler(population_size=6, seed=1)
    study.optimize(lambda t: (t.suggest_float("x", 0, 1) + t.suggest_float("y", 0, 1), t.params["x"] - t.params["y"]), n_trials=12)
    worker("objectives", url, "m", 12)
    generations = [t.system_attrs["NSGAIISampler:generation"] for t in compare(url, "m").trials]
    assert generations == sorted(generations) and generations[-1] >= 3, generations


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        for check in (in_turns, made_by_optuna, at_once, several_objectives):
            check(f"sqlite:///{folder}/{check.__name__}.db")
            print("ok:", check.__name__)
