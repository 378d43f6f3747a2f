#include <levin/optim/lr_schedules.h>

#include <levin/optim/lr_scheduler_impl.h>
#include <levin/optim/optimizer_impl.h>
#include <levin/optim/validate.h>

#include <cmath>
#include <limits>
#include <numbers>

namespace levin::optim {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

const char* name_of(AnnealStrategy strategy) { return strategy == AnnealStrategy::cos ? "cos" : "linear"; }

double anneal(AnnealStrategy strategy, double start, double end, double share) {
  if (strategy == AnnealStrategy::linear) return (end - start) * share + start;
  return end + (start - end) / 2.0 * (std::cos(std::numbers::pi * share) + 1);
}

void require_count(int64_t count, const char* owner, const char* setting) {
  require(count > 0, owner, setting, static_cast<double>(count), "at least 1");
}

/** A schedule whose settings are its own: a saved state brings back where it is, and must not be of another kind. */
class FixedScheduler : public RecursiveScheduler {
 protected:
  using RecursiveScheduler::RecursiveScheduler;

  void read(StateReader& reader) override {
    Map settings;
    write(settings);
    for (const auto& [key, value] : settings) reader.skip(key);
    for (const char* key : other_keys()) reader.skip(key);
    reader.finish();
  }
  /** What PyTorch writes beside what `write` does. */
  virtual std::vector<const char*> other_keys() const { return {}; }
};

class MultiStepLRImpl : public FixedScheduler {
 public:
  MultiStepLRImpl(Optimizer optimizer, MultiStepLROptions options)
      : FixedScheduler(std::move(optimizer), options.last_epoch), o_(std::move(options)) {
    for (const int64_t step : o_.milestones)
      require(step >= 0, "MultiStepLR", "milestones", static_cast<double>(step), "at least 0");
    require(o_.gamma >= 0 && o_.gamma < kInfinity, "MultiStepLR", "gamma", o_.gamma, "a number of at least 0");
    begin();
  }
  std::string name() const override { return "MultiStepLR"; }

 protected:
  double next(double lr, double, bool) const override {
    return lr * std::pow(o_.gamma, static_cast<double>(std::ranges::count(o_.milestones, last_epoch_)));
  }
  void write(Map& out) const override { out["gamma"] = o_.gamma; }
  std::vector<const char*> other_keys() const override { return {"milestones"}; }

 private:
  MultiStepLROptions o_;
};

class ConstantLRImpl : public FixedScheduler {
 public:
  ConstantLRImpl(Optimizer optimizer, ConstantLROptions options)
      : FixedScheduler(std::move(optimizer), options.last_epoch), o_(options) {
    require(o_.factor >= 0 && o_.factor <= 1, "ConstantLR", "factor", o_.factor, "in [0, 1]");
    begin();
  }
  std::string name() const override { return "ConstantLR"; }

 protected:
  double next(double lr, double, bool) const override {
    if (last_epoch_ == 0) return lr * o_.factor;
    return last_epoch_ == o_.total_iters ? lr * (1.0 / o_.factor) : lr;
  }
  void write(Map& out) const override {
    out["factor"] = o_.factor;
    out["total_iters"] = o_.total_iters;
  }

 private:
  ConstantLROptions o_;
};

class LinearLRImpl : public FixedScheduler {
 public:
  LinearLRImpl(Optimizer optimizer, LinearLROptions options)
      : FixedScheduler(std::move(optimizer), options.last_epoch), o_(options) {
    require(o_.start_factor > 0 && o_.start_factor <= 1, "LinearLR", "start_factor", o_.start_factor, "in (0, 1]");
    require(o_.end_factor >= 0 && o_.end_factor <= 1, "LinearLR", "end_factor", o_.end_factor, "in [0, 1]");
    require_count(o_.total_iters, "LinearLR", "total_iters");
    begin();
  }
  std::string name() const override { return "LinearLR"; }

 protected:
  double next(double lr, double, bool) const override {
    if (last_epoch_ == 0) return lr * o_.start_factor;
    if (last_epoch_ > o_.total_iters) return lr;
    const double rise = o_.end_factor - o_.start_factor;
    return lr * (1.0 + rise / (static_cast<double>(o_.total_iters) * o_.start_factor +
                               static_cast<double>(last_epoch_ - 1) * rise));
  }
  void write(Map& out) const override {
    out["start_factor"] = o_.start_factor;
    out["end_factor"] = o_.end_factor;
    out["total_iters"] = o_.total_iters;
  }

 private:
  LinearLROptions o_;
};

class ExponentialLRImpl : public FixedScheduler {
 public:
  ExponentialLRImpl(Optimizer optimizer, ExponentialLROptions options)
      : FixedScheduler(std::move(optimizer), options.last_epoch), gamma_(options.gamma) {
    require(gamma_ >= 0 && gamma_ < kInfinity, "ExponentialLR", "gamma", gamma_, "a number of at least 0");
    begin();
  }
  std::string name() const override { return "ExponentialLR"; }

 protected:
  double next(double lr, double, bool initial) const override { return initial ? lr : lr * gamma_; }
  void write(Map& out) const override { out["gamma"] = gamma_; }

 private:
  double gamma_;
};

class PolynomialLRImpl : public FixedScheduler {
 public:
  PolynomialLRImpl(Optimizer optimizer, PolynomialLROptions options)
      : FixedScheduler(std::move(optimizer), options.last_epoch), o_(options) {
    require_count(o_.total_iters, "PolynomialLR", "total_iters");
    require(o_.power >= 0, "PolynomialLR", "power", o_.power, "at least 0");
    begin();
  }
  std::string name() const override { return "PolynomialLR"; }

 protected:
  double next(double lr, double, bool initial) const override {
    if (initial || last_epoch_ > o_.total_iters) return lr;
    const auto step = static_cast<double>(last_epoch_), total = static_cast<double>(o_.total_iters);
    return lr * std::pow((1.0 - step / total) / (1.0 - (step - 1) / total), o_.power);
  }
  void write(Map& out) const override {
    out["total_iters"] = o_.total_iters;
    out["power"] = o_.power;
  }

 private:
  PolynomialLROptions o_;
};

class CosineAnnealingWarmRestartsImpl : public RecursiveScheduler {
 public:
  CosineAnnealingWarmRestartsImpl(Optimizer optimizer, CosineAnnealingWarmRestartsOptions options)
      : RecursiveScheduler(std::move(optimizer), options.last_epoch),
        o_(options),
        t_i_(options.T_0),
        t_cur_(options.last_epoch) {
    require_count(o_.T_0, "CosineAnnealingWarmRestarts", "T_0");
    require_count(o_.T_mult, "CosineAnnealingWarmRestarts", "T_mult");
    advance();
    begin();
    step_count_ = 0;  // PyTorch's never counts
  }
  std::string name() const override { return "CosineAnnealingWarmRestarts"; }

  void step() override {
    advance();
    RecursiveScheduler::step();
    step_count_ = 0;
  }

 protected:
  double next(double, double base_lr, bool) const override {
    const double share = static_cast<double>(t_cur_) / static_cast<double>(t_i_);
    return o_.eta_min + (base_lr - o_.eta_min) * (1 + std::cos(std::numbers::pi * share)) / 2;
  }
  void begun_again() override { t_cur_ = 0, t_i_ = o_.T_0; }
  void write(Map& out) const override {
    out["T_0"] = o_.T_0;
    out["T_i"] = t_i_;
    out["T_mult"] = o_.T_mult;
    out["eta_min"] = o_.eta_min;
    out["T_cur"] = t_cur_;
  }
  void read(StateReader& reader) override {
    auto o = o_;
    auto t_i = t_i_, t_cur = t_cur_;
    reader("T_0", o.T_0);
    reader("T_i", t_i);
    reader("T_mult", o.T_mult);
    reader("eta_min", o.eta_min);
    reader("T_cur", t_cur);
    reader.finish();
    require_count(o.T_0, "CosineAnnealingWarmRestarts", "T_0");
    require_count(t_i, "CosineAnnealingWarmRestarts", "T_i");
    o_ = o;
    t_i_ = t_i;
    t_cur_ = t_cur;
  }

 private:
  void advance() {
    if (++t_cur_ < t_i_) return;
    t_cur_ %= t_i_;
    t_i_ *= o_.T_mult;
  }

  CosineAnnealingWarmRestartsOptions o_;
  int64_t t_i_, t_cur_;
};

class LambdaImpl : public FixedScheduler {
 public:
  LambdaImpl(Optimizer optimizer, std::function<double(int64_t)> factor, int64_t last_epoch, bool multiplies)
      : FixedScheduler(std::move(optimizer), last_epoch), factor_(std::move(factor)), multiplies_(multiplies) {
    if (!factor_) throw Error({.what = name() + " needs a function", .value = "none", .where = {}, .hint = {}});
    begin();
  }
  std::string name() const override { return multiplies_ ? "MultiplicativeLR" : "LambdaLR"; }

 protected:
  double next(double lr, double base_lr, bool initial) const override {
    if (!multiplies_) return base_lr * factor_(last_epoch_);
    return initial ? lr : lr * factor_(last_epoch_);
  }
  // Functions are not saved; PyTorch writes None for each.
  void write(Map& out) const override { out["lr_lambdas"] = List(base_lrs().size()); }

 private:
  std::function<double(int64_t)> factor_;
  bool multiplies_;
};

/** What is called momentum: `momentum`, or the first of the betas. */
class MomentumOf {
 public:
  MomentumOf(const Optimizer& optimizer, const std::string& owner) {
    uses_betas_ = optimizer.impl()->has_setting("betas");
    if (!uses_betas_ && !optimizer.impl()->has_setting("momentum")) {
      throw Error({.what = owner + ": the optimizer has no momentum to cycle",
                   .value = optimizer.name(),
                   .where = {},
                   .hint = "set .cycle_momentum = false"});
    }
  }
  bool uses_betas() const { return uses_betas_; }
  void set(Group& group, double value) const { (uses_betas_ ? group.betas[0] : group.momentum) = value; }

 private:
  bool uses_betas_ = false;
};

class OneCycleLRImpl : public FixedScheduler {
 public:
  OneCycleLRImpl(Optimizer optimizer, OneCycleLROptions options)
      : FixedScheduler(prepared(std::move(optimizer), options), -1), o_(options) {
    if (o_.cycle_momentum) momentum_.emplace(optimizer_, "OneCycleLR");
    const auto total = static_cast<double>(o_.total_steps);
    if (o_.three_phase) {
      ends_ = {o_.pct_start * total - 1, 2 * o_.pct_start * total - 2, total - 1};
    } else {
      ends_ = {o_.pct_start * total - 1, total - 1};
    }
    begin();
  }
  std::string name() const override { return "OneCycleLR"; }

  void step() override {
    if (last_epoch_ >= o_.total_steps) {
      throw Error({.what = "OneCycleLR is at its end",
                   .value = "step " + std::to_string(last_epoch_ + 1) + " of " + std::to_string(o_.total_steps),
                   .where = {},
                   .hint = "total_steps must hold all steps, for instance trainer().estimated_stepping_batches()"});
    }
    FixedScheduler::step();
  }

 protected:
  double next(double, double base_lr, bool) const override {
    const double peak = base_lr * o_.div_factor, last = base_lr / o_.final_div_factor;
    return value(base_lr, peak, base_lr, last);
  }
  void applied() override {
    if (!momentum_) return;
    const double value_now = value(o_.max_momentum, o_.base_momentum, o_.max_momentum, o_.max_momentum);
    const auto groups = optimizer_.param_groups();
    for (size_t i = 0; i < base_lrs().size(); ++i) momentum_->set(groups[i], value_now);
  }
  void write(Map& out) const override {
    out["total_steps"] = o_.total_steps;
    out["_anneal_func_type"] = name_of(o_.anneal_strategy);
    out["cycle_momentum"] = o_.cycle_momentum;
    if (momentum_) out["use_beta1"] = momentum_->uses_betas();
  }
  std::vector<const char*> other_keys() const override { return {"_schedule_phases", "use_beta1"}; }

 private:
  // Between the corners of the cycle: start, peak, (start again,) last.
  double value(double start, double peak, double again, double last) const {
    const std::vector<double> corners =
        o_.three_phase ? std::vector{start, peak, again, last} : std::vector{start, peak, last};
    const auto step = static_cast<double>(last_epoch_);
    double from = 0;
    for (size_t i = 0;; ++i) {
      if (step <= ends_[i] || i + 1 == ends_.size())
        return anneal(o_.anneal_strategy, corners[i], corners[i + 1], (step - from) / (ends_[i] - from));
      from = ends_[i];
    }
  }
  // PyTorch keeps the corners in the groups, and reads them there after loading a state.
  static Optimizer prepared(Optimizer optimizer, const OneCycleLROptions& o) {
    require_count(o.total_steps, "OneCycleLR", "total_steps");
    require(o.pct_start >= 0 && o.pct_start <= 1, "OneCycleLR", "pct_start", o.pct_start, "in [0, 1]");
    require(o.max_lr > 0, "OneCycleLR", "max_lr", o.max_lr, "above 0");
    require(o.div_factor > 0, "OneCycleLR", "div_factor", o.div_factor, "above 0");
    require(o.final_div_factor > 0, "OneCycleLR", "final_div_factor", o.final_div_factor, "above 0");
    if (!optimizer) return optimizer;
    for (Group& group : optimizer.param_groups()) {
      group.lr = o.max_lr / o.div_factor;
      group.initial_lr = group.lr;
      group.extra["max_lr"] = o.max_lr;
      group.extra["min_lr"] = group.lr / o.final_div_factor;
      if (o.cycle_momentum) {
        group.extra["max_momentum"] = o.max_momentum;
        group.extra["base_momentum"] = o.base_momentum;
      }
    }
    return optimizer;
  }

  OneCycleLROptions o_;
  std::optional<MomentumOf> momentum_;
  std::vector<double> ends_;  // the step at which each phase ends
};

class CyclicLRImpl : public FixedScheduler {
 public:
  CyclicLRImpl(Optimizer optimizer, CyclicLROptions options)
      : FixedScheduler(prepared(std::move(optimizer), options), -1), o_(options) {
    if (o_.cycle_momentum) momentum_.emplace(optimizer_, "CyclicLR");
    const auto up = static_cast<double>(o_.step_size_up),
               down = static_cast<double>(o_.step_size_down.value_or(o_.step_size_up));
    total_size_ = up + down;
    step_ratio_ = up / total_size_;
    begin();
  }
  std::string name() const override { return "CyclicLR"; }

 protected:
  double next(double, double, bool) const override { return o_.base_lr + (o_.max_lr - o_.base_lr) * height(); }
  void applied() override {
    if (!momentum_) return;
    const double value = o_.max_momentum - (o_.max_momentum - o_.base_momentum) * height();
    const auto groups = optimizer_.param_groups();
    for (size_t i = 0; i < base_lrs().size(); ++i) momentum_->set(groups[i], value);
  }
  void write(Map& out) const override {
    const auto each = [&](double value) { return to_list(std::vector<double>(base_lrs().size(), value)); };
    out["max_lrs"] = each(o_.max_lr);
    out["total_size"] = total_size_;
    out["step_ratio"] = step_ratio_;
    out["mode"] = o_.mode == CyclicMode::triangular    ? "triangular"
                  : o_.mode == CyclicMode::triangular2 ? "triangular2"
                                                       : "exp_range";
    out["gamma"] = o_.gamma;
    out["scale_mode"] = o_.mode == CyclicMode::exp_range ? "iterations" : "cycle";
    out["cycle_momentum"] = o_.cycle_momentum;
    if (momentum_) {
      out["use_beta1"] = momentum_->uses_betas();
      out["base_momentums"] = each(o_.base_momentum);
      out["max_momentums"] = each(o_.max_momentum);
    }
    out["_scale_fn_custom"] = nullptr;
  }

 private:
  // From 0 at the bottom of a cycle to 1 at its top, with what the mode makes of it.
  double height() const {
    const auto step = static_cast<double>(last_epoch_);
    const double cycle = std::floor(1 + step / total_size_);
    const double x = 1 + step / total_size_ - cycle;
    const double height = x <= step_ratio_ ? x / step_ratio_ : (x - 1) / (step_ratio_ - 1);
    switch (o_.mode) {
      case CyclicMode::triangular: return height;
      case CyclicMode::triangular2: return height / std::pow(2.0, cycle - 1);
      case CyclicMode::exp_range: return height * std::pow(o_.gamma, step);
    }
    return height;
  }
  static Optimizer prepared(Optimizer optimizer, const CyclicLROptions& o) {
    require_count(o.step_size_up, "CyclicLR", "step_size_up");
    require_count(o.step_size_down.value_or(1), "CyclicLR", "step_size_down");
    if (!optimizer) return optimizer;
    for (Group& group : optimizer.param_groups()) {
      group.lr = o.base_lr;
      group.initial_lr = o.base_lr;
      if (o.cycle_momentum) {
        group.extra["max_momentum"] = o.max_momentum;
        group.extra["base_momentum"] = o.base_momentum;
      }
    }
    return optimizer;
  }

  CyclicLROptions o_;
  std::optional<MomentumOf> momentum_;
  double total_size_ = 0, step_ratio_ = 0;
};

class SWALRImpl : public FixedScheduler {
 public:
  SWALRImpl(Optimizer optimizer, SWALROptions options) : FixedScheduler(std::move(optimizer), -1), o_(options) {
    require(o_.swa_lr >= 0, "SWALR", "swa_lr", o_.swa_lr, "at least 0");
    require(o_.anneal_epochs >= 0, "SWALR", "anneal_epochs", static_cast<double>(o_.anneal_epochs), "at least 0");
    for (Group& group : optimizer_.param_groups()) group.extra["swa_lr"] = o_.swa_lr;  // where PyTorch keeps it
    begin();
  }
  std::string name() const override { return "SWALR"; }

 protected:
  double next(double lr, double, bool) const override {
    int64_t step = step_count_ - 1;
    if (o_.anneal_epochs == 0) step = std::max<int64_t>(1, step);
    const auto share = [&](int64_t at) {
      const double t = static_cast<double>(at) / static_cast<double>(std::max<int64_t>(1, o_.anneal_epochs));
      const double clamped = std::max(0.0, std::min(1.0, t));
      return o_.anneal_strategy == AnnealStrategy::linear ? clamped : (1 - std::cos(std::numbers::pi * clamped)) / 2;
    };
    const double before = share(step - 1), now = share(step);
    const double initial = before == 1 ? o_.swa_lr : (lr - before * o_.swa_lr) / (1 - before);
    return o_.swa_lr * now + initial * (1 - now);
  }
  void write(Map& out) const override {
    out["anneal_epochs"] = o_.anneal_epochs;
    out["_anneal_strategy"] = name_of(o_.anneal_strategy);
  }

 private:
  SWALROptions o_;
};

void check_parts(const std::vector<LRScheduler>& schedulers, const Optimizer& optimizer, const char* owner) {
  const auto fail = [&](const std::string& what, const std::string& value) {
    throw Error({.what = std::string(owner) + " " + what, .value = value, .where = {}, .hint = {}});
  };
  if (schedulers.empty()) fail("needs at least one scheduler", "none");
  for (const LRScheduler& scheduler : schedulers) {
    if (!scheduler.defined()) fail("was given an empty scheduler", "");
    if (scheduler.needs_metric()) fail("cannot hold a scheduler that needs a metric", scheduler.name());
    if (!(scheduler.optimizer() == optimizer)) fail("needs schedulers of one optimizer", scheduler.name());
  }
}

List states_of(const std::vector<LRScheduler>& schedulers) {
  List states;
  for (const LRScheduler& scheduler : schedulers) states.emplace_back(scheduler.state_dict());
  return states;
}

void load_states(std::vector<LRScheduler>& schedulers, const List& states, const std::string& owner) {
  if (states.size() != schedulers.size()) {
    throw Error({.what = "the saved state of " + owner + " holds another number of schedulers",
                 .value = std::to_string(states.size()) + " against " + std::to_string(schedulers.size()),
                 .where = {},
                 .hint = {}});
  }
  for (size_t i = 0; i < states.size(); ++i) schedulers[i].load_state_dict(states[i].as_map());
}

class CompositeImpl : public LRSchedulerImpl {
 public:
  using LRSchedulerImpl::step;
  void step(double) override {
    throw Error({.what = name() + " takes no metric", .value = {}, .where = {}, .hint = "call step() without one"});
  }

 protected:
  CompositeImpl(Optimizer optimizer, std::vector<LRScheduler> schedulers)
      : LRSchedulerImpl(std::move(optimizer)), schedulers_(std::move(schedulers)) {}

  std::vector<LRScheduler> schedulers_;
};

}  // namespace

class SequentialLRImpl : public CompositeImpl {
 public:
  SequentialLRImpl(Optimizer optimizer, std::vector<LRScheduler> schedulers, std::vector<int64_t> milestones)
      : CompositeImpl(std::move(optimizer), std::move(schedulers)), milestones_(std::move(milestones)) {
    check_parts(schedulers_, optimizer_, "SequentialLR");
    if (milestones_.size() + 1 != schedulers_.size() || !std::ranges::is_sorted(milestones_)) {
      throw Error({.what = "SequentialLR needs a rising milestone between each two schedulers",
                   .value = std::to_string(milestones_.size()) + " milestones for " +
                            std::to_string(schedulers_.size()) + " schedulers",
                   .where = {},
                   .hint = {}});
    }
    for (const LRScheduler& scheduler : schedulers_) recursive(scheduler).undo();
    part_at(0).restart();
    note_lr();
  }
  std::string name() const override { return "SequentialLR"; }

  void step() override {
    ++last_epoch_;
    RecursiveScheduler& part = part_at(last_epoch_);
    if (std::ranges::find(milestones_, last_epoch_) != milestones_.end()) {
      part.restart();
    } else {
      part.step();
    }
    note_lr();
  }

  Map state_dict() const override {
    return {{"_milestones", List(milestones_.begin(), milestones_.end())},
            {"last_epoch", last_epoch_},
            {"_last_lr", to_list(last_lr_)},
            {"_schedulers", states_of(schedulers_)}};
  }
  void load_state_dict(const Map& state) override {
    StateReader reader(state, name());
    auto last_epoch = last_epoch_;
    auto last_lr = last_lr_;
    List states;
    reader.skip("_milestones");
    reader("last_epoch", last_epoch);
    reader("_last_lr", last_lr);
    reader("_schedulers", [&](const Value& value) { states = value.as_list(); });
    reader.finish();
    load_states(schedulers_, states, name());
    last_epoch_ = last_epoch;
    last_lr_ = std::move(last_lr);
  }

 private:
  RecursiveScheduler& recursive(const LRScheduler& scheduler) const {
    if (auto* part = dynamic_cast<RecursiveScheduler*>(scheduler.impl().get())) return *part;
    throw Error({.what = "SequentialLR cannot begin this scheduler in the middle of a run",
                 .value = scheduler.name(),
                 .where = {},
                 .hint = "use simple schedulers as its parts"});
  }
  RecursiveScheduler& part_at(int64_t step) const {
    const auto part = std::ranges::upper_bound(milestones_, step) - milestones_.begin();
    return recursive(schedulers_[static_cast<size_t>(part)]);
  }

  std::vector<int64_t> milestones_;
};

namespace {

class ChainedSchedulerImpl : public CompositeImpl {
 public:
  explicit ChainedSchedulerImpl(const std::vector<LRScheduler>& schedulers)
      : CompositeImpl(optimizer_of(schedulers), schedulers) {
    check_parts(schedulers_, optimizer_, "ChainedScheduler");
    note_lr();
  }
  std::string name() const override { return "ChainedScheduler"; }
  void step() override {
    ++last_epoch_;
    for (LRScheduler& scheduler : schedulers_) scheduler.step();
    note_lr();
  }
  Map state_dict() const override { return {{"_schedulers", states_of(schedulers_)}, {"_last_lr", to_list(last_lr_)}}; }
  void load_state_dict(const Map& state) override {
    StateReader reader(state, name());
    auto last_lr = last_lr_;
    List states;
    reader("_last_lr", last_lr);
    reader("_schedulers", [&](const Value& value) { states = value.as_list(); });
    reader.finish();
    load_states(schedulers_, states, name());
    last_lr_ = std::move(last_lr);
    last_epoch_ = schedulers_.front().last_epoch();
  }

 private:
  static Optimizer optimizer_of(const std::vector<LRScheduler>& schedulers) {
    if (schedulers.empty() || !schedulers.front().defined()) check_parts(schedulers, {}, "ChainedScheduler");
    return schedulers.front().optimizer();
  }
};

}  // namespace

MultiStepLR::MultiStepLR(Optimizer optimizer, MultiStepLROptions options)
    : LRScheduler(std::make_shared<MultiStepLRImpl>(std::move(optimizer), std::move(options))) {}
ConstantLR::ConstantLR(Optimizer optimizer, ConstantLROptions options)
    : LRScheduler(std::make_shared<ConstantLRImpl>(std::move(optimizer), options)) {}
LinearLR::LinearLR(Optimizer optimizer, LinearLROptions options)
    : LRScheduler(std::make_shared<LinearLRImpl>(std::move(optimizer), options)) {}
ExponentialLR::ExponentialLR(Optimizer optimizer, ExponentialLROptions options)
    : LRScheduler(std::make_shared<ExponentialLRImpl>(std::move(optimizer), options)) {}
PolynomialLR::PolynomialLR(Optimizer optimizer, PolynomialLROptions options)
    : LRScheduler(std::make_shared<PolynomialLRImpl>(std::move(optimizer), options)) {}
CosineAnnealingWarmRestarts::CosineAnnealingWarmRestarts(Optimizer optimizer,
                                                         CosineAnnealingWarmRestartsOptions options)
    : LRScheduler(std::make_shared<CosineAnnealingWarmRestartsImpl>(std::move(optimizer), options)) {}
LambdaLR::LambdaLR(Optimizer optimizer, std::function<double(int64_t)> factor, int64_t last_epoch)
    : LRScheduler(std::make_shared<LambdaImpl>(std::move(optimizer), std::move(factor), last_epoch, false)) {}
MultiplicativeLR::MultiplicativeLR(Optimizer optimizer, std::function<double(int64_t)> factor, int64_t last_epoch)
    : LRScheduler(std::make_shared<LambdaImpl>(std::move(optimizer), std::move(factor), last_epoch, true)) {}
OneCycleLR::OneCycleLR(Optimizer optimizer, OneCycleLROptions options)
    : LRScheduler(std::make_shared<OneCycleLRImpl>(std::move(optimizer), options)) {}
CyclicLR::CyclicLR(Optimizer optimizer, CyclicLROptions options)
    : LRScheduler(std::make_shared<CyclicLRImpl>(std::move(optimizer), options)) {}
SWALR::SWALR(Optimizer optimizer, SWALROptions options)
    : LRScheduler(std::make_shared<SWALRImpl>(std::move(optimizer), options)) {}
SequentialLR::SequentialLR(Optimizer optimizer, std::vector<LRScheduler> schedulers, std::vector<int64_t> milestones)
    : LRScheduler(
          std::make_shared<SequentialLRImpl>(std::move(optimizer), std::move(schedulers), std::move(milestones))) {}
ChainedScheduler::ChainedScheduler(std::vector<LRScheduler> schedulers)
    : LRScheduler(std::make_shared<ChainedSchedulerImpl>(schedulers)) {}

}  // namespace levin::optim
