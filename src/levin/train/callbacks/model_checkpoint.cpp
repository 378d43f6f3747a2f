#include <levin/train/callbacks/model_checkpoint.h>

#include <levin/core/atomic_file.h>
#include <levin/core/console.h>
#include <levin/core/error.h>
#include <levin/core/yaml.h>
#include <levin/optim/optimizer_impl.h>
#include <levin/train/checkpoint_io/checkpoint_writer.h>
#include <levin/train/trainer.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <regex>
#include <unistd.h>

namespace levin {
namespace {

namespace fs = std::filesystem;

constexpr const char* kOnException = "on_exception.ckpt";
constexpr const char* kInterrupted = "interrupted.ckpt";  // that the Trainer saves when a signal ends a run

[[noreturn]] void fail(const std::string& what, const std::string& value, const std::string& hint) {
  throw Error({.what = what, .value = value, .where = "ModelCheckpoint", .hint = hint});
}

/** A number in the part of Python's format language that file names need: [+][0][width][.digits][d|f|e|g|%]. */
std::string format_number(const Value& value, const std::string& spec, const std::string& field) {
  if (spec.empty()) return value.to_string();
  std::size_t i = 0;
  std::string flags;
  if (spec[i] == '+') flags += spec[i++];
  if (i < spec.size() && spec[i] == '0') flags += spec[i++];
  const auto digits = [&] {
    std::string out;
    while (i < spec.size() && std::isdigit(static_cast<unsigned char>(spec[i])) && out.size() < 3) out += spec[i++];
    return out;
  };
  const std::string width = digits();
  std::string precision;
  if (i < spec.size() && spec[i] == '.') {
    ++i;
    precision = "." + digits();
  }
  char type = i < spec.size() ? spec[i++] : value.is_int() && precision.empty() ? 'd' : 'g';
  const bool known = std::string_view("dfFeEgG%").find(type) != std::string_view::npos;
  if (i != spec.size() || !known || precision == "." || (type == 'd' && (!value.is_int() || !precision.empty()))) {
    throw Error({.what = "a field of the checkpoint's file name has an unknown format",
                 .value = "{" + field + ":" + spec + "}",
                 .where = "ModelCheckpointOptions::filename",
                 .hint = "write {" + field + ":.3f} for a metric, {epoch:02d} for a counter"});
  }
  char text[512];
  if (type == 'd') {
    std::snprintf(text, sizeof text, ("%" + flags + width + "ld").c_str(), static_cast<long>(value.as_int()));
  } else {
    const double number = value.as_double() * (type == '%' ? 100 : 1);
    const std::string pattern = "%" + flags + width + precision + (type == '%' ? "f%%" : std::string(1, type));
    std::snprintf(text, sizeof text, pattern.c_str(), number);
  }
  return text;
}

fs::path canonical(const std::string& path) {
  std::error_code error;
  const auto whole = fs::weakly_canonical(fs::absolute(path), error);
  return error ? fs::absolute(path).lexically_normal() : whole;
}

// A folder that cannot be written is an error before the training, not after its first hour.
void check_writable(const std::string& folder) {
  fs::path existing = fs::absolute(folder).lexically_normal();
  std::error_code error;
  while (!fs::exists(existing, error) && existing.has_parent_path() && existing != existing.parent_path())
    existing = existing.parent_path();
  if (!fs::is_directory(existing, error))
    fail("the folder of the checkpoints cannot be made", folder, existing.string() + " is no folder");
  if (::access(existing.c_str(), W_OK) != 0)
    fail("the folder of the checkpoints cannot be written", folder, "choose another .dirpath");
}

// What a killed process was writing (see AtomicFile): ".last.ckpt.<pid>.<n>.tmp". Ten minutes old and of no process
// that lives here, it is nobody's, also where several machines share the folder.
void remove_leftovers(const std::string& folder) {
  static const std::regex pattern(R"(\..*\.ckpt\.(\d{1,9})\.(\d+\.tmp|new))");
  std::error_code error;
  std::vector<fs::path> leftovers;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    std::smatch match;
    const std::string name = entry.path().filename().string();
    if (!std::regex_match(name, match, pattern)) continue;
    const bool alive = ::kill(std::stoi(match[1]), 0) == 0 || errno != ESRCH;
    const auto age = fs::file_time_type::clock::now() - entry.last_write_time(error);
    if (!error && !alive && age > std::chrono::minutes(10)) leftovers.push_back(entry.path());
  }
  for (const auto& path : leftovers) fs::remove(path, error);
}

std::string timedelta_text(std::chrono::milliseconds interval) {
  const auto days = interval.count() / 86'400'000, seconds = interval.count() / 1000 % 86'400,
             micros = interval.count() % 1000 * 1000;
  std::string out;
  const auto add = [&](const char* name, long long value) {
    if (value != 0) out += (out.empty() ? "" : ", ") + std::string(name) + "=" + std::to_string(value);
  };
  add("days", days);
  add("seconds", seconds);
  add("microseconds", micros);
  return "datetime.timedelta(" + (out.empty() ? "0" : out) + ")";
}

// The bytes of a checkpoint's large parts; those of callbacks and loggers come on top.
std::size_t state_bytes(const Trainer& trainer, const Module& module, bool weights_only) {
  std::size_t bytes = 0;
  for (const auto& tensor : module.parameters()) bytes += tensor.nbytes();
  for (const auto& tensor : module.buffers()) bytes += tensor.nbytes();
  if (weights_only) return bytes;
  for (std::int64_t i = 0; i < trainer.num_optimizers(); ++i) bytes += trainer.optimizer(i).impl()->state_bytes();
  return bytes;
}

}  // namespace

ModelCheckpointImpl::ModelCheckpointImpl(ModelCheckpointOptions options) : options_(std::move(options)) {
  const auto& o = options_;
  if (o.save_top_k < -1) fail("save_top_k must be at least -1", std::to_string(o.save_top_k), "-1 keeps all, 0 none");
  if (o.monitor.empty() && o.save_top_k > 1) {
    fail("save_top_k ranks files by a metric", std::to_string(o.save_top_k),
         "set .monitor, or save_top_k to -1, 0 or 1");
  }
  if (o.every_n_train_steps.value_or(0) < 0)
    fail("every_n_train_steps must be at least 0", std::to_string(*o.every_n_train_steps), "0 turns it off");
  if (o.every_n_epochs.value_or(0) < 0)
    fail("every_n_epochs must be at least 0", std::to_string(*o.every_n_epochs), "0 turns it off");
  if (o.train_time_interval && o.train_time_interval->count() < 0)
    fail("train_time_interval must not be negative", std::to_string(o.train_time_interval->count()) + " ms", "");
  if (fs::path(o.filename).is_absolute() || o.filename.find("..") != std::string::npos)
    fail("filename must stay below the folder of the checkpoints", "\"" + o.filename + "\"", "set .dirpath");
  every_n_train_steps_ = o.every_n_train_steps.value_or(0);
  every_n_epochs_ = o.every_n_epochs.value_or(!o.every_n_train_steps && !o.train_time_interval ? 1 : 0);
  if ((every_n_train_steps_ > 0) + (every_n_epochs_ > 0) + o.train_time_interval.has_value() > 1) {
    fail("only one of every_n_train_steps, every_n_epochs and train_time_interval can be set", "",
         "use one ModelCheckpoint for each");
  }
  dirpath_ = o.dirpath;
  writer_ = std::make_unique<CheckpointWriter>(o.async_save);
}

ModelCheckpointImpl::~ModelCheckpointImpl() = default;

void ModelCheckpointImpl::setup(Trainer& trainer, Module&, Stage stage) {
  if (options_.dirpath.empty()) dirpath_ = (fs::path(trainer.log_dir()) / "checkpoints").string();
  if (stage != Stage::fit) return;
  check_writable(dirpath_);
  deferred_ = validated_ = false;
}

void ModelCheckpointImpl::on_train_start(Trainer& trainer, Module& module) {
  if (options_.async_save) writer_->prepare(state_bytes(trainer, module, options_.save_weights_only));
  last_time_checked_ = std::chrono::steady_clock::now();
  remove_leftovers(dirpath_);
  std::error_code error;
  if (options_.save_top_k != 0 && trainer.ckpt_path().empty() && fs::is_directory(dirpath_, error) &&
      !fs::is_empty(dirpath_, error)) {
    console::info("the folder " + dirpath_ + " holds files already; they are left as they are");
  }
}

bool ModelCheckpointImpl::saves_after_training(const Trainer& trainer) const {
  if (options_.save_on_train_epoch_end) return *options_.save_on_train_epoch_end;
  const auto& o = trainer.options();
  if (o.check_val_every_n_epoch != 1) return false;
  if (trainer.num_val_batches() == 0) return true;
  return o.val_check_interval.is_epoch_end();
}

bool ModelCheckpointImpl::may_save(const Trainer& trainer) const {
  return !trainer.sanity_checking() && trainer.num_training_batches() != 0 &&
         trainer.global_step() != books_.last_saved_step;
}

bool ModelCheckpointImpl::validation_follows(const Trainer& trainer) const {
  const auto& o = trainer.options();
  return trainer.is_last_batch() && trainer.num_val_batches() != 0 && o.check_val_every_n_epoch &&
         !o.val_check_interval.across_epochs() && (trainer.current_epoch() + 1) % *o.check_val_every_n_epoch == 0;
}

std::int64_t ModelCheckpointImpl::batches_to_skip(const Trainer& trainer, Stage) const {
  const auto& interval = options_.train_time_interval;
  if (interval && std::chrono::steady_clock::now() - last_time_checked_ >= *interval) return 0;
  if (every_n_train_steps_ == 0) return kAllBatches;
  // In an accumulation window the step that a save is due at may have been taken already.
  const bool accumulates = trainer.accumulate_grad_batches() > 1;
  if (accumulates && trainer.global_step() % every_n_train_steps_ == 0 && may_save(trainer)) return 0;
  return every_n_train_steps_ - 1 - trainer.global_step() % every_n_train_steps_;
}

void ModelCheckpointImpl::on_train_batch_end(Trainer& trainer, Module&, const Batch&, std::int64_t) {
  bool due = every_n_train_steps_ > 0 && trainer.global_step() % every_n_train_steps_ == 0;
  if (options_.train_time_interval) {
    const auto now = std::chrono::steady_clock::now();
    if (now - last_time_checked_ >= *options_.train_time_interval) {
      due = true;
      last_time_checked_ = now;
    }
  }
  if (!due || !may_save(trainer)) return;
  // A metric of the validation that follows is not there yet, or is that of the validation before.
  if (!options_.monitor.empty() && (validation_follows(trainer) || !trainer.find_metric(options_.monitor))) {
    deferred_ = true;
    if (trainer.num_val_batches() != 0) return;
    console::warn_once("ModelCheckpoint: \"" + options_.monitor + "\" has not been logged yet, so nothing is ranked");
    return;
  }
  save(trainer);
}

void ModelCheckpointImpl::on_train_epoch_end(Trainer& trainer, Module&) {
  const bool due = every_n_epochs_ > 0 && (trainer.current_epoch() + 1) % every_n_epochs_ == 0;
  if (due && saves_after_training(trainer) && may_save(trainer)) save(trainer);
}

void ModelCheckpointImpl::on_validation_end(Trainer& trainer, Module&) {
  if (trainer.sanity_checking() || trainer.num_training_batches() == 0) return;
  validated_ = true;
  const bool due = every_n_epochs_ > 0 && (trainer.current_epoch() + 1) % every_n_epochs_ == 0;
  const bool deferred = std::exchange(deferred_, false);
  if ((deferred || (due && !saves_after_training(trainer))) && may_save(trainer)) save(trainer);
}

void ModelCheckpointImpl::on_train_end(Trainer& trainer, Module&) {
  if (options_.save_last && books_.newest_path.empty() && may_save(trainer)) save(trainer, What::last);
  wait();
  if (failures_ > 0) {
    console::warning(
        "the last " + std::to_string(failures_) + " checkpoints could not be written; the newest whole " +
        (books_.newest_path.empty() ? "one is that of an earlier run, if any" : "one is " + books_.newest_path));
  }
  // The error that this run was resumed from is overcome.
  if (!trainer.ckpt_path().empty() && !trainer.interrupted() &&
      canonical(trainer.ckpt_path()) == canonical((fs::path(dirpath_) / kOnException).string())) {
    std::error_code ignored;
    fs::remove(trainer.ckpt_path(), ignored);
  }
}

void ModelCheckpointImpl::on_exception(Trainer& trainer, Module&, std::exception_ptr) {
  wait();
  if (!options_.save_on_exception || dirpath_.empty() || !may_save(trainer)) return;
  const std::string path = (fs::path(dirpath_) / kOnException).string();
  SaveJob job{.paths = {path}};
  if (options_.save_last && !options_.save_last.is_link()) {
    books_.last_path = free_path("last", books_.last_path);
    job.paths.emplace_back(books_.last_path);
  }
  CheckpointWriter writer;
  writer.save(trainer.dump_checkpoint(options_.save_weights_only), std::move(job));
  writer.wait();
  console::info("saved " + path);
}

void ModelCheckpointImpl::wait() {
  const bool wrote = std::exchange(under_way_, false);
  try {
    writer_->wait();
    if (wrote) failures_ = 0;
  } catch (const std::exception& error) {
    books_ = books_before_;
    if (failures_++ == 0) {
      console::warning(
          std::string("a checkpoint could not be written, the ones before are kept and training goes on: ") +
          error.what());
    }
  }
}

void ModelCheckpointImpl::save(Trainer& trainer, What what) {
  wait();
  books_before_ = books_;
  try {
    std::vector<std::string> replaced;
    SaveJob job;
    const std::string ranked = what == What::all && options_.save_top_k != 0 ? rank(trainer, replaced) : "";
    if (!ranked.empty()) job.paths.emplace_back(ranked);
    const std::string target = ranked.empty() ? books_.newest_path : ranked;
    const bool link = options_.save_last.is_link() && options_.save_top_k != 0 && !target.empty();
    if (options_.save_last && (!link || !ranked.empty())) {
      const std::string last = free_path("last", books_.last_path, ranked);
      if (!books_.last_path.empty() && books_.last_path != last) replaced.push_back(books_.last_path);
      books_.last_path = last;
      if (link) {
        job.link = last;
        job.link_to = target;
      } else {
        job.paths.emplace_back(last);
      }
    }
    if (job.paths.empty()) return;
    for (const auto& path : replaced) {
      if (std::ranges::find(job.paths, fs::path(path)) == job.paths.end() && may_remove(trainer, path))
        job.remove_then.emplace_back(path);
    }
    books_.newest_path = job.paths.front().string();
    books_.last_saved_step = trainer.global_step();
    writer_->save(trainer.dump_checkpoint(options_.save_weights_only), std::move(job));
    under_way_ = true;
    if (!options_.async_save) wait();
  } catch (...) {
    books_ = books_before_;
    throw;
  }
}

// Where the state goes among the kept ones, "" when it is not among them; `replaced` takes what goes for it.
std::string ModelCheckpointImpl::rank(Trainer& trainer, std::vector<std::string>& replaced) {
  const std::string name = name_now(trainer);
  if (options_.monitor.empty()) {
    const std::string path = free_path(name, books_.best_path);
    if (options_.save_top_k == 1 && !books_.best_path.empty()) replaced.push_back(books_.best_path);
    if (options_.verbose) console::info("saving " + path);
    return books_.best_path = path;
  }

  const auto found = trainer.find_metric(options_.monitor);
  if (!found && trainer.num_val_batches() != 0 && !validated_) {
    console::warn_once("ModelCheckpoint: \"" + options_.monitor + "\" has not been logged yet, so nothing is ranked");
    return {};
  }
  double score = found ? *found : trainer.metric(options_.monitor, "ModelCheckpoint");  // throws, with the near names
  const double worst = options_.mode == Mode::min ? INFINITY : -INFINITY;
  auto& kept = books_.kept;
  const auto limit = options_.save_top_k == -1 ? kept.size() + 1 : static_cast<std::size_t>(options_.save_top_k);
  std::string last_kept;
  if (kept.size() >= limit) {
    const auto kth = std::ranges::find(kept, books_.kth_path, &std::pair<std::string, double>::first);
    if (kth == kept.end() || !better(score, kth->second, options_.mode)) {
      if (options_.verbose) {
        console::info("step " + std::to_string(trainer.global_step()) + ": " + options_.monitor + " = " +
                      format_double(score) + " is not among the best " + std::to_string(options_.save_top_k));
      }
      return {};
    }
    last_kept = kth->first;
    replaced.push_back(last_kept);
    kept.erase(kth);
  }
  if (std::isnan(score)) score = worst;
  const std::string path = free_path(name, last_kept);
  books_.current_score = score;
  std::erase_if(kept, [&](const auto& entry) { return entry.first == path; });
  kept.emplace_back(path, score);

  const auto extreme = [&](bool best) {
    const auto* chosen = &kept.front();
    for (const auto& entry : kept) {
      if (best ? better(entry.second, chosen->second, options_.mode)
               : better(chosen->second, entry.second, options_.mode))
        chosen = &entry;
    }
    return chosen;
  };
  if (kept.size() == limit) books_.kth_path = extreme(/*best=*/false)->first;
  const auto* best = extreme(/*best=*/true);
  books_.best_path = best->first;
  books_.best_score = best->second;
  if (options_.verbose) {
    console::info("saving " + path + ": " + options_.monitor + " = " + format_double(score) + ", the best is " +
                  format_double(books_.best_score));
  }
  return path;
}

std::string ModelCheckpointImpl::fill_in(const std::string& pattern,
                                         const std::function<std::optional<Value>(const std::string&)>& find) const {
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
    out += format_number(find(field).value_or(Value(0)), format, field);  // 0 for what was not logged
  }
  return out;
}

std::string ModelCheckpointImpl::name_now(const Trainer& trainer) const {
  return fill_in(options_.filename.empty() ? "{epoch}-{step}" : options_.filename,
                 [&](const std::string& field) -> std::optional<Value> {
                   const auto logged = trainer.find_metric(field);
                   if (field != "epoch" && field != "step")
                     return logged ? std::optional<Value>(*logged) : std::nullopt;
                   if (logged && std::isfinite(*logged)) return Value(static_cast<std::int64_t>(*logged));
                   return Value(field == "epoch" ? trainer.current_epoch() : trainer.global_step());
                 });
}

std::string ModelCheckpointImpl::format_checkpoint_name(const Map& metrics) const {
  return path_of(fill_in(options_.filename.empty() ? "{epoch}-{step}" : options_.filename,
                         [&](const std::string& field) -> std::optional<Value> {
                           const Value* value = metrics.find(field);
                           return value ? std::optional<Value>(*value) : std::nullopt;
                         }));
}

std::string ModelCheckpointImpl::path_of(const std::string& name) const {
  return (fs::path(dirpath_) / (name + ".ckpt")).string();
}

// The version counter: `own` may be replaced, any other file that is there, or about to be, is left alone.
std::string ModelCheckpointImpl::free_path(const std::string& name, const std::string& own,
                                           const std::string& taken) const {
  std::string path = path_of(name);
  if (!options_.enable_version_counter) return path;
  std::error_code error;
  for (int version = 1; path != own && (path == taken || fs::exists(fs::symlink_status(path, error)) ||
                                        CheckpointWriter::is_pending(path));
       ++version) {
    path = path_of(name + "-v" + std::to_string(version));
  }
  return path;
}

bool ModelCheckpointImpl::may_remove(const Trainer& trainer, const std::string& path) const {
  const fs::path whole = canonical(fs::path(path).parent_path().string()) / fs::path(path).filename();
  if (!trainer.ckpt_path().empty() && whole == canonical(trainer.ckpt_path())) return false;
  const fs::path folder = canonical(dirpath_);
  for (fs::path parent = whole.parent_path();; parent = parent.parent_path()) {
    if (parent == folder) return true;
    if (parent == parent.parent_path()) return false;
  }
}

std::string ModelCheckpointImpl::find_last() const {
  const auto is_last = [](const fs::path& path) {
    const std::string name = path.stem().string();
    if (path.extension() != ".ckpt") return false;
    if (name == "last" || path.filename() == kOnException || path.filename() == kInterrupted) return true;
    return name.starts_with("last-v") && name.size() > 6 &&
           std::ranges::all_of(name.substr(6), [](unsigned char c) { return std::isdigit(c) != 0; });
  };
  std::string newest;
  fs::file_time_type when;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(dirpath_, error)) {
    if (!is_last(entry.path()) || !entry.is_regular_file(error)) continue;
    const auto time = entry.last_write_time(error);
    if (!error && (newest.empty() || time > when)) {
      newest = entry.path().string();
      when = time;
    }
  }
  return newest;
}

std::vector<std::pair<std::string, double>> ModelCheckpointImpl::best_k_models() const {
  auto models = books_.kept;
  std::ranges::stable_sort(models,
                           [&](const auto& a, const auto& b) { return better(a.second, b.second, options_.mode); });
  return models;
}

double ModelCheckpointImpl::kth_value() const {
  for (const auto& [path, score] : books_.kept) {
    if (path == books_.kth_path) return score;
  }
  return options_.mode == Mode::min ? INFINITY : -INFINITY;
}

void ModelCheckpointImpl::to_yaml(const std::string& path) const {
  auto models = books_.kept;
  std::ranges::sort(models);
  Map map;
  for (const auto& [file, score] : models) map[file] = score;
  write_file_atomically(path.empty() ? fs::path(dirpath_) / "best_k_models.yaml" : fs::path(path), levin::to_yaml(map));
}

std::string ModelCheckpointImpl::state_key() const {
  // Lightning's key, so that its ModelCheckpoint finds the state.
  const auto quoted = [](const std::string& text) { return text.empty() ? std::string("None") : "'" + text + "'"; };
  return "ModelCheckpoint{'monitor': " + quoted(options_.monitor) + ", 'mode': '" +
         (options_.mode == Mode::min ? "min" : "max") +
         "', 'every_n_train_steps': " + std::to_string(every_n_train_steps_) +
         ", 'every_n_epochs': " + std::to_string(every_n_epochs_) + ", 'train_time_interval': " +
         (options_.train_time_interval ? timedelta_text(*options_.train_time_interval) : "None") + "}";
}

Map ModelCheckpointImpl::state_dict() const {
  const auto score = [](double value) { return std::isnan(value) ? Value() : Value(value); };
  Map best_k;
  for (const auto& [path, value] : books_.kept) best_k[path] = value;
  Map state{{"monitor", options_.monitor.empty() ? Value() : Value(options_.monitor)},
            {"best_model_score", score(books_.best_score)},
            {"best_model_path", books_.best_path},
            {"current_score", score(books_.current_score)},
            {"dirpath", fs::absolute(dirpath_).lexically_normal().string()},
            {"best_k_models", best_k},
            {"kth_best_model_path", books_.kth_path},
            {"kth_value", kth_value()},
            {"last_model_path", books_.last_path},
            {"newest_path", books_.newest_path},
            {"last_saved_step", books_.last_saved_step}};
  if (deferred_) state["deferred"] = true;
  return state;
}

void ModelCheckpointImpl::load_state_dict(const Map& state) {
  const auto text = [&](const char* key) {
    const Value* value = state.find(key);
    return value && value->is_string() ? value->as_string() : std::string();
  };
  const auto number = [&](const char* key) {
    const Value* value = state.find(key);
    return value && value->is_number() ? value->as_double() : std::numeric_limits<double>::quiet_NaN();
  };
  // Another folder is another run: its files are not ours to replace.
  if (canonical(text("dirpath")) != canonical(dirpath_)) {
    console::warning("the checkpoint's ModelCheckpoint wrote to " + text("dirpath") + ", this one writes to " +
                     dirpath_ + ": the best files are sought anew; only best_model_path is taken over");
    books_ = {};
    books_.best_path = text("best_model_path");
    return;
  }
  books_ = {};
  books_.best_path = text("best_model_path");
  books_.last_path = text("last_model_path");
  books_.newest_path = text("newest_path");
  books_.kth_path = text("kth_best_model_path");
  books_.best_score = number("best_model_score");
  books_.current_score = number("current_score");
  if (const Value* models = state.find("best_k_models"); models && models->is_map()) {
    for (const auto& [path, score] : models->as_map()) {
      if (fs::exists(path)) books_.kept.emplace_back(path, score.as<double>());
    }
  }
  books_.last_saved_step = state.get<std::int64_t>("last_saved_step", 0);
  deferred_ = state.get<bool>("deferred", false);
}

}  // namespace levin
