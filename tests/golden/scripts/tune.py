"""Makes tests/golden/tune/*.json: what Optuna computes, for the tests of levin::tune to compare with.

Run from the repository's root with Optuna installed: python tests/golden/scripts/tune.py
Each file names the versions it was made with. Numbers are drawn with fixed seeds.
"""

import json
import math
import pathlib
import warnings

import numpy as np
import optuna
import scipy
import scipy.stats
from optuna.distributions import (
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
)
from optuna.samplers._tpe import _truncnorm
from optuna.samplers._tpe.parzen_estimator import _ParzenEstimator, _ParzenEstimatorParameters
from optuna.samplers._tpe.sampler import _split_trials, default_weights
from optuna.trial import TrialState, create_trial

optuna.logging.set_verbosity(optuna.logging.ERROR)
warnings.simplefilter("ignore")
OUT = pathlib.Path("tests/golden/tune")


def write(name, **content):
    made_with = {"script": "tests/golden/scripts/tune.py", "optuna": optuna.__version__, "numpy": np.__version__,
                 "scipy": scipy.__version__}
    text = json.dumps({"made_with": made_with, **content}, indent=None, separators=(", ", ": "))
    (OUT / f"{name}.json").write_text(text + "\n")


def truncated_normal():
    rng = np.random.RandomState(0)
    a = np.concatenate([rng.uniform(-40, 40, 60), [-1e-3, 0.0, 5.0, -300.0, 200.0, -1e4]])
    b = a + np.concatenate([10 ** rng.uniform(-3, 2, 60), [2e-3, 1.0, 1e-6, 100.0, 50.0, 5000.0]])
    x = np.concatenate([rng.uniform(-45, 10, 60), [-1e3, -20.0, -19.999, 6.0, 6.001, 0.0]])
    q = rng.uniform(0, 1, len(a))
    # scipy is the reference here: Optuna's quantile is a Newton iteration that stops at 1e-8.
    write("truncated_normal", a=a.tolist(), b=b.tolist(), q=q.tolist(), x=x.tolist(),
          log_mass=_truncnorm._log_gauss_mass(a, b).tolist(),
          log_cdf=_truncnorm._log_ndtr(x).tolist(),
          quantile=scipy.stats.truncnorm.ppf(q, a, b).tolist())


def parzen():
    rng = np.random.RandomState(1)
    floats = {"a": FloatDistribution(-5, 5), "b": FloatDistribution(1e-5, 1e-1, log=True)}
    spaces = [
        (floats, 0), (floats, 1), (floats, 2), (floats, 7), (floats, 60), (floats, 150),
        ({"x": FloatDistribution(0, 1, step=0.1)}, 12),
        ({"x": IntDistribution(1, 100)}, 20),
        ({"x": IntDistribution(1, 1000, log=True)}, 20),
        ({"x": IntDistribution(3, 19, step=4)}, 15),
        ({"c": CategoricalDistribution(["p", "q", "r"])}, 0),
        ({"c": CategoricalDistribution(["p", "q", "r"])}, 40),
        ({"a": FloatDistribution(-5, 5), "c": CategoricalDistribution([True, False]),
          "z": FloatDistribution(0, 1)}, 45),
    ]
    parameters = _ParzenEstimatorParameters(1.0, True, False, default_weights, True)

    def draw(d, n):
        if isinstance(d, CategoricalDistribution):
            return rng.randint(0, len(d.choices), n).astype(float)
        if d.log:
            out = np.exp(rng.uniform(math.log(d.low), math.log(d.high), n))
        else:
            out = rng.uniform(d.low, d.high, n)
        if d.step is not None:
            out = d.low + np.round((out - d.low) / d.step) * d.step
        return np.clip(out, d.low, d.high)

    cases = []
    for space, n in spaces:
        observations = {k: draw(d, n) for k, d in space.items()}
        points = {k: draw(d, 15) for k, d in space.items()}
        for equal in (False, True):
            weights = np.ones(n) if equal else None
            estimator = _ParzenEstimator(dict(observations), space, parameters, weights)
            mixture = estimator._mixture_distribution
            cases.append({
                "space": {k: json.loads(distribution_to_json(d)) for k, d in space.items()},
                "observations": [observations[k].tolist() for k in space],
                "equal_weights": equal,
                "points": [points[k].tolist() for k in space],
                "weights": mixture.weights.tolist(),
                "sigmas": [d.sigma.tolist() if hasattr(d, "sigma") else [] for d in mixture.distributions],
                "log_pdf": estimator.log_pdf(points).tolist(),
            })
    write("parzen", cases=cases, age_weights=[[float(w) for w in default_weights(n)] for n in (0, 1, 25, 26, 27, 60)])


def splits():
    rng = np.random.RandomState(2)
    cases = []
    for directions in (["minimize"], ["maximize"], ["minimize", "maximize"], ["minimize", "minimize", "maximize"]):
        study = optuna.create_study(directions=directions)
        single = len(directions) == 1
        for i in range(60):
            kind = rng.randint(0, 10)
            attrs, values, state, reports = {}, None, TrialState.COMPLETE, {}
            if single and kind < 3:
                state = TrialState.PRUNED
                reports = {int(s): float(v) for s, v in zip(rng.randint(0, 6, kind), rng.normal(size=kind))}
                if kind == 2 and i % 2:
                    reports[max(reports)] = math.nan
            else:
                values = [float(v) for v in np.round(rng.normal(size=len(directions)), 1)]
                if single and kind == 3:
                    values = [math.inf if i % 2 else -math.inf]
                if kind == 4:
                    attrs = {"constraints:a": float(rng.normal()), "constraints:b": float(rng.normal())}
            if state == TrialState.COMPLETE and rng.randint(0, 12) == 0 and single:
                state = TrialState.FAIL
                values = None
            study.add_trial(create_trial(state=state, values=values, intermediate_values=reports, system_attrs=attrs))
        trials = [t for t in study.trials if t.state in (TrialState.COMPLETE, TrialState.PRUNED)]
        below = {}
        for n in (0, 1, 3, 6, 10, 25, 40, 55):
            numbers, _ = _split_trials(study, trials, n)
            below[str(n)] = [t.number for t in numbers]
        cases.append({
            "directions": directions,
            "trials": [{"state": t.state.name, "values": t.values,
                        "reports": [[s, v] for s, v in t.intermediate_values.items()],
                        "system_attrs": t.system_attrs} for t in study.trials],
            "below": below,
        })
    write("splits", cases=cases)


def pruners():
    cases = []
    makers = {
        "median": [lambda **k: optuna.pruners.MedianPruner(**k),
                   [{}, {"n_startup_trials": 2, "n_warmup_steps": 3, "interval_steps": 2},
                    {"n_startup_trials": 0, "n_min_trials": 4}]],
        "percentile": [lambda **k: optuna.pruners.PercentilePruner(**k),
                       [{"percentile": 25.0, "n_startup_trials": 3}, {"percentile": 80.0, "n_startup_trials": 3},
                        {"percentile": 0.0}, {"percentile": 100.0}]],
        "halving": [lambda **k: optuna.pruners.SuccessiveHalvingPruner(**k),
                    [{}, {"min_resource": 1, "reduction_factor": 3}, {"min_resource": 2, "reduction_factor": 2},
                     {"min_resource": 1, "reduction_factor": 2, "min_early_stopping_rate": 1},
                     {"min_resource": 1, "reduction_factor": 3, "bootstrap_count": 3}]],
    }
    rng = np.random.RandomState(3)
    for kind, (make, options) in makers.items():
        for option in options:
            for direction in ("minimize", "maximize"):
                study = optuna.create_study(direction=direction, pruner=make(**option),
                                            sampler=optuna.samplers.RandomSampler(seed=0))
                runs = []
                for _ in range(40):
                    trial = study.ask()
                    level, curve, verdicts, last = rng.normal(), [], [], None
                    for step in range(18):
                        value = float(level + rng.normal() * 0.5 + (1 if direction == "minimize" else -1) / (step + 1))
                        if rng.randint(0, 60) == 0:
                            value = math.nan
                        trial.report(value, step)
                        curve.append(value)
                        verdicts.append(bool(trial.should_prune()))
                        if verdicts[-1]:
                            study.tell(trial, state=TrialState.PRUNED)
                            break
                    else:
                        study.tell(trial, level)
                        last = float(level)
                    runs.append({"curve": curve, "verdicts": verdicts, "value": last})
                cases.append({"pruner": kind, "options": option, "direction": direction, "runs": runs})
    write("pruners", cases=cases)


def distributions():
    made = [
        FloatDistribution(0, 1), FloatDistribution(1e-5, 0.1, log=True), FloatDistribution(0, 1, step=0.1),
        FloatDistribution(0, 1, step=0.3), FloatDistribution(-0.7, 2.05, step=0.25), FloatDistribution(1, 1),
        FloatDistribution(1e-8, 3.3e-7, step=1e-8), FloatDistribution(5, 5.5, step=1.0), FloatDistribution(-1e20, 1e20, step=3e19),
        IntDistribution(1, 10), IntDistribution(1, 64, log=True), IntDistribution(3, 20, step=4), IntDistribution(2, 3, step=5),
        CategoricalDistribution([None, True, 1, 2.5, "a", float("nan"), float("inf")]), CategoricalDistribution(["only"]),
    ]
    probes = [-1.0, 0.0, 0.1, 0.3, 0.30000000000000004, 0.5, 0.9, 1.0, 2.0, 3.0, 5.0, 7.0, 11.0, 1e-8, 2.5e-8, 1e-3, 64.0, 65.0]
    legacy = [
        {"name": "UniformDistribution", "attributes": {"low": 0.0, "high": 2.0}},
        {"name": "LogUniformDistribution", "attributes": {"low": 0.5, "high": 2.0}},
        {"name": "DiscreteUniformDistribution", "attributes": {"low": 0.0, "high": 2.0, "q": 0.5}},
        {"name": "IntUniformDistribution", "attributes": {"low": 0, "high": 9, "step": 3}},
        {"name": "IntLogUniformDistribution", "attributes": {"low": 1, "high": 9, "step": 1}},
        {"type": "float", "low": 0, "high": 1, "step": 0.5}, {"type": "float", "low": 1, "high": 2, "log": True},
        {"type": "int", "low": 0, "high": 4}, {"type": "int", "low": 0, "high": 4, "step": 2},
        {"type": "categorical", "choices": ["a", 1]},
    ]

    def modern(text):
        d = optuna.distributions._convert_old_distribution_to_new_distribution(
            optuna.distributions.json_to_distribution(text))
        return json.loads(distribution_to_json(d))

    write("distributions",
          cases=[{"json": distribution_to_json(d), "single": d.single(), "contains": [bool(d._contains(p)) for p in probes]}
                 for d in made],
          probes=probes, legacy=[{"old": old, "new": modern(json.dumps(old))} for old in legacy])


def grids():
    cases = []
    for seed in (None, 0, 1, 12345):
        grid = {"b": [1, 2, 3], "a": ["x", "y"], "c": [0.5, None]}
        sampler = optuna.samplers.GridSampler(grid, seed=seed)
        study = optuna.create_study(sampler=sampler)
        study.optimize(lambda t: float(t.suggest_categorical("b", [1, 2, 3])) if t.suggest_categorical("a", ["x", "y"])
                       and (t.suggest_categorical("c", [0.5, None]) or True) else 0.0)
        cases.append({"seed": seed or 0, "params": [t.params for t in study.trials]})
    write("grids", cases=cases)


OUT.mkdir(parents=True, exist_ok=True)
for make in (truncated_normal, parzen, splits, pruners, distributions, grids):
    make()
