"""Levin's and Optuna's methods on eight functions and five tasks of LCBench: medians of the best value after 50 and 100
trials, and whether Levin's are worse (one-sided Mann-Whitney).

Of many comparisons of equals, one in 20 comes out below 0.05. So where one does and optuna_quality.json holds more seeds
than --seeds, Levin runs on those seeds as well, and they alone decide: values that raised the suspicion do not confirm it.

Usage: python benchmarks/tune/compare_methods.py BUILD_DIR [--methods tpe,gp,...] [--functions ...] [--seeds 20]
Optuna's values come from optuna_quality.json (optuna_quality.py makes it, in some two hours); Levin's are computed.
Needs no Optuna.
"""

import argparse
import json
import math
import os
import pathlib
import statistics
import subprocess
import sys

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
from table import print_table  # noqa: E402

METHODS = ["random", "qmc", "tpe", "tpe_univariate", "cma", "nsga2", "gp", "auto"]


def p_worse(ours, theirs):
    """The probability of ours being as large as they are if both came from one distribution (normal approximation
    with ties and continuity corrected): small when Levin is worse."""
    n, m = len(ours), len(theirs)
    u = sum((a > b) + 0.5 * (a == b) for a in ours for b in theirs)
    pooled = ours + theirs
    ties = sum(k**3 - k for k in (pooled.count(v) for v in set(pooled)))
    variance = n * m / 12 * (n + m + 1 - ties / ((n + m) * (n + m - 1)))
    if variance <= 0:
        return 1.0
    return 0.5 * math.erfc((u - n * m / 2 - 0.5) / math.sqrt(2 * variance))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("build")
    parser.add_argument("--methods", default="all")
    parser.add_argument("--functions", default="all")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--levin", type=pathlib.Path, help="keep Levin's values in this file, and take from it what it holds")
    parser.add_argument("--markdown", action="store_true", help="also print the page's table")
    options = parser.parse_args()
    optuna = json.loads((HERE / "optuna_quality.json").read_text())
    kept = json.loads(options.levin.read_text()) if options.levin and options.levin.exists() else {}

    def run_levin(method, functions, seeds, first):
        command = [f"{options.build}/bin/method_quality", method, functions, str(seeds), str(first)]
        run = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                             env=os.environ | {"LEVIN_LCBENCH": str(HERE / "lcbench")})
        return json.loads(run.stdout)

    methods = METHODS if options.methods == "all" else options.methods.split(",")
    for method in methods:
        if options.functions == "all" and any(key.startswith(method + "/") for key in kept):
            continue
        kept |= run_levin(method, options.functions, options.seeds, 0)
        if options.levin:
            options.levin.write_text(json.dumps(kept) + "\n")
    row = "{:30} {:>12} {:>12} {:>8} {:>12} {:>12} {:>8} {:>9}"
    print(f"medians of the best feasible value, {options.seeds} seeds; Optuna {optuna['made_with']['optuna']}\n")
    print(row.format("", "levin 50", "optuna 50", "p worse", "levin 100", "optuna 100", "p worse", "ms/trial"))
    suspects, compared = [], 0
    for key, ours in kept.items():
        if key.split("/")[0] not in methods:
            continue
        theirs = optuna["values"].get(key)
        cells = []
        for n in ("50", "100"):
            cells.append(f"{statistics.median(ours[n]):.5g}")
            first = theirs[n][: options.seeds] if theirs else []
            if len(first) >= 5:
                p = p_worse(ours[n], first)
                compared += 1
                if p < 0.05:
                    suspects.append((key, n))
                fewer = f" ({len(first)})" if len(first) < options.seeds else ""
                cells += [f"{statistics.median(first):.5g}{fewer}", f"{p:.3f}" + ("*" if p < 0.05 else "")]
            else:
                cells += ["", ""]
        print(row.format(key, *cells, f"{10 * statistics.median(ours['seconds']):.3g}"))
    print(f"\np < 0.05 in {len(suspects)} of {compared} comparisons; of equals one in 20 would be. (n): seeds, if fewer")
    for key, n in suspects:
        more = optuna["values"][key][n][options.seeds :]
        if len(more) < 20:
            print(f"{key} at {n}: no further seeds recorded")
            continue
        method, function = key.split("/")
        fresh = run_levin(method, function, len(more), options.seeds)[key][n]
        p = p_worse(fresh, more)
        print(f"{key} at {n}: {len(more)} further seeds, medians {statistics.median(fresh):.5g} and "
              f"{statistics.median(more):.5g}, p {p:.3f}: {'worse' if p < 0.05 else 'no worse'}")
    if options.markdown:
        print_page_table(kept, optuna["values"], methods, options.seeds)
    if "auto" in methods and len(methods) > 1:
        judge_auto(kept, [m for m in methods if m != "auto"])


def print_page_table(kept, optuna, methods, seeds):
    """Medians after 100 trials by function and method, Levin's and Optuna's, as in docs/tuning-benchmarks.md."""
    functions = list(dict.fromkeys(key.split("/")[1] for key in kept))
    rows = []
    for function in functions:
        cells = [function]
        for method in methods:
            key = f"{method}/{function}"
            ours, theirs = kept.get(key, {}).get("100"), optuna.get(key, {}).get("100", [])[:seeds]
            text = f"{statistics.median(ours):.4g}" if ours else ""
            if len(theirs) >= 5:
                text += f" / {statistics.median(theirs):.4g}" + (f" ({len(theirs)})" if len(theirs) < seeds else "")
            cells.append(text)
        rows.append(cells)
    print()
    print_table(["", *methods], rows)


def judge_auto(kept, methods):
    """`auto` against whichever of Levin's methods has the best median on a function, known only afterwards."""
    print("\nauto after 100 trials, beside the best single method of each function\n")
    row = "{:20} {:>12} {:>16} {:>12} {:>8}"
    print(row.format("", "auto", "best method", "its median", "p worse"))
    functions = [key.split("/")[1] for key in kept if key.startswith("auto/")]
    no_worse = no_larger = 0
    for function in functions:
        values = {m: kept[f"{m}/{function}"]["100"] for m in methods if f"{m}/{function}" in kept}
        best = min(values, key=lambda m: statistics.median(values[m]))
        auto = kept[f"auto/{function}"]["100"]
        p = p_worse(auto, values[best])
        no_worse += p >= 0.05
        no_larger += statistics.median(auto) <= statistics.median(values[best])
        print(row.format(function, f"{statistics.median(auto):.5g}", best, f"{statistics.median(values[best]):.5g}",
                         f"{p:.3f}" + ("*" if p < 0.05 else "")))
    print(f"\nno worse (p >= 0.05) on {no_worse} of {len(functions)}, of these with a median as good on {no_larger}")


if __name__ == "__main__":
    main()
