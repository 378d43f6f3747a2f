"""The Tuner's own time beside Ray Tune's, on trials that cost nothing. Usage: tuner_compare.py BUILD_DIR

Ray Tune runs 20 trials of one step (its time per trial is what counts); without Ray the line says so.
"""
import os
import subprocess
import sys
import time


def ray_seconds_per_trial():
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    import ray
    from ray import tune

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)

    class Toy(tune.Trainable):
        def setup(self, config):
            self.loss, self.lr = 1.0, config["lr"]

        def step(self):
            self.loss *= 1 - self.lr
            return {"loss": self.loss, "done": True}

    def run(n):
        start = time.perf_counter()
        tune.Tuner(Toy, param_space={"lr": tune.loguniform(1e-4, 1e-1)},
                   tune_config=tune.TuneConfig(metric="loss", mode="min", num_samples=n, max_concurrent_trials=2),
                   run_config=tune.RunConfig(verbose=0)).fit()
        return time.perf_counter() - start

    run(2)
    return run(20) / 20


def main(build):
    out = subprocess.run([os.path.join(build, "bin", "tuner_speed")], check=True, capture_output=True, text=True).stdout
    print("A trainable that does nothing; seconds, median (quartiles) of five runs")
    for line in out.splitlines():
        name, median, low, high = line.split()
        print(f"  {name:36} {median} ({low}-{high})")
    try:
        import ray  # noqa: F401
    except ImportError:
        print("  Ray Tune is not installed: skipped")
        return
    ours = float(out.split()[1]) / 10_000
    ray_trial = ray_seconds_per_trial()
    print(f"  one trial: Levin {ours * 1e6:.0f} us, Ray Tune {ray_trial * 1e6:.0f} us, a factor of {ray_trial / ours:.0f}")


if __name__ == "__main__":
    main(sys.argv[1])
