"""Microseconds a training step on a GPU: Levin eager and as a graph of the device, PyTorch eager and graphed, in one run.

Usage: device_compare.py DEVICE_STEP_BINARY PYTHON_WITH_TORCH [rounds]
"""
import json
import pathlib
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
from table import print_table, spread  # noqa: E402

PEER = r'''
import json, sys, time, torch
from torch import nn
if not torch.cuda.is_available():
    sys.exit("this PyTorch sees no GPU")
rounds, steps, dev = int(sys.argv[1]), 200, "cuda"
F = nn.functional
def cnn():
    return nn.Sequential(nn.Conv2d(1, 32, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(32, 64, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(1024, 10))
classes = torch.randint(10, (64,), device=dev)
models = [
    ("1-16-1, b 100", lambda: nn.Sequential(nn.Linear(1, 16), nn.ReLU(), nn.Linear(16, 1)), torch.randn(100, 1, device=dev), torch.randn(100, 1, device=dev)),
    ("MLP 784-128-10, b 64", lambda: nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10)), torch.randn(64, 784, device=dev), classes),
    ("CNN 32-64, b 64", cnn, torch.randn(64, 1, 28, 28, device=dev), classes),
]
def timed(step):
    torch.cuda.synchronize()
    since = time.perf_counter()
    for _ in range(steps): step()
    torch.cuda.synchronize()
    return (time.perf_counter() - since) / steps * 1e6
for name, make, x, y in models:
    loss = F.mse_loss if y.is_floating_point() else F.cross_entropy
    ways = {}
    for way in ("eager, fused Adam", "make_graphed_callables, fused Adam"):
        net = make().to(dev)
        call = torch.cuda.make_graphed_callables(net, (x,)) if way.startswith("make") else net
        optimizer = torch.optim.Adam(net.parameters(), lr=1e-3, fused=True)
        def step(call=call, optimizer=optimizer):
            optimizer.zero_grad()
            loss(call(x), y).backward()
            optimizer.step()
        ways[way] = step
    us = {way: [] for way in ways}
    for round in range(-1, rounds):
        for way, step in ways.items():
            value = timed(step)
            if round >= 0: us[way].append(value)
    for way, values in us.items():
        print(json.dumps({"model": name, "name": "PyTorch, " + way, "us": values}), flush=True)
'''

binary, python = sys.argv[1:3]
rounds = sys.argv[3] if len(sys.argv) > 3 else "7"


def measure(command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr.strip() or f"{command[0]} failed")
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


runs = measure([binary, rounds]) + measure([python, "-c", PEER, rounds])
for model in dict.fromkeys(run["model"] for run in runs):
    rows = [run for run in runs if run["model"] == model]
    best = min(min(run["us"]) for run in rows if run["name"].startswith("PyTorch"))
    print(f"\n{model}: microseconds a training step on the GPU\n")
    print_table(["", "median (quartiles)", "least", "least / PyTorch's best"],
                [[run["name"], spread(run["us"]), f"{min(run['us']):.1f}", f"{min(run['us']) / best:.2f}"] for run in rows])
