"""Microseconds a training step of the same models in PyTorch (eager, fused Adam) and, where it is installed, JAX's scan.
A line of JSON a run, as step_compiled's. Usage: peers.py [rounds]"""
import json
import sys
import time

import torch
from torch import nn
from torch.nn import functional as F

ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 5
torch.set_num_threads(1)
torch.manual_seed(1)


def labels(n=64):
    return torch.randint(10, (n,))


x = torch.linspace(-1, 1, 100).unsqueeze(1)
MODELS = {
    "1-16-1, b 100": (lambda: nn.Sequential(nn.Linear(1, 16), nn.ReLU(), nn.Linear(16, 1)), (x, 2 * x + 1), F.mse_loss, 300),
    "MLP 784-128-10, b 64": (lambda: nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10)),
                             (torch.randn(64, 784), labels()), F.cross_entropy, 100),
    "MLP with BatchNorm and dropout, b 64": (
        lambda: nn.Sequential(nn.Linear(784, 128), nn.BatchNorm1d(128), nn.ReLU(), nn.Dropout(0.1), nn.Linear(128, 10)),
        (torch.randn(64, 784), labels()), F.cross_entropy, 100),
    "CNN 8-16, b 64": (
        lambda: nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 3), nn.ReLU(),
                              nn.MaxPool2d(2), nn.Flatten(), nn.Linear(400, 10)),
        (torch.randn(64, 1, 28, 28), labels()), F.cross_entropy, 10),
    "LeNet 32-64, b 64": (
        lambda: nn.Sequential(nn.Conv2d(1, 32, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(32, 64, 5), nn.ReLU(),
                              nn.MaxPool2d(2), nn.Flatten(), nn.Linear(1024, 128), nn.ReLU(), nn.Linear(128, 10)),
        (torch.randn(64, 1, 28, 28), labels()), F.cross_entropy, 2),
}


def report(model, name, us):
    print(json.dumps({"model": model, "name": name, "us": us}), flush=True)


def rounds(step, count):
    for _ in range(3):
        step()
    us = []
    for _ in range(ROUNDS):
        since = time.perf_counter()
        for _ in range(count):
            step()
        us.append((time.perf_counter() - since) / count * 1e6)
    return us


for model, (make, (inputs, target), loss_fn, count) in MODELS.items():
    for name, options in (("PyTorch, eager", {}), ("PyTorch, eager, fused Adam", {"fused": True})):
        net = make()
        optimizer = torch.optim.Adam(net.parameters(), lr=1e-3, **options)

        def step():
            optimizer.zero_grad()
            loss_fn(net(inputs), target).backward()
            optimizer.step()

        report(model, name, rounds(step, count))

try:
    import jax
    import jax.numpy as jnp
except ImportError:
    sys.exit(0)


def adam(params, grads, moments, step):
    m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, moments[0], grads)
    v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, moments[1], grads)
    c1, c2 = 1 - 0.9**step, 1 - 0.999**step
    params = jax.tree.map(lambda p, m, v: p - 1e-3 * (m / c1) / (jnp.sqrt(v / c2) + 1e-8), params, m, v)
    return params, (m, v)


def scan(model, sizes, inputs, target, loss_of, count):
    """`count` steps as one compiled scan over the same batch."""
    keys = jax.random.split(jax.random.key(0), len(sizes))
    params = [(jax.random.normal(k, s) / s[0] ** 0.5, jnp.zeros(s[1])) for k, s in zip(keys, sizes)]
    zeros = jax.tree.map(jnp.zeros_like, params)

    def loss(params):
        hidden = jax.nn.relu(inputs @ params[0][0] + params[0][1])
        return loss_of(hidden @ params[1][0] + params[1][1], target)

    def body(carry, _):
        params, moments, step = carry
        value, grads = jax.value_and_grad(loss)(params)
        params, moments = adam(params, grads, moments, step)
        return (params, moments, step + 1), value

    run = jax.jit(lambda carry: jax.lax.scan(body, carry, length=count))
    carry = (params, (zeros, zeros), 1.0)
    jax.block_until_ready(run(carry))
    us = []
    for _ in range(ROUNDS):
        since = time.perf_counter()
        jax.block_until_ready(run(carry))
        us.append((time.perf_counter() - since) / count * 1e6)
    report(model, "JAX, scan", us)


def jax_cross_entropy(logits, target):
    return -jnp.take_along_axis(jax.nn.log_softmax(logits), target[:, None], axis=1).mean()


blog, mlp = "1-16-1, b 100", "MLP 784-128-10, b 64"
to_jax = lambda tensor: jnp.asarray(tensor.numpy())  # noqa: E731
scan(blog, [(1, 16), (16, 1)], *map(to_jax, MODELS[blog][1]), lambda y, t: ((y - t) ** 2).mean(), 3000)
scan(mlp, [(784, 128), (128, 10)], *map(to_jax, MODELS[mlp][1]), jax_cross_entropy, 100)
