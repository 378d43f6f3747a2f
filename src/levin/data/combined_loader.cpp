#include <levin/data/combined_loader.h>

#include <levin/core/error.h>

#include <algorithm>

namespace levin {
namespace {

bool parallel(CombineMode mode) { return mode != CombineMode::sequential && mode != CombineMode::interleaved; }

class CombinedLoaderImpl : public LoaderImpl {
 public:
  CombinedLoaderImpl(std::vector<std::string> names, std::vector<DataLoader> parts, CombinedLoaderOptions options)
      : names_(std::move(names)), parts_(std::move(parts)), options_(std::move(options)), cycles_(parts_.size()) {
    check();
    start_epoch();
  }

  const std::vector<std::string>& names() const { return names_; }

  std::optional<std::int64_t> size() const override {
    std::int64_t least = 0, most = 0, sum = 0;
    for (std::size_t i = 0; i < parts_.size(); ++i) {
      if (!parts_[i].has_size()) return std::nullopt;
      const auto batches = parts_[i].size();
      least = i == 0 ? batches : std::min(least, batches);
      most = std::max(most, batches);
      sum += batches;
    }
    if (!parallel(options_.mode)) return sum;
    return options_.mode == CombineMode::min_size ? least : most;
  }

  bool at_end() override {
    switch (options_.mode) {
      case CombineMode::min_size: return std::any_of(parts_.begin(), parts_.end(), [](auto& p) { return p.at_end(); });
      case CombineMode::max_size_cycle:
        for (std::size_t i = 0; i < parts_.size(); ++i) {
          if (cycles_[i] == 0 && !parts_[i].at_end()) return false;
        }
        return true;
      default: return std::all_of(parts_.begin(), parts_.end(), [](auto& p) { return p.at_end(); });
    }
  }

  Map state() const override {
    List parts;
    for (const auto& part : parts_) parts.emplace_back(part.state());
    Map state = position();
    state["mode"] = to_string(options_.mode);
    state["turn"] = turn_;
    state["turn_given"] = turn_given_;
    state["cycles"] = List(cycles_.begin(), cycles_.end());
    state["parts"] = std::move(parts);
    return state;
  }

  void load_state(const Map& saved) override {
    const auto parts = saved.get<List>("parts");
    const auto cycles = saved.get<List>("cycles");
    const bool at_start = saved.get<std::int64_t>("batch") == 0 && !saved.get<bool>("finished");
    if (parts.size() != parts_.size() || cycles.size() != parts_.size()) {
      throw Error({.what = "a combined loader cannot go on with another number of parts",
                   .value = std::to_string(parts.size()) + " when saved, " + std::to_string(parts_.size()) + " now",
                   .where = {},
                   .hint = {}});
    }
    const auto mode = saved.get<std::string>("mode");
    if (!at_start && mode != to_string(options_.mode)) {
      throw Error({.what = "a combined loader cannot go on within an epoch in another mode",
                   .value = mode + " when saved, " + std::string(to_string(options_.mode)) + " now",
                   .where = {},
                   .hint = "set it as it was, or resume from the end of an epoch"});
    }
    const auto turn = saved.get<std::int64_t>("turn");
    const auto turn_given = saved.get<std::int64_t>("turn_given");
    if (turn < 0 || turn >= static_cast<std::int64_t>(parts_.size()) || turn_given < 0) {
      throw Error({.what = "a saved loader position does not exist",
                   .value = "part " + std::to_string(turn),
                   .where = {},
                   .hint = {}});
    }
    std::vector<std::int64_t> new_cycles;
    for (const auto& cycle : cycles) new_cycles.push_back(cycle.as_int());
    for (std::size_t i = 0; i < parts_.size(); ++i) {
      Map part = parts[i].as_map();
      if (at_start) {  // the seeds count, not where the parts were in the epoch before
        part["epoch"] = part_epoch(i, saved.get<std::int64_t>("epoch"), 0);
        part["batch"] = 0;
        part["finished"] = false;
      }
      parts_[i].load_state(part);
    }
    load_position(saved);
    cycles_ = at_start ? std::vector<std::int64_t>(parts_.size()) : std::move(new_cycles);
    turn_ = at_start ? 0 : turn;
    turn_given_ = at_start ? 0 : turn_given;
    last_ = turn_;
  }

  std::shared_ptr<LoaderImpl> sequential_copy() const override {
    std::vector<DataLoader> copies;
    for (const auto& part : parts_) copies.push_back(part.sequential_copy());
    return std::make_shared<CombinedLoaderImpl>(names_, std::move(copies), options_);
  }

  std::span<const DataLoader> parts() const override { return parts_; }
  CombineMode mode() const override { return options_.mode; }
  std::int64_t dataloader_idx() const override { return parallel(options_.mode) ? 0 : last_; }

 protected:
  void start_epoch() override {
    for (std::size_t i = 0; i < parts_.size(); ++i) parts_[i].begin_epoch(part_epoch(i, epoch(), 0));
    std::fill(cycles_.begin(), cycles_.end(), 0);
    turn_ = turn_given_ = last_ = 0;
  }

  bool fetch(Batch& batch) override {
    if (at_end()) return false;
    if (!parallel(options_.mode)) return fetch_one(batch);
    std::vector<Batch> given(parts_.size());
    for (std::size_t i = 0; i < parts_.size(); ++i) {
      if (options_.mode == CombineMode::max_size_cycle && parts_[i].at_end()) start_again(i);
      parts_[i].next(given[i]);
    }
    batch = Batch::combine(given, names_);
    return true;
  }

 private:
  bool fetch_one(Batch& batch) {
    const auto count = static_cast<std::int64_t>(parts_.size());
    const bool in_turns = options_.mode == CombineMode::interleaved;
    while (true) {  // some part is not at its end
      auto& part = parts_[static_cast<std::size_t>(turn_)];
      const auto share = options_.weights.empty() ? 1 : options_.weights[static_cast<std::size_t>(turn_)];
      if ((!in_turns || turn_given_ < share) && part.next(batch)) {
        last_ = turn_;
        ++turn_given_;
        return true;
      }
      turn_ = (turn_ + 1) % count;
      turn_given_ = 0;
    }
  }

  // Which epoch of its own a part is in: a different one each time that it is started again.
  std::int64_t part_epoch(std::size_t i, std::int64_t epoch, std::int64_t cycle) const {
    if (options_.mode != CombineMode::max_size_cycle) return epoch;
    const auto batches = size();
    if (!batches || parts_[i].size() == 0) return epoch + (cycle << 32);
    const auto per_epoch = (*batches + parts_[i].size() - 1) / parts_[i].size();
    return epoch * per_epoch + cycle;
  }

  void start_again(std::size_t i) {
    auto& part = parts_[i];
    part.begin_epoch(part_epoch(i, epoch(), ++cycles_[i]));
    if (part.at_end()) {
      throw Error({.what = "a loader without batches cannot be cycled",
                   .value = "part " + (names_.empty() ? std::to_string(i) : names_[i]),
                   .where = "CombinedLoader, mode max_size_cycle",
                   .hint = "leave it out, or use max_size"});
    }
  }

  void check() const {
    if (parts_.empty()) throw Error("a combined loader needs at least one part");
    for (std::size_t i = 0; i < parts_.size(); ++i) {
      const auto label = names_.empty() ? std::to_string(i) : names_[i];
      if (!names_.empty() && (names_[i].empty() || names_[i].find('/') != std::string::npos ||
                              std::count(names_.begin(), names_.end(), names_[i]) > 1)) {
        throw Error({.what = "the parts of a combined loader need names of their own, without \"/\"",
                     .value = "\"" + names_[i] + "\"",
                     .where = {},
                     .hint = {}});
      }
      if (!parts_[i].defined()) {
        throw Error({.what = "a part of a combined loader is undefined", .value = label, .where = {}, .hint = {}});
      }
      for (std::size_t j = 0; j < i; ++j) {
        if (&parts_[i].impl() == &parts_[j].impl()) {
          throw Error({.what = "a combined loader holds the same loader twice, which has only one position",
                       .value = label,
                       .where = {},
                       .hint = "make a second DataLoader over the same dataset"});
        }
      }
    }
    if (options_.weights.empty()) return;
    if (options_.mode != CombineMode::interleaved) {
      throw Error({.what = "weights belong to interleaved loaders",
                   .value = std::string(to_string(options_.mode)),
                   .where = "CombinedLoader .mode",
                   .hint = ".mode = CombineMode::interleaved"});
    }
    if (options_.weights.size() != parts_.size() ||
        std::any_of(options_.weights.begin(), options_.weights.end(), [](auto weight) { return weight < 1; })) {
      throw Error({.what = "interleaved loaders need one weight of at least 1 a part",
                   .value = Value(List(options_.weights.begin(), options_.weights.end())).to_string(),
                   .where = "CombinedLoader .weights",
                   .hint = std::to_string(parts_.size()) + " parts"});
    }
  }

  std::vector<std::string> names_;
  std::vector<DataLoader> parts_;
  CombinedLoaderOptions options_;
  std::vector<std::int64_t> cycles_;  // how often a part was started again in this epoch
  std::int64_t turn_ = 0;             // one at a time: whose turn it is
  std::int64_t turn_given_ = 0;       // and how many batches it has given in this turn
  std::int64_t last_ = 0;
};

std::shared_ptr<LoaderImpl> make_named(std::vector<CombinedLoader::Named> parts, CombinedLoaderOptions options) {
  std::vector<std::string> names;
  std::vector<DataLoader> loaders;
  for (auto& [name, loader] : parts) {
    names.push_back(std::move(name));
    loaders.push_back(std::move(loader));
  }
  return std::make_shared<CombinedLoaderImpl>(std::move(names), std::move(loaders), std::move(options));
}

}  // namespace

CombinedLoader::CombinedLoader(std::vector<DataLoader> parts, CombinedLoaderOptions options)
    : DataLoader(
          std::make_shared<CombinedLoaderImpl>(std::vector<std::string>(), std::move(parts), std::move(options))) {}

CombinedLoader::CombinedLoader(std::vector<Named> parts, CombinedLoaderOptions options)
    : DataLoader(make_named(std::move(parts), std::move(options))) {}

const std::vector<std::string>& CombinedLoader::names() const {
  return static_cast<const CombinedLoaderImpl&>(impl()).names();
}

}  // namespace levin
