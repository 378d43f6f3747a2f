"""Makes tests/golden/tune/{verdicts,wilcoxon,fronts,niches,importances,terminators}.json: what Optuna 5 and scipy compute.

Run from the repository's root with Optuna, scipy and scikit-learn: python tests/golden/scripts/tune_methods.py
Numbers are drawn with fixed seeds, which stand in the code.
"""

import json
import math
import pathlib
import warnings

import numpy as np
import optuna
import scipy
import scipy.stats
import sklearn
from optuna._hypervolume import compute_hypervolume
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution, distribution_to_json
from optuna.importance import (
    FanovaImportanceEvaluator,
    MeanDecreaseImpurityImportanceEvaluator,
    PedAnovaImportanceEvaluator,
    get_param_importances,
)
from optuna.samplers._nsgaiii import _elite_population_selection_strategy as niching
from optuna.samplers.nsgaii import _elite_population_selection_strategy as elite
from optuna.trial import TrialState, create_trial

optuna.logging.set_verbosity(optuna.logging.ERROR)
warnings.simplefilter("ignore")
OUT = pathlib.Path("tests/golden/tune")


def write(name, **content):
    made_with = {"script": "tests/golden/scripts/tune_methods.py", "optuna": optuna.__version__,
                 "numpy": np.__version__, "scipy": scipy.__version__, "scikit-learn": sklearn.__version__}
    (OUT / f"{name}.json").write_text(json.dumps({"made_with": made_with, **content}, separators=(", ", ": ")) + "\n")


def verdicts():
    """Decisions on random curves; curves are kept to four digits, so that the file stays small."""
    from optuna.pruners import HyperbandPruner, MedianPruner, PatientPruner, SuccessiveHalvingPruner, ThresholdPruner
    from optuna.pruners import WilcoxonPruner
    makers = {
        "hyperband": (HyperbandPruner, [{}, {"max_resource": 18}, {"min_resource": 2, "max_resource": 18, "reduction_factor": 2},
                                        {"max_resource": 18, "bootstrap_count": 2}]),
        "patient": (lambda **o: PatientPruner(None, **o), [{"patience": 0}, {"patience": 3}, {"patience": 2, "min_delta": 0.3}]),
        "patient_median": (lambda **o: PatientPruner(MedianPruner(n_startup_trials=2), **o), [{"patience": 1}, {"patience": 4}]),
        "patient_halving": (lambda **o: PatientPruner(SuccessiveHalvingPruner(min_resource=1, reduction_factor=2), **o), [{"patience": 1}]),
        "threshold": (ThresholdPruner, [{"lower": -1.0}, {"upper": 1.5}, {"lower": -2.0, "upper": 2.0, "n_warmup_steps": 4, "interval_steps": 3}]),
        "wilcoxon": (WilcoxonPruner, [{}, {"p_threshold": 0.3, "n_startup_steps": 0}, {"p_threshold": 0.02, "n_startup_steps": 5}]),
    }
    rng = np.random.RandomState(11)
    cases = []
    for kind, (make, options) in makers.items():
        for option in options:
            for direction in ("minimize", "maximize"):
                study = optuna.create_study(study_name=f"golden-{len(cases)}", direction=direction, pruner=make(**option),
                                            sampler=optuna.samplers.RandomSampler(seed=0))
                difficulty = rng.normal(size=40)
                runs = []
                for i in range(40):
                    trial = study.ask()
                    level, curve, decisions, last = rng.normal(), [], [], None
                    steps = np.arange(18)
                    if kind == "wilcoxon":
                        steps = rng.permutation(14 if i % 2 else 40 if i % 3 else 60)
                    for step in steps:
                        slope = (1 if direction == "minimize" else -1) / (int(step) + 1)
                        value = level + rng.normal() * 0.5 + (difficulty[step % 40] if kind == "wilcoxon" else slope)
                        value = round(float(value), 1 if i % 4 == 0 else 4)
                        if rng.randint(0, 400 if kind == "wilcoxon" else 80) == 0:
                            value = math.nan
                        trial.report(value, int(step))
                        curve.append([int(step), value])
                        decisions.append(int(trial.should_prune()))
                        if decisions[-1]:
                            study.tell(trial, state=TrialState.PRUNED)
                            break
                    else:
                        last = float(np.nanmean([v for _, v in curve])) if kind == "wilcoxon" else float(level)
                        study.tell(trial, last)
                    runs.append({"curve": curve, "pruned": decisions[-1], "value": last})
                cases.append({"pruner": kind, "options": option, "direction": direction, "study": study.study_name, "runs": runs})
    write("verdicts", cases=cases)


def wilcoxon():
    rng = np.random.RandomState(12)
    cases = []
    for n in (2, 3, 5, 8, 13, 14, 20, 50, 51, 80):
        for kind in ("plain", "ties", "zeros"):
            d = rng.normal(0.2, 1, n)
            if kind == "ties":
                d = np.round(d, 0 if n < 10 else 1)
                d[d == 0] = 0.5
            if kind == "zeros":
                d = np.round(d, 1)
                d[0] = 0
            p = {a: float(scipy.stats.wilcoxon(d, alternative=a, zero_method="zsplit").pvalue) for a in ("less", "greater")}
            cases.append({"differences": d.tolist(), **p})
    write("wilcoxon", cases=cases)


def fronts():
    rng = np.random.RandomState(13)
    cases = []
    for m in (1, 2, 3, 4, 6):
        for n, digits, special in ((1, 2, ""), (40, 1, ""), (60, 2, ""), (40, 1, "inf"), (50, 1, "penalty")):
            values = np.round(rng.uniform(0, 1, (n, m)), digits)
            if special == "inf":
                values[::7, 0] = math.inf
                values[::11, m - 1] = -math.inf
            attrs = [{} for _ in range(n)]
            if special == "penalty":
                attrs = [{"constraints:c": float(np.round(rng.normal(), 1))} for _ in range(n)]
            directions = ["minimize" if i % 2 == 0 else "maximize" for i in range(m)]
            study = optuna.create_study(directions=directions)
            for v, a in zip(values, attrs):
                study.add_trial(create_trial(values=v.tolist(), system_attrs=a))
            trials = study.get_trials(deepcopy=False)
            ranks = elite._rank_population(list(trials), study.directions, is_constrained=special == "penalty")
            distances = []
            for rank in ranks:
                found = elite._calc_crowding_distance(list(rank))
                distances.append([[t.number, found[t.number]] for t in rank])
            case = {"directions": directions, "values": values.tolist(), "attrs": attrs, "fronts": distances}
            if special == "":
                losses = values * np.array([1 if d == "minimize" else -1 for d in directions])
                reference = losses.max(axis=0) + 0.1
                case.update(reference=reference.tolist(), hypervolume=float(compute_hypervolume(losses, reference)))
            cases.append(case)
    write("fronts", cases=cases)


def niches():
    """NSGA-III: normalised objectives, the reference line of each individual and its distance."""
    rng = np.random.RandomState(14)
    cases = []
    for m, divide in ((2, 3), (3, 3), (3, 5), (4, 2), (5, 3)):
        points = niching._generate_default_reference_point(m, divide)
        for n, special in ((m + 1, ""), (30, ""), (25, "inf"), (20, "same")):
            values = rng.uniform(0, 1, (n, m)) * np.array([10.0 ** i for i in range(m)])
            if special == "inf":
                values[3, 0], values[5, m - 1] = math.inf, -math.inf
            if special == "same":
                values[:, 0] = 0.5
            trials = [create_trial(values=v.tolist()) for v in values]
            normal = niching._normalize_objective_values(niching._filter_inf(trials))
            closest, distance = niching._associate_individuals_with_reference_points(normal, points)
            cases.append({"dividing_parameter": divide, "values": values.tolist(), "points": points.tolist(),
                          "normal": normal.tolist(), "closest": closest.tolist(), "distance": distance.tolist()})
    write("niches", cases=cases)


def importances():
    rng = np.random.RandomState(15)
    spaces = {
        "floats": {"a": FloatDistribution(-5, 5), "b": FloatDistribution(1e-5, 1.0, log=True), "c": FloatDistribution(0, 1, step=0.1)},
        "mixed": {"k": IntDistribution(1, 9), "n": IntDistribution(1, 1000, log=True), "s": IntDistribution(0, 200, step=2),
                  "kind": CategoricalDistribution(["p", "q", "r"]), "x": FloatDistribution(0, 1), "one": FloatDistribution(2, 2)},
        "conditional": {"kind": CategoricalDistribution(["p", "q"]), "x": FloatDistribution(0, 1), "only_p": FloatDistribution(0, 2),
                        "wide": FloatDistribution(0, 1)},
    }

    def draw(d):
        if isinstance(d, CategoricalDistribution):
            return d.choices[rng.randint(len(d.choices))]
        if d.log:
            v = math.exp(rng.uniform(math.log(d.low), math.log(d.high)))
        else:
            v = rng.uniform(d.low, d.high)
        if isinstance(d, IntDistribution):
            v = int(round((v - d.low) / d.step)) * d.step + d.low
            return min(max(v, d.low), d.high)
        if d.step is not None:
            v = d.low + round((v - d.low) / d.step) * d.step
        return min(max(float(v), d.low), d.high)

    def value(params):
        out = 0.0
        for i, (name, v) in enumerate(sorted(params.items())):
            x = len(v) + ord(v[0]) - 112 if isinstance(v, str) else v
            x = math.log(x) if name in ("b", "n") else x
            out += (i + 1) * abs(x - 0.3) ** 1.5 / (10 if name in ("k", "s") else 1)
        return out + 0.1 * rng.normal()

    cases = []
    for name, space in spaces.items():
        for directions in (["minimize"], ["maximize"], ["minimize", "maximize"]):
            study = optuna.create_study(directions=directions)
            for i in range(90):
                used = dict(space)
                if name == "conditional" and i % 3 == 0:
                    used["wide"] = FloatDistribution(0, 2)
                params = {k: draw(d) for k, d in used.items()}
                if name == "conditional" and params["kind"] == "q":
                    del params["only_p"], used["only_p"]
                values = [value(params)] + [params["x"] if "x" in params else params["a"] for _ in directions[1:]]
                study.add_trial(create_trial(params=params, distributions=used, values=values))
            ped = {}
            for key, options in (("default", {}), ("wide", {"target_quantile": 0.3, "region_quantile": 0.8}),
                                 ("global", {"evaluate_on_local": False})):
                ped[key] = PedAnovaImportanceEvaluator(**options).evaluate(study)
            case = {"name": name, "directions": directions,
                    "trials": [{"values": t.values, "params": [[k, v] for k, v in t.params.items()],
                                "distributions": {k: json.loads(distribution_to_json(d)) for k, d in t.distributions.items()}}
                               for t in study.trials],
                    "ped_anova": ped}
            if name != "conditional":
                target = (lambda t: t.values[0])
                # Forests are random: mean and standard deviation over ten seeds.
                for key, make in (("fanova", FanovaImportanceEvaluator), ("impurity", MeanDecreaseImpurityImportanceEvaluator)):
                    found = [get_param_importances(study, evaluator=make(seed=s), target=target, normalize=False) for s in range(10)]
                    case[key] = {p: [float(np.mean([f[p] for f in found])), float(np.std([f[p] for f in found]))] for p in found[0]}
            cases.append(case)
    write("importances", cases=cases)


def terminators():
    """Regret bounds and EMMR of growing studies. Both search random points, so seeds differ: mean and deviation of five."""
    from optuna.terminator import EMMREvaluator, RegretBoundEvaluator
    rng = np.random.RandomState(16)
    cases = []
    for direction in ("minimize", "maximize"):
        sign = 1 if direction == "minimize" else -1
        space = {"x": FloatDistribution(-5, 5), "y": FloatDistribution(1e-3, 1.0, log=True), "c": CategoricalDistribution(["p", "q"])}
        study = optuna.create_study(direction=direction)
        for i in range(45):
            spread = 1 if i < 25 else 0.1
            params = {"x": float(np.clip(1 + spread * rng.uniform(-5, 4), -5, 5)), "y": float(np.exp(rng.uniform(np.log(1e-3), 0))),
                      "c": "p" if rng.rand() < 0.7 else "q"}
            value = (params["x"] - 1) ** 2 + 0.5 * math.log10(params["y"]) ** 2 + (params["c"] == "q") + 0.05 * rng.normal()
            study.add_trial(create_trial(params=params, distributions=space, value=sign * float(value)))
        entry = {"direction": direction, "values": [t.value for t in study.trials],
                 "params": [[t.params["x"], t.params["y"], t.params["c"]] for t in study.trials]}
        for n in (25, 45):
            for name, make in (("regret", RegretBoundEvaluator), ("emmr", EMMREvaluator)):
                found = [make(seed=s).evaluate(study.trials[:n], study.direction) for s in range(5)]
                entry[f"{name}_{n}"] = [float(np.mean(found)), float(np.std(found))]
        cases.append(entry)
    write("terminators", cases=cases)


for make in (verdicts, wilcoxon, fronts, niches, importances, terminators):
    make()
