"""Microseconds a training step of the same models in PyTorch (eager, fused Adam, torch.compile where there is a
compiler) and, where it is installed, JAX's scan. A line of JSON a run, as step_compiled's. On one
thread, the default, it is the processor's time, which other work on the machine disturbs least; on several the clock's.
Usage: peers.py [rounds [part of a model's name [threads]]]"""
import json
import shutil
import sys
import time

import torch
from torch import nn
from torch.nn import functional as F

ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 5
WANTED = sys.argv[2] if len(sys.argv) > 2 else ""
THREADS = int(sys.argv[3]) if len(sys.argv) > 3 else 1
clock = time.process_time if THREADS == 1 else time.perf_counter
torch.set_num_threads(THREADS)
torch.manual_seed(1)


def labels(*shape, classes=10):
    return torch.randint(classes, shape)


def cross_entropy(logits, target):
    return F.cross_entropy(logits.flatten(0, -2), target.flatten())


def images(channels, size):
    return torch.randn(64, channels, size, size), labels(64)


class ResidualBlock(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.main = nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(),
                                  nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs))
        self.shortcut = nn.Identity() if stride == 1 and inputs == outputs else nn.Sequential(
            nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x):
        return F.relu(self.main(x) + self.shortcut(x))


def resnet20():
    layers, inputs = [nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()], 16
    for outputs in (16, 32, 64):
        for _ in range(3):
            layers.append(ResidualBlock(inputs, outputs, 1 if inputs == outputs else 2))
            inputs = outputs
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


class GptBlock(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def attention(self, x):
        b, t, c = x.shape
        q, k, v = (part.view(b, t, self.heads, c // self.heads).transpose(1, 2) for part in self.qkv(x).split(c, 2))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out(y.transpose(1, 2).contiguous().view(b, t, c))

    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Tokens(nn.Module):
    def __init__(self, vocabulary, length, width):
        super().__init__()
        self.tokens, self.positions = nn.Embedding(vocabulary, width), nn.Embedding(length, width)

    def forward(self, ids):
        return self.tokens(ids) + self.positions(torch.arange(ids.shape[1]))


def gpt(vocabulary, length, layers, width, heads):
    return nn.Sequential(Tokens(vocabulary, length, width), *(GptBlock(width, heads) for _ in range(layers)),
                         nn.LayerNorm(width), nn.Linear(width, vocabulary))


class SequenceClassifier(nn.Module):
    def __init__(self, inputs, width, classes):
        super().__init__()
        self.lstm, self.head = nn.LSTM(inputs, width, batch_first=True), nn.Linear(width, classes)

    def forward(self, x):
        return self.head(self.lstm(x)[0][:, -1])


x = torch.linspace(-1, 1, 100).unsqueeze(1)
rows = (torch.randn(64, 784), labels(64))
MODELS = {  # as models.h: network, batch, loss, steps of a round
    "1-16-1, b 100": (lambda: nn.Sequential(nn.Linear(1, 16), nn.ReLU(), nn.Linear(16, 1)), (x, 2 * x + 1), F.mse_loss, 300),
    "MLP 784-128-10, b 64": (lambda: nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10)), rows,
                             cross_entropy, 100),
    "MLP with BatchNorm and dropout, b 64": (
        lambda: nn.Sequential(nn.Linear(784, 128), nn.BatchNorm1d(128), nn.ReLU(), nn.Dropout(0.1), nn.Linear(128, 10)),
        rows, cross_entropy, 100),
    "CNN 8-16, b 64": (
        lambda: nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 3), nn.ReLU(),
                              nn.MaxPool2d(2), nn.Flatten(), nn.Linear(400, 10)), images(1, 28), cross_entropy, 10),
    "LeNet 32-64, b 64": (
        lambda: nn.Sequential(nn.Conv2d(1, 32, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(32, 64, 5), nn.ReLU(),
                              nn.MaxPool2d(2), nn.Flatten(), nn.Linear(1024, 128), nn.ReLU(), nn.Linear(128, 10)),
        images(1, 28), cross_entropy, 2),
    "ResNet-20, b 64": (resnet20, images(3, 32), cross_entropy, 1),
    "GPT 4x128, T 64, b 12": (lambda: gpt(65, 64, 4, 128, 4), (labels(12, 64, classes=65), labels(12, 64, classes=65)),
                              cross_entropy, 4),
    "LSTM 32-64, T 20, b 32": (lambda: SequenceClassifier(32, 64, 10), (torch.randn(32, 20, 32), labels(32)),
                               cross_entropy, 20),
}


def report(model, name, us):
    print(json.dumps({"model": model, "name": name, "us": us}), flush=True)


def timed(step, count):
    since = clock()
    for _ in range(count):
        step()
    return (clock() - since) / count * 1e6


def training_step(make, inputs, target, loss_fn, compiled=False, **options):
    net = make()
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3, **options)
    loss_of = torch.compile(lambda: loss_fn(net(inputs), target)) if compiled else lambda: loss_fn(net(inputs), target)

    def step():
        optimizer.zero_grad()
        loss_of().backward()
        optimizer.step()

    for _ in range(3):
        step()
    return step


for model, (make, batch, loss_fn, count) in MODELS.items():
    if WANTED not in model:
        continue
    ways = {"PyTorch, eager": training_step(make, *batch, loss_fn),
            "PyTorch, eager, fused Adam": training_step(make, *batch, loss_fn, fused=True)}
    if shutil.which("g++"):
        ways["PyTorch, torch.compile, fused Adam"] = training_step(make, *batch, loss_fn, compiled=True, fused=True)
    us = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, step in ways.items():
            us[name].append(timed(step, count))
    for name in ways:
        report(model, name, us[name])

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
    if WANTED not in model:
        return
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
        since = clock()
        jax.block_until_ready(run(carry))
        us.append((clock() - since) / count * 1e6)
    report(model, "JAX, scan", us)


def jax_cross_entropy(logits, target):
    return -jnp.take_along_axis(jax.nn.log_softmax(logits), target[:, None], axis=1).mean()


blog, mlp = "1-16-1, b 100", "MLP 784-128-10, b 64"
to_jax = lambda tensor: jnp.asarray(tensor.numpy())  # noqa: E731
scan(blog, [(1, 16), (16, 1)], *map(to_jax, MODELS[blog][1]), lambda y, t: ((y - t) ** 2).mean(), 3000)
scan(mlp, [(784, 128), (128, 10)], *map(to_jax, MODELS[mlp][1]), jax_cross_entropy, 100)
