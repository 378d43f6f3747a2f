"""Trajectories of torch.optim for tests/optim: 50 steps of a small regression, every setting, two precisions.

    python tests/golden/scripts/make_optim_golden.py

The problem is written down in the file itself (initial parameters, inputs, targets), so that the test needs no random
numbers. Gradients come from the same loss in the test; parameter "c" takes part only on every third step ("skipping").
"""

import json
import pathlib

import torch

OUT = pathlib.Path(__file__).parent.parent / "optim"
SEED = 20
STEPS = 50


def problem(dtype):
    g = torch.Generator().manual_seed(SEED)
    draw = lambda *shape: torch.randn(*shape, generator=g, dtype=torch.float64).to(dtype)
    return {"w": draw(4, 3), "b": draw(4), "c": draw(2, 4), "x": draw(16, 3), "y": draw(16, 2)}


def loss_of(p, data, with_c):
    h = torch.tanh(data["x"] @ p["w"].t() + p["b"])
    out = h @ p["c"].t() if with_c else h[:, :2]
    return ((out - data["y"]) ** 2).mean()


def adam(**kw):
    return lambda ps: torch.optim.Adam(list(ps.values()), **kw)


def adamw(**kw):
    return lambda ps: torch.optim.AdamW(list(ps.values()), **kw)


def sgd(**kw):
    return lambda ps: torch.optim.SGD(list(ps.values()), **kw)


def groups(cls, first, second, **kw):
    return lambda ps: cls([{"params": [ps["w"], ps["c"]], **first}, {"params": [ps["b"]], **second}], **kw)


def other(cls, **kw):
    return lambda ps: cls(list(ps.values()), **kw)


CASES = {
    "sgd": dict(make=sgd(lr=0.1)),
    "sgd_default": dict(make=sgd()),
    "sgd_momentum": dict(make=sgd(lr=0.05, momentum=0.9)),
    "sgd_dampening": dict(make=sgd(lr=0.05, momentum=0.9, dampening=0.3, weight_decay=0.01)),
    "sgd_nesterov": dict(make=sgd(lr=0.05, momentum=0.8, nesterov=True, weight_decay=0.02)),
    "sgd_maximize": dict(make=sgd(lr=0.01, momentum=0.5, maximize=True, weight_decay=0.1)),
    "sgd_skipping": dict(make=sgd(lr=0.05, momentum=0.9, dampening=0.1, weight_decay=0.01), skip=True),
    "adam": dict(make=adam(lr=0.02)),
    "adam_default": dict(make=adam()),
    "adam_settings": dict(make=adam(lr=0.02, betas=(0.8, 0.95), eps=1e-6, weight_decay=0.05)),
    "adam_amsgrad": dict(make=adam(lr=0.05, amsgrad=True, weight_decay=0.01)),
    "adam_maximize": dict(make=adam(lr=0.01, maximize=True, weight_decay=0.05)),
    "adam_decoupled": dict(make=adam(lr=0.02, weight_decay=0.1, decoupled_weight_decay=True)),
    "adam_skipping": dict(make=adam(lr=0.02, weight_decay=0.01), skip=True),
    "adamw": dict(make=adamw(lr=0.02)),
    "adamw_settings": dict(make=adamw(lr=0.02, betas=(0.7, 0.9), weight_decay=0.2)),
    "adamw_amsgrad": dict(make=adamw(lr=0.05, amsgrad=True)),
    "adamw_maximize": dict(make=adamw(lr=0.01, maximize=True)),
    "adamw_skipping": dict(make=adamw(lr=0.02, weight_decay=0.1, amsgrad=True), skip=True),
    "adamw_groups": dict(make=groups(torch.optim.AdamW, dict(weight_decay=0.3), dict(lr=0.005, betas=(0.5, 0.9)), lr=0.02)),
    "sgd_groups": dict(make=groups(torch.optim.SGD, dict(momentum=0.9), dict(lr=0.2), lr=0.05)),
    "adam_step_lr": dict(make=adam(lr=0.05), schedule=lambda o: torch.optim.lr_scheduler.StepLR(o, 7, 0.5)),
    "sgd_cosine": dict(make=sgd(lr=0.1, momentum=0.9),
                       schedule=lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 20, 0.001)),
    "adamw_plateau": dict(make=adamw(lr=0.1), plateau=True,
                          schedule=lambda o: torch.optim.lr_scheduler.ReduceLROnPlateau(o, patience=1, threshold=0.05)),
    "sgd_clip_norm": dict(make=sgd(lr=0.3, momentum=0.9), clip_norm=(0.2, 2.0)),
    "adam_clip_norm_inf": dict(make=adam(lr=0.05), clip_norm=(0.05, float("inf"))),
    "sgd_clip_norm_1": dict(make=sgd(lr=0.3), clip_norm=(0.5, 1.0), skip=True),
    "sgd_clip_value": dict(make=sgd(lr=0.3), clip_value=0.05),
    "rmsprop": dict(make=other(torch.optim.RMSprop)),
    "rmsprop_centered": dict(make=other(torch.optim.RMSprop, lr=0.01, alpha=0.9, eps=1e-6, weight_decay=0.02, centered=True)),
    "rmsprop_momentum": dict(make=other(torch.optim.RMSprop, lr=0.005, momentum=0.8, centered=True), skip=True),
    "rmsprop_maximize": dict(make=other(torch.optim.RMSprop, lr=0.002, momentum=0.5, maximize=True)),
    "adagrad": dict(make=other(torch.optim.Adagrad, lr=0.1)),
    "adagrad_settings": dict(make=other(torch.optim.Adagrad, lr=0.1, lr_decay=0.05, weight_decay=0.02,
                                        initial_accumulator_value=0.1, eps=1e-8), skip=True),
    "adadelta": dict(make=other(torch.optim.Adadelta)),
    "adadelta_settings": dict(make=other(torch.optim.Adadelta, lr=0.5, rho=0.8, eps=1e-5, weight_decay=0.02), skip=True),
    "adamax": dict(make=other(torch.optim.Adamax, lr=0.02)),
    "adamax_settings": dict(make=other(torch.optim.Adamax, lr=0.02, betas=(0.8, 0.95), eps=1e-6, weight_decay=0.05), skip=True),
    "nadam": dict(make=other(torch.optim.NAdam, lr=0.02)),
    "nadam_settings": dict(make=other(torch.optim.NAdam, lr=0.02, betas=(0.8, 0.95), weight_decay=0.05, momentum_decay=0.01),
                           skip=True),
    "nadam_decoupled": dict(make=other(torch.optim.NAdam, lr=0.02, weight_decay=0.1, decoupled_weight_decay=True)),
    "radam": dict(make=other(torch.optim.RAdam, lr=0.02)),
    "radam_settings": dict(make=other(torch.optim.RAdam, lr=0.02, betas=(0.8, 0.95), weight_decay=0.05), skip=True),
    "radam_decoupled": dict(make=other(torch.optim.RAdam, lr=0.02, weight_decay=0.1, decoupled_weight_decay=True,
                                       betas=(0.9, 0.98))),
    "rprop": dict(make=other(torch.optim.Rprop)),
    "rprop_settings": dict(make=other(torch.optim.Rprop, lr=0.02, etas=(0.4, 1.3), step_sizes=(1e-4, 0.1)), skip=True),
    "rmsprop_groups": dict(make=groups(torch.optim.RMSprop, dict(alpha=0.9, momentum=0.9), dict(lr=0.002, centered=True), lr=0.005)),
}


def run(case, dtype):
    data = problem(dtype)
    ps = {k: torch.nn.Parameter(data[k].clone()) for k in ("w", "b", "c")}
    optimizer = case["make"](ps)
    scheduler = case["schedule"](optimizer) if "schedule" in case else None
    losses, norms, lrs = [], [], []
    for step in range(STEPS):
        optimizer.zero_grad()
        loss = loss_of(ps, data, not case.get("skip") or step % 3 == 1)
        loss.backward()
        if "clip_norm" in case:
            norms.append(torch.nn.utils.clip_grad_norm_(ps.values(), case["clip_norm"][0], case["clip_norm"][1]).item())
        if "clip_value" in case:
            torch.nn.utils.clip_grad_value_(ps.values(), case["clip_value"])
        optimizer.step()
        losses.append(loss.item())
        if scheduler:
            scheduler.step(losses[-1]) if case.get("plateau") else scheduler.step()
            lrs.append(optimizer.param_groups[0]["lr"])
    out = {k: p.detach().double().flatten().tolist() for k, p in ps.items()}
    return {"losses": losses, "params": out, **({"norms": norms} if norms else {}), **({"lrs": lrs} if lrs else {})}


class Plain:
    """An optimizer whose steps do nothing, to follow a schedule alone."""

    def __new__(cls, *lrs):
        return torch.optim.SGD([{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": lr} for lr in lrs], lr=0.1)


def schedules():
    S = torch.optim.lr_scheduler
    g = torch.Generator().manual_seed(SEED)
    metrics = (torch.linspace(2, 0.5, 60).double() + 0.3 * torch.randn(60, generator=g, dtype=torch.float64)).tolist()
    metrics[17] = float("nan")
    out = {"metrics": ["nan" if m != m else m for m in metrics], "cases": {}}

    def follow(name, make, steps=60, metric=False, lrs=(0.3, 0.01), change=None):
        optimizer = Plain(*lrs)
        scheduler = make(optimizer)
        seen = [[g["lr"] for g in optimizer.param_groups]]
        for i in range(steps):
            if i == change:
                optimizer.param_groups[0]["lr"] *= 2
            optimizer.step()
            scheduler.step(metrics[i]) if metric else scheduler.step()
            seen.append(scheduler.get_last_lr())
        # What is no number, list or word is made again by the constructor.
        state = {k: ("inf" if v == float("inf") else "-inf" if v == -float("inf") else v)
                 for k, v in scheduler.state_dict().items() if k not in ("milestones", "_schedule_phases")}
        out["cases"][name] = {"lrs": seen, "state": state,
                              "momentum": [g["momentum"] for g in optimizer.param_groups]}

    follow("step_3", lambda o: S.StepLR(o, 3, 0.7))
    follow("step_1", lambda o: S.StepLR(o, 1, 0.95), change=20)
    follow("cosine_20", lambda o: S.CosineAnnealingLR(o, 20))
    follow("cosine_7_eta", lambda o: S.CosineAnnealingLR(o, 7, 0.005), change=11)
    follow("cosine_1", lambda o: S.CosineAnnealingLR(o, 1, 0.002))
    follow("plateau", lambda o: S.ReduceLROnPlateau(o, factor=0.5, patience=2), metric=True)
    follow("plateau_abs_max", lambda o: S.ReduceLROnPlateau(o, "max", 0.3, 1, 0.01, "abs", 3, [1e-3, 1e-4], 1e-6), metric=True)
    follow("plateau_abs_min", lambda o: S.ReduceLROnPlateau(o, "min", 0.9, 0, 0.2, "abs", 1, 0.05), metric=True)
    follow("plateau_rel_max", lambda o: S.ReduceLROnPlateau(o, "max", 0.8, 1, 0.1, "rel"), metric=True)

    follow("multi_step", lambda o: S.MultiStepLR(o, [4, 4, 10, 33], 0.6))
    follow("constant", lambda o: S.ConstantLR(o, 0.25, 7))
    follow("linear", lambda o: S.LinearLR(o, 0.1, 0.8, 12), change=20)
    follow("exponential", lambda o: S.ExponentialLR(o, 0.93), change=8)
    follow("polynomial", lambda o: S.PolynomialLR(o, 15, 2.5))
    follow("warm_restarts", lambda o: S.CosineAnnealingWarmRestarts(o, 5, 2, 0.001))
    follow("warm_restarts_1", lambda o: S.CosineAnnealingWarmRestarts(o, 9))
    follow("lambda", lambda o: S.LambdaLR(o, lambda step: 1 / (1 + step)))
    follow("multiplicative", lambda o: S.MultiplicativeLR(o, lambda step: 0.5 if step % 10 == 0 else 1.01), change=7)
    follow("one_cycle", lambda o: S.OneCycleLR(o, 0.4, 61))
    follow("one_cycle_linear", lambda o: S.OneCycleLR(o, 0.2, 70, pct_start=0.4, anneal_strategy="linear", div_factor=10,
                                                      final_div_factor=100, three_phase=True, base_momentum=0.7))
    follow("cyclic", lambda o: S.CyclicLR(o, 0.01, 0.2, 7, 4))
    follow("cyclic_2", lambda o: S.CyclicLR(o, 0.01, 0.2, 5, mode="triangular2", cycle_momentum=False))
    follow("cyclic_exp", lambda o: S.CyclicLR(o, 0.01, 0.2, 6, mode="exp_range", gamma=0.97, base_momentum=0.6))
    follow("swa", lambda o: torch.optim.swa_utils.SWALR(o, 0.02, 8), change=30)
    follow("swa_linear", lambda o: torch.optim.swa_utils.SWALR(o, 0.5, 0, "linear"))
    follow("sequential", lambda o: S.SequentialLR(o, [S.LinearLR(o, 0.1, 1.0, 5), S.CosineAnnealingLR(o, 20, 0.001),
                                                      S.ExponentialLR(o, 0.9)], [5, 30]))
    follow("chained", lambda o: S.ChainedScheduler([S.ConstantLR(o, 0.1, 6), S.ExponentialLR(o, 0.95)]))

    # Continuing by last_epoch, as the constructor allows.
    for name, make in {"step_resumed": lambda o: S.StepLR(o, 3, 0.7, last_epoch=10),
                       "step_resumed_on_boundary": lambda o: S.StepLR(o, 3, 0.7, last_epoch=8),
                       "cosine_resumed": lambda o: S.CosineAnnealingLR(o, 20, 0.001, last_epoch=10)}.items():
        optimizer = Plain(0.05)
        optimizer.param_groups[0]["initial_lr"] = 0.3
        scheduler = make(optimizer)
        seen = [[optimizer.param_groups[0]["lr"]]]
        for _ in range(30):
            optimizer.step()
            scheduler.step()
            seen.append(scheduler.get_last_lr())
        out["cases"][name] = {"lrs": seen, "state": scheduler.state_dict()}
    return out


def states():
    """Optimizer states after 20 steps, and where 10 further steps lead."""
    out = {}
    for name in ("sgd_nesterov", "adam_amsgrad", "adamw_skipping", "adamw_groups", "adam_skipping", "rmsprop_momentum",
                 "rmsprop_groups", "adagrad_settings", "adadelta", "adamax_settings", "nadam_settings", "nadam", "radam",
                 "rprop_settings"):
        case = CASES[name]
        data = problem(torch.float32)
        ps = {k: torch.nn.Parameter(data[k].clone()) for k in ("w", "b", "c")}
        optimizer = case["make"](ps)

        def steps(first, last):
            for step in range(first, last):
                optimizer.zero_grad()
                loss_of(ps, data, not case.get("skip") or step % 3 == 1).backward()
                optimizer.step()

        values = lambda: {k: p.detach().flatten().tolist() for k, p in ps.items()}
        steps(0, 20)
        sd = optimizer.state_dict()
        before = values()
        state = {str(i): {k: t.flatten().tolist() for k, t in s.items()} for i, s in sd["state"].items()}
        groups = json.loads(json.dumps(sd["param_groups"]))
        steps(20, 30)
        out[name] = {"before": before, "state": state, "param_groups": groups, "after": values()}
    return out


def write(name, content):
    header = {"script": "tests/golden/scripts/make_optim_golden.py", "torch": torch.__version__, "seed": SEED}
    (OUT / name).write_text(json.dumps({**header, **content}, separators=(",", ":")) + "\n")


torch.set_num_threads(1)
inputs = {k: {"shape": list(v.shape), "values": v.flatten().tolist()} for k, v in problem(torch.float64).items()}
write("trajectories.json", {"steps": STEPS, "inputs": inputs,
                            "cases": {n: {"float32": run(c, torch.float32), "float64": run(c, torch.float64)}
                                      for n, c in CASES.items()}})
write("schedules.json", schedules())
write("states.json", {"cases": states()})
