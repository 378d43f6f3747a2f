"""Steps of torch.optim on given gradients, for tests/compile/kernels: parameters and state after seven steps.

    python tests/golden/scripts/make_kernel_optim_golden.py
"""

import json
import math
import pathlib

import torch

OUT = pathlib.Path(__file__).parent.parent / "optim" / "kernel_steps.json"
SIZE, STEPS = 37, 7


def gradient(step):
    return [math.sin(0.7 * i + 1.3 * step) * (1 + 0.1 * i) for i in range(SIZE)]


def lr(step):
    return 0.05 / (1 + step // 4)


O = torch.optim
CASES = {
    "adam": (O.Adam, {}),
    "adam_decay": (O.Adam, dict(betas=(0.8, 0.95), eps=1e-6, weight_decay=0.05, maximize=True)),
    "adam_amsgrad": (O.Adam, dict(amsgrad=True, betas=(0.4, 0.9))),
    "adamw": (O.AdamW, dict(weight_decay=0.1)),
    "adamw_amsgrad": (O.AdamW, dict(weight_decay=0.1, amsgrad=True)),
    "sgd": (O.SGD, {}),
    "sgd_momentum": (O.SGD, dict(momentum=0.9, dampening=0.3, weight_decay=0.02)),
    "sgd_nesterov": (O.SGD, dict(momentum=0.8, nesterov=True, maximize=True)),
    "rms_prop": (O.RMSprop, {}),
    "rms_prop_centered": (O.RMSprop, dict(alpha=0.9, eps=1e-6, weight_decay=0.05, momentum=0.7, centered=True)),
    "adagrad": (O.Adagrad, dict(lr_decay=0.1, weight_decay=0.02, eps=1e-8)),
    "adamax": (O.Adamax, dict(weight_decay=0.02)),
    "nadam": (O.NAdam, dict(weight_decay=0.02)),
    "nadam_decoupled": (O.NAdam, dict(weight_decay=0.1, decoupled_weight_decay=True, betas=(0.8, 0.9), momentum_decay=0.01)),
    "radam": (O.RAdam, dict(weight_decay=0.02)),
    "radam_decoupled": (O.RAdam, dict(weight_decay=0.1, decoupled_weight_decay=True, betas=(0.8, 0.9), maximize=True)),
}


def run(kind, settings):
    p = torch.nn.Parameter(torch.tensor([math.cos(i) for i in range(SIZE)], dtype=torch.float32))
    optimizer = kind([p], lr=lr(0), foreach=False, **settings)
    for step in range(STEPS):
        optimizer.param_groups[0]["lr"] = lr(step)
        p.grad = torch.tensor(gradient(step), dtype=torch.float32)
        optimizer.step()
    return p.detach().double().tolist()


OUT.write_text(json.dumps({
    "script": "tests/golden/scripts/make_kernel_optim_golden.py", "torch": torch.__version__, "size": SIZE, "steps": STEPS,
    "parameters": {name: run(*case) for name, case in CASES.items()}}, separators=(",", ":")) + "\n")
