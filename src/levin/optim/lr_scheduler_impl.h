// What schedulers share: PyTorch's recursion over steps, and the reading of a saved state.
#pragma once

#include <levin/core/error.h>
#include <levin/optim/lr_scheduler.h>

#include <algorithm>
#include <string>
#include <vector>

namespace levin::optim {

inline List to_list(const std::vector<double>& values) { return {values.begin(), values.end()}; }

inline std::vector<double> to_doubles(const Value& value) {
  std::vector<double> out;
  for (const auto& item : value.as_list()) out.push_back(item.as_double());
  return out;
}

/** Reads saved keys one by one, and complains of those that nobody asked for. */
class StateReader {
 public:
  StateReader(const Map& state, std::string owner) : state_(state), owner_(std::move(owner)) {}

  template <class Read>
  void operator()(const std::string& key, Read read) {
    known_.push_back(key);
    const auto* value = state_.find(key);
    if (!value) return;
    try {
      read(*value);
    } catch (const Error& error) {
      auto info = error.info();
      info.where = "state of " + owner_ + ", key \"" + key + "\"";
      throw Error(std::move(info));
    }
  }
  void operator()(const std::string& key, double& to) {
    (*this)(key, [&](const Value& value) { to = value.as_double(); });
  }
  void operator()(const std::string& key, int64_t& to) {
    (*this)(key, [&](const Value& value) { to = value.as_int(); });
  }
  void operator()(const std::string& key, std::vector<double>& to) {
    (*this)(key, [&](const Value& value) { to = to_doubles(value); });
  }
  /** Keys that say nothing here: PyTorch's bookkeeping within a step, and what older versions wrote. */
  void skip(const std::string& key) { known_.push_back(key); }

  void finish() const {
    for (const auto& [key, value] : state_) {
      if (std::ranges::find(known_, key) == known_.end()) {
        throw Error({.what = "the saved scheduler state is not one of " + owner_,
                     .value = "key \"" + key + "\"",
                     .where = {},
                     .hint = did_you_mean(key, known_)});
      }
    }
  }

 private:
  const Map& state_;
  std::string owner_;
  std::vector<std::string> known_;
};

/** Schedules that are a function of the step: PyTorch's LRScheduler base class. */
class RecursiveScheduler : public LRSchedulerImpl {
 public:
  using LRSchedulerImpl::step;

  void step() override {
    ++step_count_;
    ++last_epoch_;
    apply(false);
  }
  void step(double) override {
    throw Error({.what = name() + " takes no metric", .value = {}, .where = {}, .hint = "call step() without one"});
  }

  Map state_dict() const override {
    Map out;
    write(out);
    out["base_lrs"] = to_list(base_lrs_);
    out["last_epoch"] = last_epoch_;
    out["_step_count"] = step_count_;
    out["_is_initial"] = false;
    out["_get_lr_called_within_step"] = false;
    out["_last_lr"] = to_list(last_lr_);
    return out;
  }

  void load_state_dict(const Map& state) override {
    auto base_lrs = base_lrs_, last_lr = last_lr_;
    auto last_epoch = last_epoch_, step_count = step_count_;
    StateReader reader(state, name());
    reader("base_lrs", base_lrs);
    reader("last_epoch", last_epoch);
    reader("_step_count", step_count);
    reader("_last_lr", last_lr);
    for (const auto* key : {"_is_initial", "_get_lr_called_within_step", "verbose"}) reader.skip(key);
    if (base_lrs.size() != base_lrs_.size()) {
      throw Error({.what = "the saved scheduler state is of an optimizer with another number of parameter groups",
                   .value = std::to_string(base_lrs.size()) + " against " + std::to_string(base_lrs_.size()),
                   .where = "state of " + name(),
                   .hint = {}});
    }
    read(reader);
    base_lrs_ = std::move(base_lrs);
    last_lr_ = std::move(last_lr);
    last_epoch_ = last_epoch;
    step_count_ = step_count;
  }

 protected:
  RecursiveScheduler(Optimizer optimizer, int64_t last_epoch) : LRSchedulerImpl(std::move(optimizer)) {
    const auto groups = optimizer_.param_groups();
    for (size_t i = 0; i < groups.size(); ++i) {
      if (last_epoch == -1) {
        if (!groups[i].initial_lr) groups[i].initial_lr = groups[i].lr;
      } else if (!groups[i].initial_lr) {
        throw Error({.what = "parameter group " + std::to_string(i) + " has no initial_lr to continue from",
                     .value = "last_epoch " + std::to_string(last_epoch),
                     .where = {},
                     .hint = "load the optimizer's state first, or leave last_epoch at -1 to start anew"});
      }
      base_lrs_.push_back(*groups[i].initial_lr);
    }
    last_epoch_ = last_epoch;
  }

  /** PyTorch's first step, made by the constructor. */
  void begin() {
    step_count_ = 1;
    ++last_epoch_;
    apply(true);
  }

  /** PyTorch's step without a count: begins the schedule again from the initial learning rates, for SequentialLR. */
  void restart() {
    last_epoch_ = 0;
    const auto groups = optimizer_.param_groups();
    for (size_t i = 0; i < base_lrs_.size(); ++i) groups[i].lr = base_lrs_[i];
    begun_again();
    apply(true);
  }
  /** Takes the constructor's first step back; the learning rates are the caller's to set. */
  void undo() { --last_epoch_; }

  /** The learning rate of a group whose current one is `lr`. */
  virtual double next(double lr, double base_lr, bool initial) const = 0;
  /** After the learning rates were set, for schedules that set more than them. */
  virtual void applied() {}
  /** The schedule begins again. */
  virtual void begun_again() {}
  virtual void write(Map& out) const = 0;
  /** Reads the schedule's own keys, and calls reader.finish() before it assigns. */
  virtual void read(StateReader& reader) = 0;

  const std::vector<double>& base_lrs() const noexcept { return base_lrs_; }

  int64_t step_count_ = 0;

 private:
  friend class SequentialLRImpl;

  // Groups that were added later keep their own learning rates.
  void apply(bool initial) {
    const auto groups = optimizer_.param_groups();
    for (size_t i = 0; i < base_lrs_.size(); ++i) groups[i].lr = next(groups[i].lr, base_lrs_[i], initial);
    applied();
    note_lr();
  }

  std::vector<double> base_lrs_;
};

}  // namespace levin::optim
