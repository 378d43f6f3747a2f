"""Decisions of Ray Tune's schedulers on recorded losses: writes tests/golden/tune/schedulers.json.

Made with ray[tune] 2.60.0 and numpy's default_rng(0). All trials are added, then run in rounds: in each round every
running trial gives its next result, in order of its number; after a round the scheduler takes up paused trials.
Usage: ray_schedulers.py OUT.json
"""
import json
import random
import sys
from unittest import mock

import numpy as np
from ray.tune.experiment import Trial as RayTrial
from ray.tune.schedulers import (AsyncHyperBandScheduler, HyperBandForBOHB, HyperBandScheduler, MedianStoppingRule,
                                 PopulationBasedTraining)
from ray.tune.stopper import ExperimentPlateauStopper, TrialPlateauStopper


class Trial:
    def __init__(self, number, config):
        self.number, self.trial_id, self.config = number, f"t{number:03}", dict(config)
        self.status, self.t, self.experiment_tag, self.is_saving = RayTrial.PENDING, 0, str(number), False
        self.run_metadata = mock.MagicMock()
        self.run_metadata.checkpoint_manager.checkpoint_config.num_to_keep = None
        self.temporary_state = mock.MagicMock()
        self.temporary_state.saving_to = None
        self.evaluated_params, self.checkpoint, self.last_result = {}, "checkpoint", {}

    def is_finished(self):
        return self.status in (RayTrial.TERMINATED, RayTrial.ERROR)

    def set_experiment_tag(self, tag):
        pass

    def set_config(self, config):
        self.config = config


class Controller:
    def __init__(self, scheduler):
        self.scheduler, self.trials, self.log, self.search_alg = scheduler, [], [], None

    def get_trials(self):
        return self.trials

    def get_live_trials(self):
        return [t for t in self.trials if not t.is_finished()]

    def stop_trial(self, trial):
        trial.status = RayTrial.TERMINATED
        self.log.append([trial.number, trial.t, "end"])
        self.scheduler.on_trial_remove(self, trial)

    def pause_trial(self, trial, should_checkpoint=True):
        trial.status = RayTrial.PAUSED

    def _schedule_trial_save(self, trial, result=None):
        return f"checkpoint of {trial.number}"


def drive(scheduler, losses, configs=None, choose=True, max_t=1000):
    controller = Controller(scheduler)
    if isinstance(scheduler, HyperBandForBOHB):
        controller.search_alg = mock.MagicMock()
    scheduler.set_search_properties("loss", "min")
    for number in range(len(losses)):
        trial = Trial(number, (configs or [{}] * len(losses))[number])
        controller.trials.append(trial)
        scheduler.on_trial_add(controller, trial)
    for trial in controller.trials:
        trial.status = RayTrial.RUNNING
    while True:
        running = [t for t in controller.trials if t.status == RayTrial.RUNNING]
        if not running:
            break
        for trial in running:
            if trial.status != RayTrial.RUNNING:
                continue
            trial.t += 1
            result = {"training_iteration": trial.t, "loss": losses[trial.number][trial.t - 1]}
            trial.last_result = result
            if trial.t >= max_t:
                scheduler.on_trial_complete(controller, trial, result)
                trial.status = RayTrial.TERMINATED
                continue
            before = dict(trial.config)
            decision = scheduler.on_trial_result(controller, trial, result)
            if decision == "NOOP":  # it was paused to go on as a copy
                decision = "PAUSE" if scheduler._synch else "CONTINUE"
                trial.status = RayTrial.RUNNING
            controller.log.append([trial.number, trial.t, decision])
            if decision == "STOP":
                trial.status = RayTrial.TERMINATED
            elif decision == "PAUSE":
                trial.status = RayTrial.PAUSED
        while choose:
            trial = scheduler.choose_trial_to_run(controller)
            if trial is None or trial.status != RayTrial.PAUSED:
                break
            trial.status = RayTrial.RUNNING
            if trial.t >= len(losses[0]):
                trial.status = RayTrial.TERMINATED
    return controller


def curves(rng, trials, steps):
    scale, rate = rng.uniform(0.5, 2, (trials, 1)), rng.uniform(0.02, 0.5, (trials, 1))
    t = np.arange(1, steps + 1)
    return np.round(scale * np.exp(-rate * t) + 0.05 * rng.normal(size=(trials, steps)), 6).tolist()


def pbt(rng, synch, burn_in):
    losses = curves(rng, 6, 20)
    configs = [{"lr": 0.1 * (i + 1)} for i in range(6)]
    scheduler = PopulationBasedTraining(
        time_attr="training_iteration", perturbation_interval=3, burn_in_period=burn_in, quantile_fraction=0.16,
        hyperparam_mutations={"lr": lambda: 1.0}, resample_probability=0, perturbation_factors=(1.5, 1.5),
        log_config=False, synch=synch)
    exploits = []
    plain = scheduler._exploit

    def exploit(controller, trial, source):
        plain(controller, trial, source)
        trial.t = scheduler._trial_state[source].last_result["training_iteration"]  # it goes on from there
        exploits.append([trial.number, source.number, trial.config["lr"]])

    scheduler._exploit = exploit
    random.seed(0)
    controller = drive(scheduler, losses, configs, max_t=20)
    return {"synch": synch, "burn_in": burn_in, "losses": losses, "log": controller.log, "exploits": exploits}


def main(path):
    rng = np.random.default_rng(0)
    out = {"ray": "2.60.0", "seed": 0, "asha": [], "hyperband": [], "median": [], "pbt": []}
    for max_t, grace, factor, stop_last in [(27, 1, 3, True), (16, 2, 2, True), (20, 1, 4, True), (9, 1, 3, False)]:
        losses = curves(rng, 15, 30)
        scheduler = AsyncHyperBandScheduler(max_t=max_t, grace_period=grace, reduction_factor=factor,
                                            stop_last_trials=stop_last)
        out["asha"].append({"max_t": max_t, "grace_period": grace, "reduction_factor": factor,
                            "stop_last_trials": stop_last, "losses": losses,
                            "log": drive(scheduler, losses, choose=False, max_t=30).log})
    for bohb, max_t, factor, trials in [(False, 9, 3, 17), (False, 9, 3, 19), (False, 8, 2, 20), (True, 9, 3, 17),
                                        (True, 16, 4, 22)]:
        losses = curves(rng, trials, max_t + 2)
        kind = HyperBandForBOHB if bohb else HyperBandScheduler
        out["hyperband"].append({"bohb": bohb, "max_t": max_t, "reduction_factor": factor, "losses": losses,
                                 "log": drive(kind(max_t=max_t, reduction_factor=factor), losses).log})
    for grace, samples in [(1, 3), (4, 3), (2, 6)]:
        losses = curves(rng, 12, 15)
        scheduler = MedianStoppingRule(time_attr="training_iteration", grace_period=grace, min_samples_required=samples)
        out["median"].append({"grace_period": grace, "min_samples_required": samples, "losses": losses,
                              "log": drive(scheduler, losses, choose=False, max_t=15).log})
    for synch, burn_in in [(False, 0), (False, 7), (True, 0)]:
        out["pbt"].append(pbt(rng, synch, burn_in))
    values = np.round(np.concatenate([curves(rng, 1, 20)[0], 0.1 + 0.004 * rng.normal(size=15)]), 6).tolist()
    trial, experiment = TrialPlateauStopper("loss"), ExperimentPlateauStopper("loss", std=0.03, top=5, patience=2)
    out["plateau"] = {"values": values, "trial": [bool(trial("a", {"loss": v})) for v in values],
                      "experiment": [bool(experiment("a", {"loss": v})) for v in values]}
    with open(path, "w") as file:
        json.dump(out, file)
        file.write("\n")


if __name__ == "__main__":
    main(sys.argv[1])
