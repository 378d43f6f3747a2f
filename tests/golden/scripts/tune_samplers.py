"""Makes tests/golden/tune/{sequences,cma,gp}.json: what scipy, cmaes and Optuna compute, for the samplers' tests.

Run from the repository's root with optuna, cmaes, scipy and torch installed:
python tests/golden/scripts/tune_samplers.py
Each file names the versions it was made with. Numbers are drawn with fixed seeds.
"""

import json
import pathlib
import warnings

import cmaes
import numpy as np
import optuna
import scipy
import torch
from optuna._gp import acqf as acqf_module
from optuna._gp import gp as gp_module
from optuna._gp import prior
from optuna._gp.search_space import SearchSpace
from optuna.distributions import CategoricalDistribution, FloatDistribution
from scipy.stats import qmc

warnings.simplefilter("ignore")
OUT = pathlib.Path("tests/golden/tune")


def write(name, **content):
    made_with = {"script": "tests/golden/scripts/tune_samplers.py", "optuna": optuna.__version__, "numpy": np.__version__,
                 "scipy": scipy.__version__, "cmaes": cmaes.__version__, "torch": torch.__version__}
    (OUT / f"{name}.json").write_text(json.dumps({"made_with": made_with, **content}) + "\n")


def sequences():
    coordinates = [0, 1, 2, 3, 7, 19, 99, 500, 1500, 3000, 3666]
    sobol = qmc.Sobol(3667, scramble=False, bits=32).random(70)
    indices = [0, 1, 2, 3, 4, 5, 31, 32, 33, 63, 69]
    halton = qmc.Halton(12, scramble=False).random(60)
    write("sequences", coordinates=coordinates, indices=indices,
          sobol=[[float(sobol[i, c]) for c in coordinates] for i in indices], halton=halton.tolist(),
          discrepancy={"random": float(qmc.discrepancy(np.random.RandomState(0).uniform(size=(256, 4)))),
                       "sobol": float(qmc.discrepancy(qmc.Sobol(4, seed=0).random(256))),
                       "halton": float(qmc.discrepancy(qmc.Halton(4, seed=0).random(256)))})


def ellipsoid(x):
    return float(sum(10 ** (3 * i / max(1, len(x) - 1)) * (v - 0.3) ** 2 for i, v in enumerate(x)))


def cma():
    cases = []
    for kind, dim, generations, options in [
        ("full", 2, 25, {}), ("full", 7, 25, {}), ("full", 1, 12, {}), ("full", 5, 12, {"population_size": 15}),
        ("lr_adapt", 4, 30, {"lr_adapt": True}), ("separable", 6, 25, {}), ("margin", 5, 25, {}),
        ("warm", 3, 12, {}),
    ]:
        rng = np.random.RandomState(dim)
        bounds = np.array([[0.0, 1.0]] * dim)
        mean, sigma, steps, start, source = np.full(dim, 0.5), 1 / 6, None, {}, None
        if kind == "separable":
            es = cmaes.SepCMA(mean=mean.copy(), sigma=sigma, bounds=bounds, seed=1)
        elif kind == "margin":
            steps = np.array([0.0, 0.1, 1.0, 0.25, 0.0])[:dim]
            es = cmaes.CMAwM(mean=mean.copy(), sigma=sigma, bounds=bounds, steps=steps, seed=1)
        elif kind == "warm":
            source = [(rng.uniform(size=dim), float(rng.normal())) for _ in range(40)]
            m, s, c = cmaes.get_warm_start_mgd([(x.copy(), v) for x, v in source])
            start = {"mean": m.tolist(), "sigma": float(s), "cov": c.tolist()}
            es = cmaes.CMA(mean=m, sigma=s, cov=c, bounds=bounds, seed=1)
        else:
            es = cmaes.CMA(mean=mean.copy(), sigma=sigma, bounds=bounds, seed=1, **options)
        told, states = [], []
        for _ in range(generations):
            solutions = []
            for _ in range(es.population_size):
                point, raw = es.ask() if kind == "margin" else (es.ask(),) * 2
                solutions.append((np.array(raw), ellipsoid(point)))
            told.append([[x.tolist(), v] for x, v in solutions])
            es.tell(solutions)
            inner = es._cma if kind == "margin" else es
            cov = np.diag(inner._C) if kind == "separable" else inner._C
            states.append({"mean": inner._mean.tolist(), "sigma": float(inner._sigma), "cov": cov.tolist(),
                           "stop": bool(es.should_stop())})
        cases.append({"kind": kind, "dim": dim, "population": es.population_size, "told": told,
                      "states": [states[0], states[generations // 2], states[-1]],
                      "at": [0, generations // 2, generations - 1], "steps": None if steps is None else steps.tolist(),
                      "start": start, "source": None if source is None else [[x.tolist(), v] for x, v in source]})
    write("cma", cases=cases)


def gp():
    rng = np.random.RandomState(5)
    cases = []
    for n, categorical in [(4, [False]), (15, [False, False, True]), (40, [False] * 5)]:
        d = len(categorical)
        x = rng.uniform(size=(n, d))
        x[:, categorical] = rng.randint(0, 3, size=(n, sum(categorical)))
        y = np.sin(5 * x[:, 0]) + (x[:, -1] - 0.4) ** 2 + 0.1 * rng.normal(size=n)
        y = (y - y.mean()) / y.std()
        params = np.concatenate([rng.uniform(0.2, 20, d), rng.uniform(0.5, 2, 1), rng.uniform(1e-4, 0.1, 1)])

        def regressor(values, p):
            r = gp_module.GPRegressor(torch.tensor(categorical), torch.from_numpy(x), torch.from_numpy(values),
                                      torch.from_numpy(p[:d]), torch.tensor(p[d]), torch.tensor(p[d + 1]))
            r._cache_matrix()
            return r

        r = regressor(y, params)
        probes = rng.uniform(size=(6, d))
        probes[:, categorical] = rng.randint(0, 3, size=(6, sum(categorical)))
        mean, var = r.posterior(torch.from_numpy(probes))
        fitted = gp_module.fit_kernel_params(x, y, np.array(categorical), prior.default_log_prior, 1e-6, False)
        fixed = gp_module.fit_kernel_params(x, y, np.array(categorical), prior.default_log_prior, 1e-6, True)

        def posterior_density(g):
            return float(g.marginal_log_likelihood() + prior.default_log_prior(g))

        space = SearchSpace({f"x{i}": CategoricalDistribution([0, 1, 2]) if c else FloatDistribution(0, 1)
                             for i, c in enumerate(categorical)})
        running = rng.uniform(size=(2, d))
        running[:, categorical] = rng.randint(0, 3, size=(2, sum(categorical)))
        y2 = np.cos(3 * x[:, 0]) + 0.1 * rng.normal(size=n)
        y2 = (y2 - y2.mean()) / y2.std()
        y3 = rng.normal(size=n)
        y3 = (y3 - y3.mean()) / y3.std()
        p2, p3 = params * rng.uniform(0.5, 2, d + 2), params * rng.uniform(0.5, 2, d + 2)
        best, threshold = float(y.max()), 0.3
        samples = {}
        real = acqf_module.sample_from_normal_sobol

        def recorded(dim, n_samples, seed):
            out = real(dim, n_samples, seed)
            samples.setdefault("now", []).append(out.numpy().tolist())
            return out

        acqf_module.sample_from_normal_sobol = recorded
        gp_module.sample_from_normal_sobol = recorded

        def make(kind):
            one, two, three = regressor(y, params), regressor(y2, p2), regressor(y3, p3)
            ys = torch.from_numpy(np.stack([y, y2], axis=1))
            ys3 = torch.from_numpy(np.stack([y, y2, y3], axis=1))
            common = dict(search_space=space)
            sampled = dict(n_qmc_samples=32, qmc_seed=3)
            constrained = dict(constraints_gpr_list=[three], constraints_threshold_list=[threshold])
            during = dict(normalized_params_of_running_trials=running)
            feasible = ys[y3 >= threshold] if (y3 >= threshold).any() else None
            return {
                "logei": lambda: acqf_module.LogEI(gpr=one, threshold=best, **common),
                "logcei": lambda: acqf_module.LogCEI(gpr=one, threshold=best, **common, **constrained),
                "logcei_nothing": lambda: acqf_module.LogCEI(gpr=one, threshold=-np.inf, **common, **constrained),
                "qlogei": lambda: acqf_module.qLogEI(gpr=one, threshold=best, **common, **sampled, **during),
                "qlogcei": lambda: acqf_module.qLogCEI(gpr=one, threshold=best, **common, **sampled, **during, **constrained),
                "logehvi": lambda: acqf_module.LogEHVI(gpr_list=[one, two], Y_train=ys, **common, **sampled),
                "logehvi3": lambda: acqf_module.LogEHVI(gpr_list=[one, two, three], Y_train=ys3, **common, **sampled),
                "qlogehvi": lambda: acqf_module.qLogEHVI(gpr_list=[one, two], Y_train=ys, **common, **sampled, **during),
                "logcehvi": lambda: acqf_module.LogCEHVI(gpr_list=[one, two], Y_feasible=feasible, **common, **sampled, **constrained),
                "logcehvi_nothing": lambda: acqf_module.LogCEHVI(gpr_list=[one, two], Y_feasible=None, **common, **sampled, **constrained),
                "qlogcehvi": lambda: acqf_module.qLogCEHVI(gpr_list=[one, two], Y_feasible=feasible, **common, **sampled, **during, **constrained),
            }[kind]()

        acquisitions = {}
        for kind in ("logei", "logcei", "logcei_nothing", "qlogei", "qlogcei", "logehvi", "logehvi3", "qlogehvi",
                     "logcehvi", "logcehvi_nothing", "qlogcehvi"):
            samples.clear()
            function = make(kind)
            acquisitions[kind] = {"normals": samples.get("now", []),
                                  "values": [float(function.eval_acqf_no_grad(p[None])[0]) for p in probes],
                                  "gradients": [function.eval_acqf_with_grad(p)[1].tolist() for p in probes]}
            assert len(samples.get("now", [])) <= 3
        acqf_module.sample_from_normal_sobol = real
        gp_module.sample_from_normal_sobol = real
        cases.append({
            "categorical": categorical, "x": x.tolist(), "y": y.tolist(), "y2": y2.tolist(), "y3": y3.tolist(),
            "params": params.tolist(), "params2": p2.tolist(), "params3": p3.tolist(), "probes": probes.tolist(),
            "running": running.tolist(), "best": best, "threshold": threshold,
            "kernel": r.kernel().detach().numpy().tolist(), "log_likelihood": float(r.marginal_log_likelihood()),
            "log_prior": float(prior.default_log_prior(r)), "mean": mean.tolist(), "var": var.tolist(),
            "fitted": posterior_density(fitted), "fitted_deterministic": posterior_density(fixed),
            "acquisitions": acquisitions,
        })
    z = np.concatenate([np.linspace(-40, 10, 101), [-1e3, -25.0, -25.0001, -24.9999]])
    write("gp", cases=cases, z=z.tolist(), log_ei=acqf_module.standard_logei(torch.from_numpy(z)).tolist())


OUT.mkdir(parents=True, exist_ok=True)
sequences()
cma()
gp()
