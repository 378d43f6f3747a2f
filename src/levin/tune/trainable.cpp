#include <levin/tune/trainable.h>

#include <levin/core/atomic_file.h>
#include <levin/core/file.h>
#include <levin/core/json.h>

#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>
#include <utility>

namespace levin::tune {

Trainable::~Trainable() = default;
Session::~Session() = default;
void Trainable::setup(const Config&) {}
bool Trainable::reset(const Config&) { return false; }

State Trainable::save() const {
  throw Error({.what = "this trainable cannot be saved",
               .value = {},
               .where = {},
               .hint = "override save and load, which pausing, cloning and restoring trials need"});
}

void Trainable::load(const State&) {
  throw Error(
      {.what = "this trainable cannot be loaded", .value = {}, .where = {}, .hint = "override load beside save"});
}

void Trainable::save_file(const std::filesystem::path& path) const {
  write_file_atomically(path, to_json(save()) + "\n");
}

void Trainable::load_file(const std::filesystem::path& path) { load(parse_json(read_file(path)).as_map()); }

namespace {

// Thrown through a function whose trial has ended; no std::exception, so that handlers of errors let it pass.
struct TrialEnded {};

// Runs a function in a thread and hands control to and fro: the function works while `step` waits and the other way
// round, so that never two threads are in one trial.
class FunctionTrainable : public Trainable, private Session {
 public:
  using Function = std::function<void(const Config&, Session&)>;
  explicit FunctionTrainable(Function function) : function_(std::move(function)) {}

  ~FunctionTrainable() override {
    if (!thread_.joinable()) return;
    {
      const std::lock_guard lock(mutex_);
      ended_ = true;
      turn_ = Turn::function;
    }
    wake_.notify_all();
  }

  void setup(const Config& config) override { config_ = config; }
  void load(const State& state) override { start_ = state; }

  State save() const override {
    if (saved_) return *saved_;
    throw Error({.what = "the function has reported no state yet",
                 .value = {},
                 .where = {},
                 .hint = "give report the state as its second argument"});
  }

  Metrics step() override {
    std::unique_lock lock(mutex_);
    if (returned_) return {{"done", true}};
    if (start_ && !thread_.joinable()) saved_ = start_;
    turn_ = Turn::function;
    if (!thread_.joinable()) {
      thread_ = std::jthread([this] { run(); });
    }
    wake_.notify_all();
    wake_.wait(lock, [&] { return turn_ == Turn::step; });
    if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
    if (returned_) return {{"done", true}};
    return std::move(metrics_);
  }

 private:
  enum class Turn { step, function };

  void run() {
    try {
      function_(config_, *this);
    } catch (const TrialEnded&) {
    } catch (...) {
      error_ = std::current_exception();
    }
    const std::lock_guard lock(mutex_);
    returned_ = true;
    turn_ = Turn::step;
    wake_.notify_all();
  }

  void report(Metrics metrics, std::optional<State> state) override {
    std::unique_lock lock(mutex_);
    if (ended_) throw TrialEnded();
    metrics_ = std::move(metrics);
    if (state) saved_ = std::move(state);
    turn_ = Turn::step;
    wake_.notify_all();
    wake_.wait(lock, [&] { return turn_ == Turn::function; });
    if (ended_) throw TrialEnded();
  }

  const State* checkpoint() const override { return start_ ? &*start_ : nullptr; }
  const TrialContext& context() const override { return Trainable::context(); }

  Function function_;
  Config config_;
  std::optional<State> start_, saved_;
  std::mutex mutex_;
  std::condition_variable wake_;
  Turn turn_ = Turn::step;
  bool ended_ = false, returned_ = false;
  Metrics metrics_;
  std::exception_ptr error_;
  std::jthread thread_;  // last: joined before the rest goes
};

class WholeTrial : public Trainable {
 public:
  explicit WholeTrial(std::function<Metrics(const Config&)> function) : function_(std::move(function)) {}
  void setup(const Config& config) override { config_ = config; }
  Metrics step() override {
    Metrics metrics = function_(config_);
    metrics["done"] = true;
    return metrics;
  }

 private:
  std::function<Metrics(const Config&)> function_;
  Config config_;
};

}  // namespace

TrainableFactory trainable(std::function<void(const Config&, Session&)> function) {
  if (!function) throw Error("a trainable needs a function");
  return [function = std::move(function)] { return std::make_unique<FunctionTrainable>(function); };
}

TrainableFactory trainable(std::function<Metrics(const Config&)> function) {
  if (!function) throw Error("a trainable needs a function");
  return [function = std::move(function)] { return std::make_unique<WholeTrial>(function); };
}

}  // namespace levin::tune
