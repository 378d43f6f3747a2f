"""Levin and Optuna 5 work on one study, in turns and at once, on each storage that both have.

Usage: interop_optuna.py WORKER [KIND...] with sqlite, journal, postgresql as kinds, all by default. Needs a Python with
Optuna: the one that LEVIN_ORACLE_PYTHON names, the project's .bench-venv, or the one that runs this. Exits with 77
(skipped) when there is none.
"""

import json
import math
import os
import pathlib
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import warnings

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
warnings.simplefilter("ignore")
WORKER = sys.argv[1]


def storage(url):
    """Optuna's storage for one of our URLs."""
    if url.startswith("journal:///"):
        from optuna.storages.journal import JournalFileBackend
        return optuna.storages.JournalStorage(JournalFileBackend(url[len("journal:///"):]))
    return url


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
    study = optuna.load_study(study_name=name, storage=storage(url))
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

    study = optuna.load_study(study_name="s", storage=storage(url), **sampler_and_pruner(1))
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
    assert optuna.load_study(study_name="s", storage=storage(url)).trials[number].state.name == "RUNNING"
    study = optuna.load_study(study_name="s", storage=storage(url), **sampler_and_pruner(4))
    study.optimize(objective, n_trials=2)
    worker("work", url, "s", 2, 5)
    compare(url, "s")


def made_by_optuna(url):
    study = optuna.create_study(study_name="o", storage=storage(url), direction="minimize", **sampler_and_pruner(0))
    study.optimize(objective, n_trials=12)
    worker("work", url, "o", 12, 1)
    study = compare(url, "o")
    assert [t.number for t in study.trials] == list(range(24))
    assert all(t.state.is_finished() for t in study.trials)
    optuna.delete_study(study_name="o", storage=storage(url))


def at_once(url):
    """Three Levin and two Optuna processes on one study, with a queue that all take from."""
    worker("work", url, "p", 1, 0)
    queue = [0.125 * i for i in range(12)]
    for x in queue:
        worker("enqueue", url, "p", json.dumps({"x": x}))
    code = ("import sys, runpy, os; sys.argv = [%r, %r]; os.environ['LEVIN_INTEROP_CHILD'] = '1';"
            "m = runpy.run_path(%r, run_name='child'); o = m['optuna'];"
            "o.load_study(study_name='p', storage=m['storage'](%r), **m['sampler_and_pruner'](%d))"
            ".optimize(m['objective'], n_trials=8)")
    processes = [subprocess.Popen([sys.executable, "-c", code % (__file__, WORKER, __file__, url, seed)]) for seed in (8, 9)]
    processes += [subprocess.Popen([WORKER, "work", url, "p", "12", str(seed)]) for seed in (1, 2, 3)]
    assert [p.wait() for p in processes] == [0] * 5
    study = compare(url, "p")
    assert [t.number for t in study.trials] == list(range(1 + 16 + 36)), len(study.trials)
    assert all(t.state.is_finished() for t in study.trials)
    claimed = [t.params["x"] for t in study.trials if "fixed_params" in t.system_attrs]
    assert sorted(claimed) == queue, claimed


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


def ordinals(url):
    """An ordinal of Levin's is an int range to Optuna, which samples on in it; Levin reads the choices back."""
    worker("ordinals", url, "o", 15)
    study = optuna.load_study(study_name="o", storage=storage(url), sampler=optuna.samplers.TPESampler(seed=0))
    batches, sizes = [16, 32, 64, 128, 256], ["small", "medium", "large"]
    for trial in study.trials:
        assert trial.distributions["batch"] == optuna.distributions.IntDistribution(0, 4), trial.distributions
        assert trial.distributions["size"] == optuna.distributions.IntDistribution(0, 2), trial.distributions
        expected = abs(batches[trial.params["batch"]] - 64) + (trial.params["size"] != 2)
        assert trial.value == expected, trial
    study.optimize(lambda t: abs(batches[t.suggest_int("batch", 0, 4)] - 64) + (t.suggest_int("size", 0, 2) != 2), n_trials=15)
    worker("ordinals", url, "o", 5)
    trials = dump(url, "o")["trials"]
    assert len(trials) == 35 and all(t["state"] == "COMPLETE" for t in trials)
    for ours, theirs in zip(trials, study.trials):  # those that Optuna ran, too
        assert ours["params"] == {"batch": batches[theirs.params["batch"]], "size": sizes[theirs.params["size"]]}, ours
    assert optuna.importance.get_param_importances(study)["batch"] > 0.1


def heartbeats(url):
    """A trial whose Levin process died is failed by Optuna, and the other way round; both run it again."""
    if url.startswith("journal"):
        return  # Optuna's journal has no heartbeats
    process = subprocess.Popen([WORKER, "toil", url, "h", "0.2"], stdout=subprocess.PIPE, text=True)
    for _ in range(3):
        process.stdout.readline()
    process.kill()
    process.wait()
    live = optuna.storages.RDBStorage(url, heartbeat_interval=1, grace_period=2,
                                      heartbeat_stale_trial_callback=optuna.storages.RetryHeartbeatStaleTrialCallback(max_retry=1))
    study = optuna.load_study(study_name="h", storage=live)
    left = [t.number for t in study.trials if t.state.name == "RUNNING"]
    trial = study.ask() if not left else None
    time.sleep(3.2)
    study.optimize(lambda t: t.suggest_float("x", 0, 1), n_trials=2)
    for number in left:
        assert study.trials[number].state.name == "FAIL"
        assert any(t.system_attrs.get("failed_trial") == number for t in study.trials)
    if trial is not None:
        study.tell(trial, 0)
    # A heartbeat that Optuna wrote and left.
    trial = study.ask()
    live.record_heartbeat(trial._trial_id)
    time.sleep(1.3)
    process = subprocess.Popen([WORKER, "toil", url, "h", "0.2"], stdout=subprocess.PIPE, text=True)
    for _ in range(3):
        process.stdout.readline()
    process.kill()
    process.wait()
    study = optuna.load_study(study_name="h", storage=url)
    assert study.trials[trial.number].state.name == "FAIL", study.trials[trial.number]
    assert any(t.system_attrs.get("retry_history") == [trial.number] for t in study.trials)


def same_tables(url):
    """A database that Levin made has the columns, keys and types of one that Optuna made, and one index more."""
    if url.startswith("journal"):
        return
    import sqlalchemy
    worker("work", url, "t", 1, 0)
    if url.startswith("sqlite"):
        other = url + ".optuna"
    else:
        other = fresh_schema("tables_by_optuna")
    optuna.create_study(storage=other)

    def describe(address):
        inspector = sqlalchemy.inspect(sqlalchemy.create_engine(address))
        out = {}
        for table in inspector.get_table_names():
            out[table] = {
                "columns": [(c["name"], str(c["type"]), c["nullable"]) for c in inspector.get_columns(table)],
                "key": inspector.get_pk_constraint(table)["constrained_columns"],
                "unique": sorted(tuple(u["column_names"]) for u in inspector.get_unique_constraints(table)),
                "foreign": sorted((tuple(f["constrained_columns"]), f["referred_table"]) for f in inspector.get_foreign_keys(table)),
                "indexes": sorted((i["name"], tuple(i["column_names"]), bool(i["unique"])) for i in inspector.get_indexes(table)
                                  if not i.get("duplicates_constraint")),
            }
        return out

    ours, theirs = describe(url), describe(other)
    ours["trials"]["indexes"].remove(("ix_trials_waiting", ("study_id",), False))
    assert sorted(ours) == sorted(theirs), (sorted(ours), sorted(theirs))
    for table in ours:
        assert ours[table] == theirs[table], (table, ours[table], theirs[table])


def dashboard(url):
    """optuna-dashboard shows the study."""
    try:
        import optuna_dashboard  # noqa: F401
    except ImportError:
        print("skipped: optuna-dashboard is not installed")
        return
    worker("work", url, "d", 10, 0)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = url[len("journal:///"):] if url.startswith("journal") else url
    code = "import sys; from optuna_dashboard._cli import main; sys.exit(main())"
    process = subprocess.Popen([sys.executable, "-c", code, address, "--port", str(port), "--host", "127.0.0.1"],
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        def get(path):
            for _ in range(100):
                try:
                    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
                        return json.load(answer)
                except OSError:
                    time.sleep(0.1)
            raise AssertionError("the dashboard does not answer")

        listed = get("/api/studies")
        summaries = listed.get("study_summaries", listed.get("studies"))
        summary = next(s for s in summaries if s["study_name"] == "d")
        detail = get(f"/api/studies/{summary['study_id']}")
        mine = dump(url, "d")["trials"]
        assert len(detail["trials"]) == len(mine)
        for shown, trial in zip(detail["trials"], mine):
            assert shown["number"] == trial["number"] and shown["state"].upper() == trial["state"].upper(), shown
            assert {p["name"] for p in shown["params"]} == set(trial["params"]), shown
    finally:
        process.terminate()
        process.wait()


class Postgres:
    """A server of its own in a temporary folder, reached by a socket there."""

    def __init__(self, folder):
        homes = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin/initdb"))
        self.bin = homes[-1].parent if homes else None
        if self.bin is None:
            return
        self.folder = folder
        user = {}
        if os.geteuid() == 0:  # a server does not run as root
            name = "postgres" if any(p.pw_name == "postgres" for p in pwd.getpwall()) else "nobody"
            shutil.chown(folder, name)
            user = {"user": name}
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": "/", **user}
        subprocess.run([self.bin / "initdb", "-D", f"{folder}/data", "-U", "levin", "-A", "trust", "-N"], check=True, **quiet)
        self.process = subprocess.Popen([self.bin / "postgres", "-D", f"{folder}/data", "-k", folder, "-c", "listen_addresses="],
                                        **quiet)
        while subprocess.run([self.bin / "pg_isready", "-q", "-h", folder, "-U", "levin", "-d", "postgres"]).returncode != 0:
            time.sleep(0.05)

    def url(self, schema):
        subprocess.run([self.bin / "psql", "-q", "-h", self.folder, "-U", "levin", "-d", "postgres", "-c",
                        f"CREATE SCHEMA {schema}"], check=True)
        return f"postgresql+psycopg2://levin@/postgres?host={self.folder}&options=-csearch_path%3D{schema}"

    def stop(self):
        if self.bin is not None:
            self.process.send_signal(signal.SIGQUIT)
            self.process.wait()


KINDS = sys.argv[2:] or ["sqlite", "journal", "postgresql"]
CHECKS = (in_turns, made_by_optuna, at_once, several_objectives, ordinals, heartbeats, same_tables, dashboard)

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        for kind in [k for k in KINDS if k != "postgresql"]:
            for check in CHECKS:
                check(f"{kind}:///{folder}/{kind}-{check.__name__}")
                print("ok:", kind, check.__name__, flush=True)
        if "postgresql" not in KINDS:
            sys.exit()
        os.mkdir(f"{folder}/pg")
        server = Postgres(f"{folder}/pg")
        fresh_schema = server.url if server.bin else None
        try:
            import psycopg2  # noqa: F401
        except ImportError:
            server.stop()
            server.bin = None
        if server.bin is None:
            print("skipped: postgresql, which needs Debian's postgresql and Python's psycopg2")
        else:
            try:
                for check in CHECKS:
                    check(server.url(check.__name__))
                    print("ok: postgresql", check.__name__, flush=True)
            finally:
                server.stop()
