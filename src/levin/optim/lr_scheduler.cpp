#include <levin/optim/lr_scheduler.h>

#include <levin/core/error.h>
#include <levin/optim/lr_scheduler_impl.h>
#include <levin/optim/validate.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

namespace levin::optim {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

class StepLRImpl : public RecursiveScheduler {
 public:
  StepLRImpl(Optimizer optimizer, const StepLROptions& options)
      : RecursiveScheduler((check(options.step_size, options.gamma), std::move(optimizer)), options.last_epoch),
        step_size_(options.step_size),
        gamma_(options.gamma) {
    begin();
  }

  std::string name() const override { return "StepLR"; }

 protected:
  double next(double lr, double, bool) const override {
    return last_epoch_ == 0 || last_epoch_ % step_size_ != 0 ? lr : lr * gamma_;
  }
  void write(Map& out) const override {
    out["step_size"] = step_size_;
    out["gamma"] = gamma_;
  }
  void read(StateReader& reader) override {
    auto step_size = step_size_;
    auto gamma = gamma_;
    reader("step_size", step_size);
    reader("gamma", gamma);
    reader.finish();
    check(step_size, gamma);
    step_size_ = step_size;
    gamma_ = gamma;
  }

 private:
  static void check(int64_t step_size, double gamma) {
    require(step_size > 0, "StepLR", "step_size", static_cast<double>(step_size), "at least 1");
    require(gamma >= 0 && gamma < kInfinity, "StepLR", "gamma", gamma, "a number of at least 0");
  }

  int64_t step_size_;
  double gamma_;
};

class CosineAnnealingLRImpl : public RecursiveScheduler {
 public:
  CosineAnnealingLRImpl(Optimizer optimizer, const CosineAnnealingLROptions& options)
      : RecursiveScheduler((check(options.T_max, options.eta_min), std::move(optimizer)), options.last_epoch),
        t_max_(options.T_max),
        eta_min_(options.eta_min) {
    begin();
  }

  std::string name() const override { return "CosineAnnealingLR"; }

 protected:
  double next(double lr, double base_lr, bool initial) const override {
    constexpr double pi = std::numbers::pi;
    const auto t = static_cast<double>(last_epoch_), t_max = static_cast<double>(t_max_);
    if (initial) return lr;
    if (step_count_ == 1 && last_epoch_ > 0) {
      return eta_min_ + (base_lr - eta_min_) * (1 + std::cos(t * pi / t_max)) / 2;
    }
    // The factor below would be 0/0 on leaving the minimum.
    if ((last_epoch_ - 1 - t_max_) % (2 * t_max_) == 0) {
      return lr + (base_lr - eta_min_) * (1 - std::cos(pi / t_max)) / 2;
    }
    return (1 + std::cos(pi * t / t_max)) / (1 + std::cos(pi * (t - 1) / t_max)) * (lr - eta_min_) + eta_min_;
  }
  void write(Map& out) const override {
    out["T_max"] = t_max_;
    out["eta_min"] = eta_min_;
  }
  void read(StateReader& reader) override {
    auto t_max = t_max_;
    auto eta_min = eta_min_;
    reader("T_max", t_max);
    reader("eta_min", eta_min);
    reader.finish();
    check(t_max, eta_min);
    t_max_ = t_max;
    eta_min_ = eta_min;
  }

 private:
  static void check(int64_t t_max, double eta_min) {
    require(t_max > 0, "CosineAnnealingLR", "T_max", static_cast<double>(t_max), "at least 1");
    require(eta_min >= 0 && eta_min < kInfinity, "CosineAnnealingLR", "eta_min", eta_min, "a number of at least 0");
  }

  int64_t t_max_;
  double eta_min_;
};

class ReduceLROnPlateauImpl : public LRSchedulerImpl {
 public:
  ReduceLROnPlateauImpl(Optimizer optimizer, ReduceLROnPlateauOptions options)
      : LRSchedulerImpl(std::move(optimizer)), o_(std::move(options)), best_(worst(o_.mode)) {
    check(o_);
    const auto groups = optimizer_.param_groups().size();
    if (o_.min_lr.is_list()) {
      min_lrs_ = o_.min_lr.each();
      if (min_lrs_.size() != groups) {
        throw Error({.what = "ReduceLROnPlateau: min_lr must be one number, or one for each parameter group",
                     .value = std::to_string(min_lrs_.size()) + " numbers for " + std::to_string(groups) + " groups",
                     .where = {},
                     .hint = {}});
      }
    } else {
      min_lrs_.assign(groups, o_.min_lr.all());
    }
    note_lr();
  }

  std::string name() const override { return "ReduceLROnPlateau"; }
  bool needs_metric() const override { return true; }
  void step() override {
    throw Error({.what = "ReduceLROnPlateau needs the metric it watches",
                 .value = {},
                 .where = {},
                 .hint = "call step(metric)"});
  }

  void step(double metric) override {
    ++last_epoch_;
    if (is_better(metric)) {
      best_ = metric;
      bad_epochs_ = 0;
    } else {
      ++bad_epochs_;
    }
    if (cooldown_counter_ > 0) {
      --cooldown_counter_;
      bad_epochs_ = 0;
    }
    if (bad_epochs_ > o_.patience) {
      reduce();
      cooldown_counter_ = o_.cooldown;
      bad_epochs_ = 0;
    }
    note_lr();
  }

  Map state_dict() const override {
    return {{"factor", o_.factor},
            {"default_min_lr", o_.min_lr.is_list() ? Value() : Value(o_.min_lr.all())},
            {"min_lrs", to_list(min_lrs_)},
            {"patience", o_.patience},
            {"cooldown", o_.cooldown},
            {"eps", o_.eps},
            {"last_epoch", last_epoch_},
            {"_last_lr", to_list(last_lr_)},
            {"mode_worse", worst(o_.mode)},
            {"mode", o_.mode == Mode::min ? "min" : "max"},
            {"threshold", o_.threshold},
            {"threshold_mode", o_.threshold_mode == ThresholdMode::rel ? "rel" : "abs"},
            {"best", best_},
            {"cooldown_counter", cooldown_counter_},
            {"num_bad_epochs", bad_epochs_}};
  }

  void load_state_dict(const Map& state) override {
    auto o = o_;
    auto min_lrs = min_lrs_, last_lr = last_lr_;
    auto last_epoch = last_epoch_, cooldown_counter = cooldown_counter_, bad_epochs = bad_epochs_;
    auto best = best_;
    StateReader reader(state, name());
    reader("factor", o.factor);
    reader("min_lrs", min_lrs);
    reader("default_min_lr", [&](const Value& v) { o.min_lr = v.is_null() ? MinLr(min_lrs) : MinLr(v.as_double()); });
    reader("patience", o.patience);
    reader("cooldown", o.cooldown);
    reader("eps", o.eps);
    reader("last_epoch", last_epoch);
    reader("_last_lr", last_lr);
    reader("mode", [&](const Value& v) { o.mode = choose(v, {"min", "max"}) == 0 ? Mode::min : Mode::max; });
    reader("threshold", o.threshold);
    reader("threshold_mode", [&](const Value& v) {
      o.threshold_mode = choose(v, {"rel", "abs"}) == 0 ? ThresholdMode::rel : ThresholdMode::abs;
    });
    reader("best", best);
    reader("cooldown_counter", cooldown_counter);
    reader("num_bad_epochs", bad_epochs);
    for (const auto* key : {"mode_worse", "verbose"}) reader.skip(key);
    reader.finish();
    check(o);
    o_ = std::move(o);
    min_lrs_ = std::move(min_lrs);
    last_lr_ = std::move(last_lr);
    last_epoch_ = last_epoch;
    cooldown_counter_ = cooldown_counter;
    bad_epochs_ = bad_epochs;
    best_ = best;
  }

 private:
  static double worst(Mode mode) { return mode == Mode::min ? kInfinity : -kInfinity; }

  static size_t choose(const Value& value, const std::vector<std::string>& choices) {
    const auto found = std::ranges::find(choices, value.as_string());
    if (found == choices.end()) {
      throw Error({.what = "unknown choice",
                   .value = value.as_string(),
                   .where = {},
                   .hint = did_you_mean(value.as_string(), choices)});
    }
    return static_cast<size_t>(found - choices.begin());
  }

  static void check(const ReduceLROnPlateauOptions& o) {
    const std::string owner = "ReduceLROnPlateau";
    require(o.factor >= 0 && o.factor < 1, owner, "factor", o.factor, "in [0, 1)");
    require(o.patience >= 0, owner, "patience", static_cast<double>(o.patience), "at least 0");
    require(o.threshold >= 0, owner, "threshold", o.threshold, "at least 0");
    require(o.cooldown >= 0, owner, "cooldown", static_cast<double>(o.cooldown), "at least 0");
    require(o.min_lr.all() >= 0, owner, "min_lr", o.min_lr.all(), "at least 0");
    for (const auto lr : o.min_lr.each()) require(lr >= 0, owner, "min_lr", lr, "at least 0");
    require(o.eps >= 0, owner, "eps", o.eps, "at least 0");
  }

  bool is_better(double value) const {
    const bool rel = o_.threshold_mode == ThresholdMode::rel;
    if (o_.mode == Mode::min) return value < (rel ? best_ * (1 - o_.threshold) : best_ - o_.threshold);
    return value > (rel ? best_ * (o_.threshold + 1) : best_ + o_.threshold);
  }

  void reduce() {
    const auto groups = optimizer_.param_groups();
    if (groups.size() != min_lrs_.size()) {
      if (o_.min_lr.is_list()) {
        throw Error({.what = "the optimizer got another number of parameter groups after ReduceLROnPlateau was made",
                     .value = std::to_string(groups.size()) + " against " + std::to_string(min_lrs_.size()),
                     .where = {},
                     .hint = "give one min_lr for all groups, or add all groups before making the scheduler"});
      }
      min_lrs_.assign(groups.size(), o_.min_lr.all());
    }
    for (size_t i = 0; i < groups.size(); ++i) {
      const auto lr = std::max(groups[i].lr * o_.factor, min_lrs_[i]);
      if (groups[i].lr - lr > o_.eps) groups[i].lr = lr;
    }
  }

  ReduceLROnPlateauOptions o_;
  std::vector<double> min_lrs_;
  double best_;
  int64_t cooldown_counter_ = 0;
  int64_t bad_epochs_ = 0;
};

}  // namespace

LRSchedulerImpl::LRSchedulerImpl(Optimizer optimizer) : optimizer_(std::move(optimizer)) {
  if (!optimizer_) {
    throw Error({.what = "a learning rate scheduler needs an optimizer",
                 .value = "an empty handle",
                 .where = {},
                 .hint = "make the optimizer first"});
  }
}

LRSchedulerImpl::~LRSchedulerImpl() = default;

void LRSchedulerImpl::note_lr() {
  last_lr_.clear();
  for (const auto& group : optimizer_.param_groups()) last_lr_.push_back(group.lr);
}

LRSchedulerImpl& LRScheduler::get() const {
  if (!impl_) {
    throw Error({.what = "an empty learning rate scheduler was used",
                 .value = {},
                 .where = {},
                 .hint = "make one first, for instance levin::optim::StepLR(optimizer, {.step_size = 10})"});
  }
  return *impl_;
}

std::string LRScheduler::name() const { return get().name(); }
bool LRScheduler::needs_metric() const { return get().needs_metric(); }
void LRScheduler::step() { get().step(); }
void LRScheduler::step(double metric) { get().step(metric); }
std::vector<double> LRScheduler::get_last_lr() const { return get().last_lr(); }
int64_t LRScheduler::last_epoch() const { return get().last_epoch(); }
Optimizer LRScheduler::optimizer() const { return get().optimizer(); }
Map LRScheduler::state_dict() const { return get().state_dict(); }
void LRScheduler::load_state_dict(const Map& state) { get().load_state_dict(state); }

StepLR::StepLR(Optimizer optimizer, StepLROptions options)
    : LRScheduler(std::make_shared<StepLRImpl>(std::move(optimizer), options)) {}

CosineAnnealingLR::CosineAnnealingLR(Optimizer optimizer, CosineAnnealingLROptions options)
    : LRScheduler(std::make_shared<CosineAnnealingLRImpl>(std::move(optimizer), options)) {}

ReduceLROnPlateau::ReduceLROnPlateau(Optimizer optimizer, ReduceLROnPlateauOptions options)
    : LRScheduler(std::make_shared<ReduceLROnPlateauImpl>(std::move(optimizer), std::move(options))) {}

}  // namespace levin::optim
