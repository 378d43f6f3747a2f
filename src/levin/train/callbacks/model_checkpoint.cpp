#include <levin/train/callbacks/model_checkpoint.h>

#include <levin/core/console.h>
#include <levin/core/error.h>
#include <levin/train/trainer.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>

namespace levin {

namespace fs = std::filesystem;

ModelCheckpointImpl::ModelCheckpointImpl(ModelCheckpointOptions options) : options_(std::move(options)) {
  const auto fail = [](const char* what, const std::string& value, const char* hint) {
    throw Error({.what = what, .value = value, .where = "ModelCheckpoint", .hint = hint});
  };
  if (options_.save_top_k < -1)
    fail("save_top_k must be at least -1", std::to_string(options_.save_top_k), "-1 keeps all, 0 none");
  if (options_.monitor.empty() && options_.save_top_k > 1) {
    fail("save_top_k ranks files by a metric", std::to_string(options_.save_top_k),
         "set .monitor, or save_top_k to -1, 0 or 1");
  }
  if (options_.every_n_train_steps < 0)
    fail("every_n_train_steps must be at least 0", std::to_string(options_.every_n_train_steps), "0 turns it off");
  if (options_.every_n_epochs < 0)
    fail("every_n_epochs must be at least 0", std::to_string(options_.every_n_epochs), "0 turns it off");
  if (options_.filename.find('/') != std::string::npos)
    fail("filename must not name a folder", "\"" + options_.filename + "\"", "set .dirpath");
}

void ModelCheckpointImpl::setup(Trainer& trainer, Module&, Stage stage) {
  if (stage != Stage::fit) return;
  dirpath_ = options_.dirpath.empty() ? (fs::path(trainer.log_dir()) / "checkpoints").string() : options_.dirpath;
}

bool ModelCheckpointImpl::saves_after_training(const Trainer& trainer) const {
  if (options_.save_on_train_epoch_end) return *options_.save_on_train_epoch_end;
  const auto& o = trainer.options();
  if (o.check_val_every_n_epoch != 1) return false;
  if (trainer.num_val_batches() == 0) return true;
  return o.val_check_interval.is_epoch_end();
}

void ModelCheckpointImpl::on_train_batch_end(Trainer& trainer, Module&, const Batch&, std::int64_t) {
  if (options_.every_n_train_steps == 0 || trainer.global_step() == 0) return;
  if (trainer.global_step() % options_.every_n_train_steps == 0 && trainer.global_step() != last_saved_step_)
    save(trainer);
}

void ModelCheckpointImpl::on_train_epoch_end(Trainer& trainer, Module&) {
  const bool due = options_.every_n_epochs > 0 && (trainer.current_epoch() + 1) % options_.every_n_epochs == 0;
  if (due && saves_after_training(trainer) && trainer.global_step() != last_saved_step_) save(trainer);
}

void ModelCheckpointImpl::on_validation_end(Trainer& trainer, Module&) {
  if (trainer.sanity_checking() || trainer.num_training_batches() == 0) return;
  const bool due = options_.every_n_epochs > 0 && (trainer.current_epoch() + 1) % options_.every_n_epochs == 0;
  if (due && !saves_after_training(trainer) && trainer.global_step() != last_saved_step_) save(trainer);
}

void ModelCheckpointImpl::on_exception(Trainer& trainer, Module&, std::exception_ptr) {
  if (!options_.save_on_exception || dirpath_.empty()) return;
  const std::string path = (fs::path(dirpath_) / "exception.ckpt").string();
  fs::create_directories(dirpath_);
  trainer.save_checkpoint(path, options_.save_weights_only);
  console::info("saved " + path);
}

void ModelCheckpointImpl::save(Trainer& trainer) {
  last_saved_step_ = trainer.global_step();
  fs::create_directories(dirpath_);
  if (options_.save_top_k != 0) save_top_k(trainer);
  if (options_.save_last) {
    last_model_path_ = (fs::path(dirpath_) / "last.ckpt").string();
    trainer.save_checkpoint(last_model_path_, options_.save_weights_only);
  }
}

void ModelCheckpointImpl::save_top_k(Trainer& trainer) {
  double score = std::numeric_limits<double>::quiet_NaN();
  if (!options_.monitor.empty()) {
    score = trainer.metric(options_.monitor, "ModelCheckpoint");
    // A NaN ranks below everything.
    if (std::isnan(score)) score = options_.mode == Mode::min ? INFINITY : -INFINITY;
  }

  const auto limit = static_cast<std::size_t>(std::max<std::int64_t>(options_.save_top_k, 1));
  std::string replaced;
  if (options_.save_top_k > 0 && kept_.size() >= limit) {
    const auto worst = std::min_element(kept_.begin(), kept_.end(), [&](const auto& a, const auto& b) {
      return better(b.second, a.second, options_.mode);
    });
    if (!options_.monitor.empty() && !better(score, worst->second, options_.mode)) return;
    replaced = worst->first;
    kept_.erase(worst);
  }
  // The new file is whole before the one that it replaces goes; under the same name it takes its place.
  const std::string name = format_name(trainer);
  const std::string plain = (fs::path(dirpath_) / (name + ".ckpt")).string();
  const std::string path = replaced == plain ? plain : free_path(name);
  kept_.emplace_back(path, score);
  const bool best =
      options_.monitor.empty() || std::isnan(best_model_score_) || better(score, best_model_score_, options_.mode);
  if (best) {
    best_model_path_ = path;
    best_model_score_ = score;
  }
  trainer.save_checkpoint(path, options_.save_weights_only);
  if (!replaced.empty() && replaced != path) remove(replaced);
  if (options_.verbose)
    console::info("saved " + path +
                  (options_.monitor.empty() ? "" : " (" + options_.monitor + " = " + format_double(score) + ")"));
}

// Fills {name} and {name:.3f} with metrics, {epoch} and {step} with the counters.
std::string ModelCheckpointImpl::format_name(const Trainer& trainer) const {
  const std::string pattern = options_.filename.empty() ? "{epoch}-{step}" : options_.filename;
  std::string out;
  for (std::size_t i = 0; i < pattern.size();) {
    const std::size_t close = pattern[i] == '{' ? pattern.find('}', i) : std::string::npos;
    if (close == std::string::npos) {
      out += pattern[i++];
      continue;
    }
    std::string field = pattern.substr(i + 1, close - i - 1), format;
    if (const auto colon = field.find(':'); colon != std::string::npos) {
      format = field.substr(colon + 1);
      field.resize(colon);
    }
    i = close + 1;
    if (options_.auto_insert_metric_name) out += field + "=";
    if (field == "epoch" || field == "step") {
      out += std::to_string(field == "epoch" ? trainer.current_epoch() : trainer.global_step());
      continue;
    }
    const double value = trainer.find_metric(field).value_or(0.0);  // Lightning's rule: 0 for what was not logged
    int digits = 2;
    char kind = 'f';
    if (!format.empty() && std::sscanf(format.c_str(), ".%d%c", &digits, &kind) != 2) {
      throw Error({.what = "a field of the checkpoint's file name has an unknown format",
                   .value = "{" + field + ":" + format + "}",
                   .where = "ModelCheckpointOptions::filename",
                   .hint = "write {" + field + ":.3f}"});
    }
    char text[64];
    std::snprintf(text, sizeof text, kind == 'e' ? "%.*e" : kind == 'g' ? "%.*g" : "%.*f", std::min(digits, 17), value);
    out += text;
  }
  std::replace(out.begin(), out.end(), '/', '_');  // metric names may hold a slash
  return out;
}

std::string ModelCheckpointImpl::free_path(const std::string& name) const {
  const auto taken = [&](const std::string& path) { return fs::exists(path); };
  std::string path = (fs::path(dirpath_) / (name + ".ckpt")).string();
  for (int version = 1; taken(path); ++version) {
    path = (fs::path(dirpath_) / (name + "-v" + std::to_string(version) + ".ckpt")).string();
  }
  return path;
}

void ModelCheckpointImpl::remove(const std::string& path) const {
  std::error_code error;
  fs::remove(path, error);
  if (error) console::warning("the old checkpoint " + path + " could not be removed: " + error.message());
}

std::vector<std::pair<std::string, double>> ModelCheckpointImpl::best_k_models() const {
  auto models = kept_;
  std::stable_sort(models.begin(), models.end(),
                   [&](const auto& a, const auto& b) { return better(a.second, b.second, options_.mode); });
  return models;
}

std::string ModelCheckpointImpl::state_key() const {
  // Lightning's key, so that its ModelCheckpoint finds the state.
  const auto quoted = [](const std::string& text) { return text.empty() ? std::string("None") : "'" + text + "'"; };
  return "ModelCheckpoint{'monitor': " + quoted(options_.monitor) + ", 'mode': '" +
         (options_.mode == Mode::min ? "min" : "max") +
         "', 'every_n_train_steps': " + std::to_string(options_.every_n_train_steps) +
         ", 'every_n_epochs': " + std::to_string(options_.every_n_epochs) + ", 'train_time_interval': None}";
}

Map ModelCheckpointImpl::state_dict() const {
  Map best_k;
  for (const auto& [path, score] : kept_) best_k[path] = score;
  return {{"monitor", options_.monitor.empty() ? Value() : Value(options_.monitor)},
          {"best_model_score", std::isnan(best_model_score_) ? Value() : Value(best_model_score_)},
          {"best_model_path", best_model_path_},
          {"dirpath", dirpath_},
          {"best_k_models", best_k},
          {"last_model_path", last_model_path_},
          {"last_saved_step", last_saved_step_}};
}

void ModelCheckpointImpl::load_state_dict(const Map& state) {
  // Another folder is another run: its files are not ours to replace.
  if (state.get<std::string>("dirpath") != dirpath_) {
    console::warning("the checkpoint's ModelCheckpoint wrote to " + state.get<std::string>("dirpath") +
                     ", this one writes to " + dirpath_ + ": the best model is sought anew");
    return;
  }
  best_model_path_ = state.get<std::string>("best_model_path");
  last_model_path_ = state.get<std::string>("last_model_path");
  if (const Value& score = state.at("best_model_score"); !score.is_null()) best_model_score_ = score.as<double>();
  kept_.clear();
  for (const auto& [path, score] : state.at("best_k_models").as_map()) {
    if (fs::exists(path)) kept_.emplace_back(path, score.as<double>());
  }
  last_saved_step_ = state.get<std::int64_t>("last_saved_step", -1);
}

}  // namespace levin
