// Nothing waits for the device in a step: proved by counting what the host reads.
#include "train/fake_device.h"
#include "train/toy.h"

#include <ATen/record_function.h>
#include <gtest/gtest.h>

#include <atomic>
#include <map>
#include <mutex>

namespace levin {
namespace {

using testing::golden_data;
using testing::GoldenNet;
using testing::quiet;
using testing::TempDir;
namespace fake = testing::fake;

// Calls of operators by name while it lives.
class CallCounter {
 public:
  CallCounter() {
    counter = this;
    handle_ = at::addGlobalCallback(
        at::RecordFunctionCallback([](const at::RecordFunction& function) -> std::unique_ptr<at::ObserverContext> {
          const std::lock_guard lock(counter->mutex_);
          ++counter->calls_[function.name()];
          return nullptr;
        }).scopes({at::RecordScope::FUNCTION}));
  }
  ~CallCounter() { at::removeCallback(handle_); }
  int count(const std::string& name) {
    const std::lock_guard lock(mutex_);
    return calls_[name];
  }
  int synchronising() {
    int sum = 0;
    for (const char* name : {"aten::item", "aten::_local_scalar_dense", "aten::is_nonzero", "aten::equal",
                             "aten::nonzero", "aten::allclose"}) {
      sum += count(name);
    }
    return sum;
  }

 private:
  static inline CallCounter* counter = nullptr;
  std::mutex mutex_;
  std::map<std::string, int> calls_;
  at::CallbackHandle handle_;
};

// Notes a count at the end of each batch.
struct NoteImpl : CallbackImpl {
  explicit NoteImpl(std::function<int()> what) : count(std::move(what)) {}
  void on_train_batch_end(Trainer&, Module& module, const Batch&, std::int64_t) override {
    module.log("from_callback", 1.0, {.on_step = true, .on_epoch = true});
    counts.push_back(count());
  }
  std::function<int()> count;
  std::vector<int> counts;
};
using Note = CallbackHolder<NoteImpl>;

TrainerOptions everything_on(const TempDir& dir, const Callback& note) {
  return {.logger = CSVLogger({.save_dir = dir.path()}),
          .callbacks = {LearningRateMonitor(), note, EarlyStopping({.monitor = "val_loss"}),
                        ModelCheckpoint({.dirpath = dir / "ckpt", .monitor = "val_loss"})},
          .max_epochs = 2,
          .log_every_n_steps = 1000,
          .gradient_clip_val = 1.0,
          .default_root_dir = dir.path()};
}

TEST(NoSynchronisation, InAStepOnTheCpu) {
  TempDir dir;
  GoldenNet net;
  CallCounter calls;
  Note note([&] { return calls.synchronising(); });
  Trainer trainer(everything_on(dir, note));
  trainer.fit(net, DataLoader(golden_data(), {.batch_size = 1}), DataLoader(golden_data(), {.batch_size = 3}));
  ASSERT_EQ(note->counts.size(), 10u);
  // The counter works, the first batch of each epoch stands before any flush of its own, and no step adds a call.
  EXPECT_GT(calls.count("aten::add") + calls.count("aten::mse_loss"), 0);
  for (const std::size_t epoch : {0, 5}) {
    for (std::size_t batch = 1; batch < 5; ++batch) {
      EXPECT_EQ(note->counts[epoch + batch], note->counts[epoch]) << "epoch " << epoch / 5 << ", batch " << batch;
    }
  }
  torch::ones({1}).item<float>();
  EXPECT_GT(calls.synchronising(), note->counts.back());
}

// Logs values that lie on a device.
struct FakeDeviceNet : GoldenNet {
  torch::Tensor training_step(const Batch& batch, std::int64_t) override {
    auto value = loss(batch);
    const auto there = value.detach().to(fake::kType);
    sum += value.item<double>();
    log("step", there, {.prog_bar = true});
    log("both", there, {.on_step = true, .on_epoch = true});
    log("largest", there, {.on_step = false, .on_epoch = true, .reduce_fx = Reduce::max});
    log("sum", there, {.on_step = false, .on_epoch = true, .reduce_fx = Reduce::sum});
    there.fill_(-1);  // what was logged is a copy
    last = value.item<double>();
    return value;
  }
  double sum = 0, last = 0;
};

TEST(NoSynchronisation, WithADeviceUntilARowIsDue) {
  TempDir dir;
  FakeDeviceNet net;
  Note note([] { return fake::reads; });
  auto options = everything_on(dir, note);
  options.max_epochs = 1;
  options.enable_progress_bar = false;  // it reads what it shows when it redraws, a few times a second
  Trainer trainer(options);
  trainer.fit(net, DataLoader(golden_data(), {.batch_size = 1}), DataLoader(golden_data(), {.batch_size = 3}));
  ASSERT_EQ(note->counts.size(), 5u);
  for (const int count : note->counts) EXPECT_EQ(count, note->counts[0]);
  EXPECT_GT(fake::reads, note->counts[0]);  // the epoch's values were read
  EXPECT_LE(fake::reads, note->counts[0] + 3) << "the values of a row come in one transfer";
  EXPECT_NEAR(trainer.metric("sum"), net.sum, 1e-6);
  EXPECT_NEAR(trainer.metric("both_epoch"), net.sum / 5, 1e-6);
  EXPECT_NEAR(trainer.metric("both_step"), net.last, 1e-7);
  EXPECT_NEAR(trainer.metric("step"), net.last, 1e-7);
}

}  // namespace
}  // namespace levin
