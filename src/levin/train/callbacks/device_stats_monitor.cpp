#include <levin/train/callbacks/device_stats_monitor.h>

#include <levin/core/error.h>
#include <levin/train/trainer.h>

#include <c10/core/CachingDeviceAllocator.h>
#include <unistd.h>

#include <fstream>
#include <map>
#include <sstream>

namespace levin {
namespace {

// "MemTotal: 123 kB" and so on.
std::map<std::string, double> memory_of_machine() {
  std::map<std::string, double> values;
  std::ifstream file("/proc/meminfo");
  std::string name, rest;
  double value = 0;
  while (file >> name >> value && std::getline(file, rest)) values[name] = value;
  return values;
}

double share(double part, double whole) { return whole > 0 ? 100 * part / whole : 0; }

}  // namespace

void DeviceStatsMonitorImpl::setup(Trainer& trainer, Module&, Stage stage) {
  if (stage != Stage::fit || !trainer.loggers().empty()) return;
  throw Error({.what = "DeviceStatsMonitor has nobody to report to: the trainer has no logger",
               .value = "logger = false",
               .where = {},
               .hint = "set .logger, or leave the callback out"});
}

void DeviceStatsMonitorImpl::record(Trainer& trainer, const char* hook, std::int64_t step) {
  const std::int64_t every = trainer.options().log_every_n_steps;
  if (every == 0 || trainer.sanity_checking() || (step + 1) % every != 0) return;
  MetricValues values;
  const auto add = [&](const std::string& name, double value) {
    values.emplace_back("DeviceStatsMonitor." + std::string(hook) + "/" + name, value);
  };
  const torch::Device device = trainer.device();
  if (!device.is_cpu()) {
    const auto stats = at::getDeviceAllocator(device.type())->getDeviceStats(device.index());
    const auto sizes = [&](const std::string& name, const auto& pools) {
      const auto& all = pools[0];  // the aggregate of small and large blocks
      add(name + ".all.current", static_cast<double>(all.current));
      add(name + ".all.peak", static_cast<double>(all.peak));
    };
    sizes("allocated_bytes", stats.allocated_bytes);
    sizes("reserved_bytes", stats.reserved_bytes);
    sizes("active_bytes", stats.active_bytes);
    sizes("inactive_split_bytes", stats.inactive_split_bytes);
    add("num_alloc_retries", static_cast<double>(stats.num_alloc_retries));
    add("num_ooms", static_cast<double>(stats.num_ooms));
  }
  if (options_.cpu_stats.value_or(device.is_cpu())) {
    std::ifstream stat("/proc/stat");
    std::string cpu;
    double user = 0, nice = 0, system = 0, idle = 0, iowait = 0, irq = 0, softirq = 0, steal = 0;
    if (stat >> cpu >> user >> nice >> system >> idle >> iowait >> irq >> softirq >> steal) {
      const double busy = user + nice + system + irq + softirq + steal, total = busy + idle + iowait;
      add("cpu_percent", share(busy - busy_, total - total_));
      busy_ = busy;
      total_ = total;
    }
    const auto memory = memory_of_machine();
    const auto amount = [&](const char* name) {
      const auto found = memory.find(name);
      return found == memory.end() ? 0.0 : found->second;
    };
    add("cpu_vm_percent", share(amount("MemTotal:") - amount("MemAvailable:"), amount("MemTotal:")));
    add("cpu_swap_percent", share(amount("SwapTotal:") - amount("SwapFree:"), amount("SwapTotal:")));
    double pages = 0, resident = 0;
    if (std::ifstream("/proc/self/statm") >> pages >> resident)
      add("process_resident_bytes", resident * static_cast<double>(::sysconf(_SC_PAGESIZE)));
  }
  for (const Logger& logger : trainer.loggers()) logger->log_metrics(values, trainer.log_point());
}

#define LEVIN_STATS(hook, step)                                                                                     \
  void DeviceStatsMonitorImpl::hook(Trainer& trainer, Module&, const Batch&, [[maybe_unused]] std::int64_t batch) { \
    record(trainer, #hook, step);                                                                                   \
  }
LEVIN_STATS(on_train_batch_start, trainer.log_point().step)
LEVIN_STATS(on_train_batch_end, trainer.log_point().step)
LEVIN_STATS(on_validation_batch_start, batch)
LEVIN_STATS(on_validation_batch_end, batch)
LEVIN_STATS(on_test_batch_start, batch)
LEVIN_STATS(on_test_batch_end, batch)
#undef LEVIN_STATS

}  // namespace levin
