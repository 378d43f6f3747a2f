#include <levin/tune/storage/journal.h>

#include <levin/core/json.h>
#include <levin/tune/storage/journal_file.h>
#include <levin/tune/storage/time_text.h>
#include <levin/tune/storage/trial_store.h>

#include <array>
#include <charconv>
#include <cstdio>
#include <mutex>
#include <random>
#include <unordered_map>

namespace levin::tune {
namespace {

// The operations of Optuna's journal.
enum Op : std::int64_t {
  create_study_op = 0,
  delete_study_op = 1,
  study_user_attr_op = 2,
  study_system_attr_op = 3,
  create_trial_op = 4,
  param_op = 5,
  state_op = 6,
  intermediate_op = 7,
  user_attr_op = 8,
  system_attr_op = 9,
  discard_op = 10,  // Rustuna's, which Optuna passes over
};

std::int64_t code_of(TrialState state) { return static_cast<std::int64_t>(state); }

TrialState state_of(std::int64_t code) {
  if (code < 0 || code > 4) throw Error("a trial state is a number from 0 to 4");
  return static_cast<TrialState>(code);
}

std::string new_worker_id() {
  std::random_device device;
  std::array<char, 64> text{};
  std::snprintf(text.data(), text.size(), "%08x-%04x-4%03x-%04x-%04x%08x-1", device(), device() & 0xffff,
                device() & 0xfff, 0x8000 | (device() & 0x3fff), device() & 0xffff, device());
  return text.data();
}

List to_list(const std::vector<double>& values) { return {values.begin(), values.end()}; }

std::vector<double> to_values(const Value* list) {
  std::vector<double> out;
  if (list == nullptr || list->is_null()) return out;
  for (const auto& value : list->as_list()) out.push_back(value.as_double());
  return out;
}

TimePoint now() { return std::chrono::system_clock::now(); }

std::optional<TimePoint> time_of(const Map& line, const char* key) {
  const Value* text = line.find(key);
  return text != nullptr && text->is_string() ? detail::parse_time(text->as_string()) : std::nullopt;
}

}  // namespace

class JournalStorage::Impl {
 public:
  Impl(const std::string& path, JournalStorageOptions options)
      : file(path, options.create, options.timeout), store("journal:///" + path) {
    sync();
  }

  void sync() { file.read_new(applier); }

  // Under the lock: what `compose` writes is judged by all that stands before it.
  void append(const std::function<void(std::string&)>& compose, bool durable) {
    file.append(
        applier,
        [&] {
          std::string lines;
          compose(lines);
          return lines;
        },
        durable);
  }

  void put(std::string& lines, Op op, Map fields) const {
    Map line{{"op_code", static_cast<std::int64_t>(op)}, {"worker_id", worker_id}};
    for (auto& [key, value] : fields) line[key] = std::move(value);
    lines += to_json(line, JsonStyle::compact);
    lines += '\n';
  }

  void put_trial(std::string& lines, std::int64_t study_id, const FrozenTrial* content) const {
    Map line{{"study_id", study_id}};
    if (content == nullptr) {
      line["datetime_start"] = detail::to_iso_time(now());
      return put(lines, create_trial_op, std::move(line));
    }
    const FrozenTrial& trial = *content;
    line["datetime_start"] = trial.datetime_start ? Value(detail::to_iso_time(*trial.datetime_start)) : Value();
    line["state"] = code_of(trial.state);
    line["value"] = trial.values.size() == 1 ? Value(trial.values[0]) : Value();
    line["values"] = trial.values.size() > 1 ? Value(to_list(trial.values)) : Value();
    if (trial.datetime_complete) line["datetime_complete"] = detail::to_iso_time(*trial.datetime_complete);
    Map ranges, params, reports;
    for (const auto& [name, range] : trial.distributions) {
      ranges[name] = range.to_json();
      params[name] = range.to_internal(trial.params.at(name));
    }
    for (const auto& [step, value] : trial.intermediate_values) reports[std::to_string(step)] = value;
    line["distributions"] = std::move(ranges);
    line["params"] = std::move(params);
    line["user_attrs"] = trial.user_attrs;
    line["system_attrs"] = trial.system_attrs;
    line["intermediate_values"] = std::move(reports);
    put(lines, create_trial_op, std::move(line));
  }

  void put_update(std::string& lines, std::int64_t trial_id, const TrialUpdate& update) const {
    for (const auto& param : update.params) {
      put(lines, param_op,
          {{"trial_id", trial_id},
           {"param_name", param.name},
           {"param_value_internal", param.internal},
           {"distribution", param.distribution.to_json()}});
    }
    for (const auto& [step, value] : update.intermediate_values) {
      put(lines, intermediate_op, {{"trial_id", trial_id}, {"step", step}, {"intermediate_value", value}});
    }
    for (const auto& [key, value] : update.user_attrs) {
      put(lines, user_attr_op, {{"trial_id", trial_id}, {"user_attr", Map{{key, value}}}});
    }
    for (const auto& [key, value] : update.system_attrs) {
      put(lines, system_attr_op, {{"trial_id", trial_id}, {"system_attr", Map{{key, value}}}});
    }
    if (!update.state) return;
    Map line{{"trial_id", trial_id},
             {"state", code_of(*update.state)},
             {"values", update.values.empty() ? Value() : Value(to_list(update.values))}};
    if (*update.state == TrialState::running) line["datetime_start"] = detail::to_iso_time(now());
    if (is_finished(*update.state)) line["datetime_complete"] = detail::to_iso_time(now());
    put(lines, state_op, std::move(line));
  }

  void put_heartbeat(std::string& lines, std::int64_t trial_id) const {
    put_update(lines, trial_id, detail::heartbeat_update(now()));
  }

  // A line that breaks a rule (its trial is finished, its study gone) was refused to its writer; all pass over it.
  void apply(std::string_view text) {
    try {
      apply_line(parse_json(text).as_map());
    } catch (const Error& error) {
      throw Error({.what = "the journal has a damaged line: " + std::string(error.what()),
                   .value = {},
                   .where = file.path() + ":" + std::to_string(file.lines_read()),
                   .hint = "if its writer died there, remove the line"});
    }
  }

  void apply_line(const Map& line) {
    const auto op = line.get<std::int64_t>("op_code");
    const auto trial_id = [&] { return line.get<std::int64_t>("trial_id"); };
    const auto change = [&](const TrialUpdate& update, TimePoint when = {}) {
      const auto state = store.state(trial_id());
      if (state && !is_finished(*state)) store.update(trial_id(), update, when);
    };
    const auto study_attr = [&](const char* key, Map FrozenStudy::* attrs) {
      const auto id = line.get<std::int64_t>("study_id");
      if (!store.has_study(id)) return;
      for (const auto& [name, value] : line.at(key).as_map()) (store.study(id).*attrs)[name] = value;
    };
    switch (op) {
      case create_study_op: {
        std::vector<Direction> directions;
        for (const auto& code : line.at("directions").as_list()) {
          directions.push_back(code.as_int() == 2 ? Direction::maximize : Direction::minimize);
        }
        store.create_study(line.at("study_name").as_string(), directions);
        break;
      }
      case delete_study_op: {
        const auto id = line.get<std::int64_t>("study_id");
        if (store.has_study(id)) store.delete_study(id);
        break;
      }
      case study_user_attr_op: study_attr("user_attr", &FrozenStudy::user_attrs); break;
      case study_system_attr_op: study_attr("system_attr", &FrozenStudy::system_attrs); break;
      case create_trial_op: {
        const auto id = line.get<std::int64_t>("study_id");
        if (store.has_study(id)) store.create_trial(id, trial_of(line));
        break;
      }
      case param_op: {
        const TrialUpdate update{
            .params = {{line.at("param_name").as_string(), distribution(line.at("distribution").as_string()),
                        line.at("param_value_internal").as_double()}}};
        const auto state = store.state(trial_id());
        if (!state || is_finished(*state)) break;
        try {
          store.check_update(trial_id(), update);
        } catch (const Error&) {
          break;
        }
        store.update(trial_id(), update, {});
        break;
      }
      case state_op: {
        const TrialState next = state_of(line.get<std::int64_t>("state"));
        if (next == TrialState::running && store.state(trial_id()) == next) break;  // somebody else was first
        const auto when = time_of(line, next == TrialState::running ? "datetime_start" : "datetime_complete");
        change({.state = next, .values = to_values(line.find("values"))}, when.value_or(TimePoint{}));
        break;
      }
      case intermediate_op:
        change({.intermediate_values = {{line.get<std::int64_t>("step"), line.at("intermediate_value").as_double()}}});
        break;
      case user_attr_op: change({.user_attrs = line.at("user_attr").as_map()}); break;
      case system_attr_op: change({.system_attrs = line.at("system_attr").as_map()}); break;
      case discard_op: break;
      default: throw Error("there is no operation " + std::to_string(op));
    }
  }

  FrozenTrial trial_of(const Map& line) {
    FrozenTrial trial;
    trial.datetime_start = time_of(line, "datetime_start");
    trial.datetime_complete = time_of(line, "datetime_complete");
    if (const Value* state = line.find("state")) trial.state = state_of(state->as_int());
    trial.values = to_values(line.find("values"));
    if (const Value* value = line.find("value"); value != nullptr && !value->is_null()) {
      trial.values = {value->as_double()};
    }
    if (const Value* ranges = line.find("distributions")) {
      const Map& params = line.at("params").as_map();
      for (const auto& [name, json] : ranges->as_map()) {
        const Distribution& d = distribution(json.as_string());
        trial.distributions.set(name, d);
        trial.params[name] = d.to_external(params.at(name).as_double());
      }
    }
    if (const Value* attrs = line.find("user_attrs")) trial.user_attrs = attrs->as_map();
    if (const Value* attrs = line.find("system_attrs")) trial.system_attrs = attrs->as_map();
    if (const Value* reports = line.find("intermediate_values")) {
      for (const auto& [step, value] : reports->as_map()) {
        std::int64_t number = 0;
        const auto [end, error] = std::from_chars(step.data(), step.data() + step.size(), number);
        if (error != std::errc() || end != step.data() + step.size()) throw Error("a step is a whole number");
        trial.intermediate_values.set(number, value.as_double());
      }
    }
    return trial;
  }

  const Distribution& distribution(const std::string& json) {
    if (const auto known = distributions.find(json); known != distributions.end()) return known->second;
    return distributions.emplace(json, Distribution::from_json(json)).first->second;
  }

  std::mutex mutex;  // one thread at a time
  detail::JournalFile file;
  detail::TrialStore store;
  const std::string worker_id = new_worker_id();
  const std::function<void(std::string_view)> applier = [this](std::string_view line) { apply(line); };
  std::unordered_map<std::string, Distribution> distributions;  // by their JSON
};

JournalStorage::JournalStorage(const std::string& path, JournalStorageOptions options)
    : impl_(std::make_unique<Impl>(path, options)) {}

JournalStorage::~JournalStorage() = default;

std::string JournalStorage::url() const { return "journal:///" + impl_->file.path(); }

std::optional<std::int64_t> JournalStorage::create_study(const std::string& name,
                                                         const std::vector<Direction>& directions) {
  const std::lock_guard lock(impl_->mutex);
  bool taken = false;
  impl_->append(
      [&](std::string& lines) {
        taken = impl_->store.find_study(name).has_value();
        if (taken) return;
        List codes;
        for (const auto direction : directions) codes.emplace_back(direction == Direction::maximize ? 2 : 1);
        impl_->put(lines, create_study_op, {{"study_name", name}, {"directions", std::move(codes)}});
      },
      true);
  return taken ? std::nullopt : impl_->store.find_study(name);
}

void JournalStorage::delete_study(std::int64_t study_id) {
  const std::lock_guard lock(impl_->mutex);
  impl_->append(
      [&](std::string& lines) {
        impl_->store.study(study_id);
        impl_->put(lines, delete_study_op, {{"study_id", study_id}});
      },
      true);
}

std::optional<std::int64_t> JournalStorage::find_study(const std::string& name) {
  const std::lock_guard lock(impl_->mutex);
  impl_->sync();
  return impl_->store.find_study(name);
}

FrozenStudy JournalStorage::study(std::int64_t study_id) {
  const std::lock_guard lock(impl_->mutex);
  impl_->sync();
  return impl_->store.study(study_id);
}

std::vector<FrozenStudy> JournalStorage::studies() {
  const std::lock_guard lock(impl_->mutex);
  impl_->sync();
  return impl_->store.studies();
}

void JournalStorage::set_study_user_attr(std::int64_t study_id, const std::string& key, const Value& value) {
  const std::lock_guard lock(impl_->mutex);
  impl_->append(
      [&](std::string& lines) {
        impl_->store.study(study_id);
        impl_->put(lines, study_user_attr_op, {{"study_id", study_id}, {"user_attr", Map{{key, value}}}});
      },
      true);
}

void JournalStorage::set_study_system_attr(std::int64_t study_id, const std::string& key, const Value& value) {
  const std::lock_guard lock(impl_->mutex);
  impl_->append(
      [&](std::string& lines) {
        impl_->store.study(study_id);
        impl_->put(lines, study_system_attr_op, {{"study_id", study_id}, {"system_attr", Map{{key, value}}}});
      },
      true);
}

TrialPtr JournalStorage::create_trial(std::int64_t study_id, const FrozenTrial* content) {
  const std::lock_guard lock(impl_->mutex);
  std::int64_t id = -1;
  impl_->append(
      [&](std::string& lines) {
        impl_->store.study(study_id);
        if (content != nullptr) impl_->store.check_content(study_id, *content);
        id = impl_->store.next_trial_id();
        impl_->put_trial(lines, study_id, content);
      },
      content != nullptr);
  return impl_->store.trial(id);
}

void JournalStorage::create_trials(std::int64_t study_id, std::span<const TrialPtr> contents) {
  constexpr std::size_t kAtOnce = 1000;  // others may write in between
  for (; !contents.empty(); contents = contents.subspan(std::min(kAtOnce, contents.size()))) {
    const std::lock_guard lock(impl_->mutex);
    impl_->append(
        [&](std::string& lines) {
          for (const auto& content : contents.first(std::min(kAtOnce, contents.size()))) {
            impl_->store.check_content(study_id, *content);
            impl_->put_trial(lines, study_id, content.get());
          }
        },
        true);
  }
}

TrialPtr JournalStorage::claim_waiting_trial(std::int64_t study_id) {
  const std::lock_guard lock(impl_->mutex);
  impl_->sync();
  if (!impl_->store.first_waiting(study_id)) return nullptr;  // the common case needs no lock
  std::optional<std::int64_t> id;
  impl_->append(
      [&](std::string& lines) {
        id = impl_->store.first_waiting(study_id);
        if (id) impl_->put_update(lines, *id, {.state = TrialState::running});
      },
      false);
  return id ? impl_->store.trial(*id) : nullptr;
}

TrialPtr JournalStorage::next_trial(std::int64_t study_id, bool heartbeat, std::optional<std::int64_t> limit) {
  const std::lock_guard lock(impl_->mutex);
  std::optional<std::int64_t> id;
  impl_->append(
      [&](std::string& lines) {
        if (impl_->store.is_full(study_id, limit)) return;
        id = impl_->store.first_waiting(study_id);
        if (id) {
          impl_->put_update(lines, *id, {.state = TrialState::running});
        } else {
          id = impl_->store.next_trial_id();
          impl_->put_trial(lines, study_id, nullptr);
        }
        if (heartbeat) impl_->put_heartbeat(lines, *id);
      },
      false);
  return id ? impl_->store.trial(*id) : nullptr;
}

void JournalStorage::update_trial(std::int64_t trial_id, const TrialUpdate& update) {
  const std::lock_guard lock(impl_->mutex);
  if (!update.values.empty() && !update.state) throw Error("values are stored together with a trial's state");
  impl_->append(
      [&](std::string& lines) {
        impl_->store.check_update(trial_id, update);
        impl_->put_update(lines, trial_id, update);
      },
      update.state && is_finished(*update.state));
}

std::vector<TrialPtr> JournalStorage::read_trials(std::int64_t study_id, std::span<const std::int64_t> ids,
                                                  std::int64_t after) {
  const std::lock_guard lock(impl_->mutex);
  impl_->sync();
  return impl_->store.read_trials(study_id, ids, after);
}

TrialPtr JournalStorage::trial(std::int64_t trial_id) {
  const std::lock_guard lock(impl_->mutex);
  impl_->sync();
  return impl_->store.trial(trial_id);
}

void JournalStorage::record_heartbeats(std::span<const std::int64_t> trial_ids) {
  const std::lock_guard lock(impl_->mutex);
  impl_->append(
      [&](std::string& lines) {
        for (const auto id : trial_ids) {
          if (impl_->store.state(id) == TrialState::running) impl_->put_heartbeat(lines, id);
        }
      },
      false);
}

std::vector<TrialPtr> JournalStorage::fail_stale_trials(std::int64_t study_id, double grace_period,
                                                        const Successor& successor) {
  const std::lock_guard lock(impl_->mutex);
  const auto limit = [&] {
    return now() - std::chrono::round<std::chrono::microseconds>(std::chrono::duration<double>(grace_period));
  };
  impl_->sync();
  if (impl_->store.stale_trials(study_id, limit()).empty()) return {};
  std::vector<std::int64_t> ids;
  impl_->append(
      [&](std::string& lines) {
        ids = impl_->store.stale_trials(study_id, limit());
        for (const auto id : ids) {
          impl_->put_update(lines, id, {.state = TrialState::fail});
          FrozenTrial failed = *impl_->store.trial(id);
          failed.state = TrialState::fail;
          const auto next = successor ? successor(failed) : std::nullopt;
          if (!next) continue;
          impl_->store.check_content(study_id, *next);
          impl_->put_trial(lines, study_id, &*next);
        }
      },
      true);
  std::vector<TrialPtr> out;
  for (const auto id : ids) out.push_back(impl_->store.trial(id));
  return out;
}

}  // namespace levin::tune
