"""Levin's and Optuna's methods on eight functions: medians of the best value after 50 and 100 trials, and whether
Levin's are worse (one-sided Mann-Whitney).

Usage: python benchmarks/tune/compare_methods.py BUILD_DIR [--methods tpe,gp,...] [--seeds 20]
Optuna's values come from optuna_quality.json (optuna_quality.py makes it, in about half an hour); Levin's are computed.
Needs no Optuna.
"""

import argparse
import json
import math
import pathlib
import statistics
import subprocess

HERE = pathlib.Path(__file__).parent


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
    options = parser.parse_args()
    optuna = json.loads((HERE / "optuna_quality.json").read_text())
    run = subprocess.run([f"{options.build}/bin/method_quality", options.methods, options.functions, str(options.seeds)],
                         check=True, capture_output=True, text=True)
    row = "{:28} {:>12} {:>12} {:>8} {:>12} {:>12} {:>8}"
    print(f"medians of the best feasible value, {options.seeds} seeds; Optuna {optuna['made_with']['optuna']}\n")
    print(row.format("", "levin 50", "optuna 50", "p worse", "levin 100", "optuna 100", "p worse"))
    worse = compared = 0
    for key, ours in json.loads(run.stdout).items():
        theirs = optuna["values"].get(key)
        cells = []
        for n in ("50", "100"):
            cells.append(f"{statistics.median(ours[n]):.5g}")
            if theirs and len(theirs[n]) >= 5:
                p = p_worse(ours[n], theirs[n])
                compared += 1
                worse += p < 0.05
                cells += [f"{statistics.median(theirs[n]):.5g}", f"{p:.3f}" + ("*" if p < 0.05 else "")]
            else:
                cells += ["", ""]
        print(row.format(key, *cells))
    print(f"\nworse (p < 0.05) in {worse} of {compared} comparisons; by chance alone one in 20 would be")


if __name__ == "__main__":
    main()
