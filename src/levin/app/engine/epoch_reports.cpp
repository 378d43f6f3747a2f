#include <levin/app/engine/epoch_reports.h>

#include <levin/core/error.h>
#include <levin/core/file.h>
#include <levin/core/json.h>
#include <levin/train/trainer.h>

#include <cerrno>
#include <iostream>

namespace levin::app {

EpochReportsImpl::EpochReportsImpl(const std::string& path, std::string monitor)
    : path_(path), monitor_(std::move(monitor)) {
  if (path_ == "-") return;
  file_.open(path_, std::ios::trunc);
  if (!file_) throw Error({.what = "the reports cannot be written: " + errno_text(errno), .value = path_, .where = "reports", .hint = {}});
}

void EpochReportsImpl::on_train_epoch_end(Trainer& trainer, Module&) {
  Map line;
  line["step"] = trainer.current_epoch();
  line["value"] = trainer.metric(monitor_, "reports");
  for (const auto& [name, value] : trainer.callback_metrics()) line[name] = value;
  write(to_json(line));
}

void EpochReportsImpl::finish(double value) {
  Map line;
  line["value"] = value;
  write(to_json(line));
}

void EpochReportsImpl::write(const std::string& line) {
  std::ostream& out = path_ == "-" ? std::cout : file_;
  out << line << std::endl;  // at once: somebody waits for it
  if (!out) throw Error({.what = "the reports cannot be written", .value = path_, .where = "reports", .hint = {}});
}

}  // namespace levin::app
