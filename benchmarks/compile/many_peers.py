"""What `many` measures, by JAX (a vmapped update in a scan) and by Optuna with PyTorch. A line of JSON a measurement.
Usage: many_peers.py [rounds]"""
import json
import sys
import time

ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 3


def report(what, name, values):
    print(json.dumps({"what": what, "name": name, "values": values}), flush=True)


def jax_together(trials=64, steps=3000):
    import jax
    import jax.numpy as jnp

    x = jnp.linspace(-1, 1, 100)[:, None]
    y = 2 * x + 1

    def init(key):
        a, b = jax.random.split(key)
        return [jax.random.normal(a, (1, 16)), jnp.zeros(16), jax.random.normal(b, (16, 1)) / 4, jnp.zeros(1)]

    def loss(params):
        hidden = jax.nn.relu(x @ params[0] + params[1])
        return ((hidden @ params[2] + params[3] - y) ** 2).mean()

    def update(carry, lr):
        params, m, v, step = carry
        value, grads = jax.value_and_grad(loss)(params)
        m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, grads)
        v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, grads)
        c1, c2 = 1 - 0.9**step, 1 - 0.999**step
        params = jax.tree.map(lambda p, m, v: p - lr * (m / c1) / (jnp.sqrt(v / c2) + 1e-8), params, m, v)
        return (params, m, v, step + 1), value

    rates = jnp.arange(1, trials + 1) * 1e-4
    params = jax.vmap(init)(jax.random.split(jax.random.key(0), trials))
    zeros = jax.tree.map(jnp.zeros_like, params)
    run = jax.jit(lambda carry: jax.lax.scan(lambda c, _: jax.vmap(update)(c, rates), carry, length=steps))
    carry = (params, zeros, zeros, jnp.ones(trials))
    jax.block_until_ready(run(carry))
    values, cores = [], []
    for _ in range(ROUNDS):
        since, cores_since = time.perf_counter(), time.process_time()
        jax.block_until_ready(run(carry))
        values.append(trials * steps / (time.perf_counter() - since) / 1e6)
        cores.append(trials * steps / (time.process_time() - cores_since) / 1e6)
    report("64 trials on two threads, million steps a second", "JAX, vmapped scan", values)
    report("64 trials, million steps a second of one core", "JAX, vmapped scan", cores)


def optuna_study(trials=100, steps=100):
    import optuna
    import torch
    from torch import nn
    from torch.nn import functional as F

    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    x = torch.linspace(-1, 1, 100).unsqueeze(1)
    y = 2 * x + 1

    def objective(trial):
        net = nn.Sequential(nn.Linear(1, 16), nn.ReLU(), nn.Linear(16, 1))
        optimizer = torch.optim.Adam(net.parameters(), lr=trial.suggest_float("lr", 1e-4, 1e-1, log=True))
        for _ in range(steps):
            optimizer.zero_grad()
            loss = F.mse_loss(net(x), y)
            loss.backward()
            optimizer.step()
        return loss.item()

    values = []
    for _ in range(ROUNDS):
        since = time.perf_counter()
        optuna.create_study().optimize(objective, n_trials=trials, n_jobs=2)
        values.append(time.perf_counter() - since)
    report("Study of 100 trials of 100 steps, seconds", "Optuna with PyTorch, eager", values)


for measure in (jax_together, optuna_study):
    try:
        measure()
    except ImportError as missing:
        print(f"without {missing.name}", file=sys.stderr)
