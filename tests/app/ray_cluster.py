"""`levin tune --tune.ray` and the Ray Tune trainable on a real Ray cluster of this machine: a head that takes no work and
two raylets. Workers and a raylet are killed. Without Ray it ends with 77, which the test runner takes for skipped.

Usage: ray_cluster.py LEVIN_BINARY SOURCE_FOLDER

Ray is looked for in LEVIN_ORACLE_PYTHON, then in .bench-venv/bin/python, then in this Python: `pip install 'ray[default,tune]'`.
"""
import csv
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.request

LEVIN, SOURCE = map(pathlib.Path, sys.argv[1:3])
DIGITS = SOURCE / "data/digits/digits.csv"
TOKEN = "levin-test-token-0123456789abcdef"


def find_python():
    for python in (os.environ.get("LEVIN_ORACLE_PYTHON"), SOURCE / ".bench-venv/bin/python", sys.executable):
        if python and pathlib.Path(python).exists():
            probe = subprocess.run([python, "-c", "import ray.dashboard.optional_deps, ray.tune"], capture_output=True,
                                   env={**os.environ, "RAY_DISABLE_IMPORT_WARNING": "1"})
            if probe.returncode == 0:
                return str(python)
    return None


PYTHON = find_python()


def wait_for(what, seconds, check):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = check()
        if value:
            return value
        time.sleep(0.1)
    raise AssertionError(f"waited {seconds} s for {what}")


def free_port(host):
    with socket.socket() as probe:
        probe.bind((host, 0))
        return probe.getsockname()[1]


def processes(*parts):
    """Process ids whose command line holds all the parts."""
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if line and all(part in line for part in parts):
                found.append(int(entry.name))
    return found


class Cluster:
    """Nodes are told apart by addresses of the loopback network: the head is 127.0.0.2."""

    def __init__(self):
        self.folder = tempfile.TemporaryDirectory(prefix="lray", dir="/tmp", ignore_cleanup_errors=True)  # Ray's sockets need short paths
        self.nodes = {}
        self.gcs = f"127.0.0.2:{free_port('127.0.0.2')}"
        self.port = free_port("127.0.0.2")
        self.url = f"http://127.0.0.2:{self.port}"
        self.env = {**os.environ, "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "1", "RAY_DISABLE_IMPORT_WARNING": "1",
                    "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN, "RAY_USAGE_STATS_ENABLED": "0"}

    def start(self):
        self.add("127.0.0.2", "--head", "--port", self.gcs.split(":")[1], "--num-cpus", 0, "--dashboard-host", "127.0.0.2",
                 "--dashboard-port", self.port, "--temp-dir", self.folder.name)
        wait_for("the head", 90, lambda: self.get("/api/version"))
        self.join("127.0.0.3")
        self.join("127.0.0.4")

    def join(self, ip):
        """Adds a node of two processors; one after the other, or they take each other's ports."""
        there = len(self.usage())
        self.add(ip, "--address", self.gcs, "--num-cpus", 2)
        wait_for(f"the node {ip}", 90, lambda: len(self.usage()) > there)

    def add(self, ip, *options):
        ray = str(pathlib.Path(PYTHON).parent / "ray")
        command = [ray, "start", "--node-ip-address", ip, "--object-store-memory", 100_000_000, "--disable-usage-stats",
                   "--block", *options]
        with open(f"{self.folder.name}/{ip}.log", "w") as log:
            self.nodes[ip] = subprocess.Popen(list(map(str, command)), env=self.env, stdout=log, stderr=log)

    def get(self, path):
        request = urllib.request.Request(self.url + path, headers={"Authorization": f"Bearer {TOKEN}"})
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return json.load(answer)
        except OSError:
            return None

    def usage(self):
        status = self.get("/api/cluster_status") or {}
        try:
            return status["data"]["clusterStatus"]["loadMetricsReport"]["usageByNode"]
        except (KeyError, TypeError):
            return {}

    def jobs(self):
        return [job for job in self.get("/api/jobs/") or [] if (job.get("submission_id") or "").startswith("levin-")]

    def stop(self):
        for process in reversed(self.nodes.values()):
            process.terminate()
        for process in self.nodes.values():
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
        for process in processes(self.folder.name):  # what a killed raylet left behind
            os.kill(process, signal.SIGKILL)
        self.folder.cleanup()


def setUpModule():
    global cluster
    cluster = Cluster()
    unittest.addModuleCleanup(cluster.stop)
    cluster.start()


class Case(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.cwd = pathlib.Path(folder.name)
        self.journal = self.cwd / "study.log"

    def start(self, *options, epochs=20, token=TOKEN, address=None):
        command = [LEVIN, "tune", "--data", DIGITS, "--target", "target", "--name", "s", "--tune.storage",
                   f"journal:///{self.journal}", "--tune.ray", address or cluster.url, "--tune.pruner", "none",
                   "--trainer.max_epochs", epochs, "--model.width", "choice(64,96)", "--optimizer.lr",
                   "loguniform(1e-3,1e-2)", *options]
        env = {**os.environ, "RAY_AUTH_TOKEN": token} if token else {k: v for k, v in os.environ.items() if k != "RAY_AUTH_TOKEN"}
        self.log = open(self.cwd / "tune.log", "w+")
        self.addCleanup(self.log.close)
        process = subprocess.Popen(list(map(str, command)), cwd=self.cwd, env=env, stdout=self.log, stderr=subprocess.STDOUT)
        self.addCleanup(process.kill)
        return process

    def text(self):
        return (self.cwd / "tune.log").read_text()

    def trials(self):
        done = subprocess.run([LEVIN, "study", "trials", "--storage", f"journal:///{self.journal}", "--study", "s",
                               "--format", "csv"], capture_output=True, text=True)
        return list(csv.DictReader(done.stdout.splitlines())) if done.returncode == 0 else []

    def finished(self, states=("complete",)):
        return [trial for trial in self.trials() if trial["state"] in states]

    def workers(self):
        return processes("/bin/levin worker", str(self.journal))

    def busy_node(self):
        """The address of a node that a worker runs on."""
        running = [job for job in cluster.jobs() if job["status"] == "RUNNING"]
        return re.search(r"127\.0\.0\.\d", running[0]["driver_agent_http_address"]).group()


class Search(Case):
    def test_a_search_survives_the_death_of_a_worker_and_of_a_node(self):
        process = self.start("--tune.jobs", 2, "--tune.trials", 24, "--tune.heartbeat", "1s", "--tune.max_retry", 3, epochs=150)
        wait_for("two workers", 90, lambda: len(set(self.workers())) >= 2 and len(self.finished()) >= 2)
        os.kill(self.workers()[0], signal.SIGKILL)
        wait_for("the worker's successor", 60, lambda: "exit code -9" in self.text() and "is submitted again" in self.text())
        wait_for("two workers again", 60, lambda: len(set(self.workers())) >= 2)
        victim = self.busy_node()
        raylet = processes("raylet/raylet", f"--node_ip_address={victim}", cluster.folder.name)
        self.assertEqual(len(raylet), 1)
        os.kill(raylet[0], signal.SIGKILL)
        wait_for("the node's death to be seen", 90,
                 lambda: len(re.findall("is submitted again", self.text())) >= 2 or process.poll() is not None)
        self.assertEqual(process.wait(300), 0, self.text())
        text = self.text()
        self.assertGreaterEqual(len(re.findall("is submitted again", text)), 2, text)
        # Every trial is accounted for: what died was run again, and nothing is left running.
        states = [trial["state"] for trial in self.trials()]
        self.assertIn(states.count("complete"), (24, 25, 26, 27), states)
        self.assertLessEqual(states.count("fail"), 4)
        self.assertEqual(set(states) - {"complete", "fail", "waiting"}, set(), states)
        self.assertIn("tuned (trial ", text)
        wait_for("the workers to leave", 30, lambda: not self.workers())
        cluster.join(victim)

    def test_ctrl_c_stops_the_workers(self):
        process = self.start("--tune.jobs", 2, "--tune.timeout", "10m", epochs=100000)
        wait_for("workers", 90, lambda: len(self.workers()) >= 2 and "runs on node" in self.text())
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        self.assertIn(process.wait(60), (1, 130), self.text())
        wait_for("the workers' end", 30, lambda: not self.workers())
        wait_for("the jobs' end", 30, lambda: all(job["status"] in ("STOPPED", "SUCCEEDED", "FAILED") for job in cluster.jobs()))
        # What was under way can be taken up again, by a worker anywhere.
        self.assertEqual({trial["state"] for trial in self.trials()}, {"waiting"}, self.text())

    def test_mistakes_are_told_once(self):
        process = self.start("--tune.trials", 1, "--tune.ray_data", "/none/table.csv")
        self.assertEqual(process.wait(120), 2)
        self.assertIn("worker 0 cannot work", self.text())
        self.assertIn("/none/table.csv", self.text())
        self.assertEqual(self.start("--tune.trials", 1, token=None).wait(60), 2)
        self.assertIn("asks for a token", self.text())
        self.assertEqual(self.start("--tune.trials", 1, token="wrong-token-0123456789abcdef0123").wait(60), 2)
        self.assertIn("refuses the token", self.text())
        self.assertEqual(self.start("--tune.trials", 1, address=f"http://127.0.0.2:{free_port('127.0.0.2')}").wait(60), 2)
        self.assertIn("cannot be reached", self.text())


ASHA = """
import json, os, ray, sys, tempfile
from ray import tune
import levin_trainable
trainable = levin_trainable.of(data=sys.argv[1], target="target", trainer__max_epochs=8)
ray.init(address=sys.argv[2], logging_level="ERROR", log_to_driver=False,
         runtime_env={"env_vars": {"LEVIN": os.environ["LEVIN"]}})
results = tune.Tuner(
    trainable,
    # The good ones first: those after them find rungs that they do not pass, whoever of two comes first.
    param_space={"optimizer.lr": tune.grid_search([1e-2, 3e-3, 1e-5, 1e-6]), "model.width": 32},
    tune_config=tune.TuneConfig(metric="val_loss", mode="min", max_concurrent_trials=2,
                                scheduler=tune.schedulers.ASHAScheduler(max_t=8, grace_period=2, reduction_factor=2)),
    run_config=tune.RunConfig(storage_path=os.getcwd(), verbose=0),
).fit()
rows = [{"lr": r.config["optimizer.lr"], "error": str(r.error) if r.error else "", "epochs": r.metrics["training_iteration"],
         "step": r.metrics["step"], "val_loss": r.metrics["val_loss"]} for r in results]
print("ROWS", json.dumps(rows))

# A state goes from one trainable to another.
first = trainable(config={"model.width": 32})
steps = [first.step() for _ in range(3)]
with tempfile.TemporaryDirectory() as folder:
    first.save_checkpoint(folder)
    whole = first.step()
    second = trainable(config={"model.width": 32})
    second.load_checkpoint(folder)
    resumed = second.step()
first.cleanup(), second.cleanup()
print("STATE", json.dumps({"whole": whole, "resumed": resumed}))
"""


class RayTune(Case):
    def test_asha_over_levin_fit(self):
        env = {**cluster.env, "LEVIN": str(LEVIN), "PYTHONPATH": str(SOURCE / "integrations/ray_tune")}
        done = subprocess.run([PYTHON, "-c", ASHA, str(DIGITS), cluster.gcs], cwd=self.cwd, env=env, capture_output=True,
                              text=True, timeout=300)
        self.assertEqual(done.returncode, 0, done.stdout[-3000:] + done.stderr[-3000:])
        rows = json.loads(re.search("ROWS (.*)", done.stdout).group(1))
        self.assertEqual([row["error"] for row in rows], ["", "", "", ""])
        best = min(rows, key=lambda row: row["val_loss"])
        self.assertGreater(best["lr"], 1e-4)
        self.assertGreaterEqual(best["epochs"], 8)
        self.assertLess(min(row["epochs"] for row in rows), 8)  # hopeless trials were stopped
        state = json.loads(re.search("STATE (.*)", done.stdout).group(1))
        self.assertEqual(state["resumed"], state["whole"])
        self.assertEqual(state["resumed"]["step"], 3)


if __name__ == "__main__":
    if PYTHON is None:
        print("skipped: Ray is not installed (pip install 'ray[default,tune]'; name the Python in LEVIN_ORACLE_PYTHON)")
        sys.exit(77)
    unittest.main(argv=[sys.argv[0], *sys.argv[3:]], verbosity=2)
