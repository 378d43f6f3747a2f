#include <levin/train/scale_batch_size.h>

#include <levin/core/console.h>
#include <levin/core/error.h>
#include <levin/train/trial_run.h>

#include <c10/util/Exception.h>

#include <algorithm>
#include <new>
#include <optional>
#include <string_view>

namespace levin {
namespace {

bool memory_ran_out(const std::exception& error) {
  if (dynamic_cast<const std::bad_alloc*>(&error) || dynamic_cast<const c10::OutOfMemoryError*>(&error)) return true;
  const std::string_view what = error.what();
  for (const char* sign : {"out of memory", "can't allocate memory", "not enough memory"}) {
    if (what.find(sign) != std::string_view::npos) return true;
  }
  return false;
}

void check(const ScaleBatchSizeOptions& o) {
  const auto require = [](bool ok, const char* what, const std::string& value) {
    if (!ok) throw Error({.what = what, .value = value, .where = "scale_batch_size", .hint = {}});
  };
  require(o.steps_per_trial >= 1, "steps_per_trial must be at least 1", std::to_string(o.steps_per_trial));
  require(o.init_val >= 1, "init_val must be at least 1", std::to_string(o.init_val));
  require(o.max_trials >= 1, "max_trials must be at least 1", std::to_string(o.max_trials));
  require(o.max_val >= o.init_val, "max_val must be at least init_val", std::to_string(o.max_val));
  require(o.margin >= 0 && o.margin < 1, "margin must be in [0, 1)", format_double(o.margin));
}

}  // namespace

std::int64_t scale_batch_size(ModuleRef model, const std::function<DataLoader(std::int64_t)>& loader,
                              ScaleBatchSizeOptions options) {
  check(options);
  const auto out_of_memory = options.is_out_of_memory ? options.is_out_of_memory : memory_ran_out;
  std::int64_t limit = options.max_val;
  const auto fits = [&](std::int64_t size) {
    DataLoader data = loader(size);
    if (data.parts().empty() && data.has_size()) limit = std::min(limit, data.dataset().size());
    const Untouched untouched(model.module());
    Trainer trainer(trial_options(options.trainer, options.steps_per_trial));
    try {
      trainer.fit(model, data);
    } catch (const std::exception& error) {
      if (!out_of_memory(error)) throw;
      console::info("batches of " + std::to_string(size) + " do not fit into memory");
      return false;
    }
    console::info("batches of " + std::to_string(size) + " fit");
    return true;
  };

  std::int64_t good = 0;            // the largest size that fitted
  std::optional<std::int64_t> bad;  // the smallest that did not
  std::int64_t size = options.init_val;
  for (std::int64_t trial = 0; trial < options.max_trials; ++trial) {
    if (fits(size)) {
      good = size;
    } else {
      bad = size;
    }
    if (bad == 1) break;
    const bool halves = options.mode == BatchSizeMode::binsearch || good == 0;
    if (bad && (!halves || *bad - good <= 1)) break;
    const std::int64_t next = bad ? (good == 0 ? *bad / 2 : good + (*bad - good) / 2) : std::min(2 * size, limit);
    if (next == size || next <= good) break;
    size = next;
  }
  if (good == 0) {
    throw Error({.what = "no batch size fits into memory",
                 .value = "the smallest that was tried: " + std::to_string(size),
                 .where = "scale_batch_size",
                 .hint = "make the model smaller, or try more sizes with .max_trials"});
  }
  if (options.mode == BatchSizeMode::power || !bad) return good;
  return std::max<std::int64_t>(1, static_cast<std::int64_t>(static_cast<double>(good) * (1 - options.margin)));
}

}  // namespace levin
