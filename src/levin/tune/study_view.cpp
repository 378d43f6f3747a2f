#include <levin/tune/study_view.h>

#include <algorithm>
#include <atomic>
#include <utility>

namespace levin::tune {
namespace {

std::uint64_t next_log() {
  static std::atomic<std::uint64_t> count{0};
  return ++count;
}

bool earlier(const TrialPtr& a, const TrialPtr& b) { return a->number < b->number; }

}  // namespace

std::span<const TrialPtr> TrialsSnapshot::finished() const noexcept { return {buffer_.get(), n_finished_}; }

std::vector<TrialPtr> TrialsSnapshot::by_number() const {
  std::vector<TrialPtr> out(finished().begin(), finished().end());
  std::sort(out.begin(), out.end(), earlier);
  const auto middle = static_cast<std::ptrdiff_t>(out.size());
  out.insert(out.end(), unfinished().begin(), unfinished().end());
  std::inplace_merge(out.begin(), out.begin() + middle, out.end(), earlier);
  return out;
}

TrialCache::TrialCache(std::shared_ptr<Storage> storage, std::int64_t study_id)
    : storage_(std::move(storage)), study_id_(study_id) {
  snapshot_.log_ = next_log();
}

TrialCache::TrialCache(std::shared_ptr<TrialCache> whole, std::function<TrialPtr(const TrialPtr&)> select)
    : whole_(std::move(whole)), select_(std::move(select)) {
  snapshot_.log_ = next_log();
}

TrialCache::TrialCache(std::vector<TrialPtr> trials) {
  snapshot_.log_ = next_log();
  auto open = std::make_shared<std::vector<TrialPtr>>();
  std::sort(trials.begin(), trials.end(), earlier);
  for (auto& trial : trials) {
    if (is_finished(trial->state)) {
      append(std::move(trial));
    } else {
      open->push_back(std::move(trial));
    }
  }
  snapshot_.unfinished_ = std::move(open);
}

// Snapshots share the buffer: a slot is written once, before any snapshot that reaches it is made. When it is full, a
// larger one takes over and the old one stays as it is for those who hold it.
void TrialCache::append(TrialPtr trial) {
  if (snapshot_.n_finished_ == capacity_) {
    capacity_ = std::max<std::size_t>(64, 2 * capacity_);
    std::shared_ptr<TrialPtr[]> larger(new TrialPtr[capacity_]);
    std::copy_n(snapshot_.buffer_.get(), snapshot_.n_finished_, larger.get());
    snapshot_.buffer_ = std::move(larger);
  }
  snapshot_.buffer_[static_cast<std::ptrdiff_t>(snapshot_.n_finished_++)] = std::move(trial);
}

// Optuna, which has no ordinals, continues one as the plain int range that it is stored as. Here its trials get the
// choices back, so that samplers and people see one parameter.
void TrialCache::learn_ordinals(const std::vector<TrialPtr>& trials) {
  bool learnt = false;
  for (const auto& trial : trials) {
    for (const auto& [name, distribution] : trial->distributions) {
      if (distribution.is_ordinal()) learnt |= ordinals_.try_emplace(name, distribution).second;
    }
  }
  if (!learnt || snapshot_.n_finished_ == 0) return;
  // Trials of before may be concerned: a new list, as those who hold the old one must not see it change.
  const TrialsSnapshot before = snapshot_;
  snapshot_.log_ = next_log();
  snapshot_.buffer_ = nullptr;
  snapshot_.n_finished_ = capacity_ = n_compared_ = 0;
  best_ = nullptr;
  for (const auto& trial : before.finished()) append(with_ordinals(trial));
}

TrialPtr TrialCache::with_ordinals(TrialPtr trial) const {
  if (ordinals_.empty()) return trial;
  std::shared_ptr<FrozenTrial> changed;
  for (const auto& [name, distribution] : trial->distributions) {
    const auto found = ordinals_.find(name);
    if (found == ordinals_.end() || distribution.kind() != Distribution::Kind::integer || distribution.is_ordinal() ||
        distribution.low() != found->second.low() || distribution.high() != found->second.high()) {
      continue;
    }
    if (changed == nullptr) changed = std::make_shared<FrozenTrial>(*trial);
    changed->params[name] = found->second.to_external(distribution.to_internal(trial->params.at(name)));
    changed->distributions.set(name, found->second);
  }
  return changed == nullptr ? trial : TrialPtr(std::move(changed));
}

void TrialCache::refresh() {
  if (whole_ != nullptr) {
    const TrialsSnapshot all = whole_->read();
    for (; n_selected_from_ < all.finished().size(); ++n_selected_from_) {
      if (TrialPtr trial = select_(all.finished()[n_selected_from_])) append(std::move(trial));
    }
    auto open = std::make_shared<std::vector<TrialPtr>>();
    for (const auto& trial : all.unfinished()) {
      if (TrialPtr selected = select_(trial)) open->push_back(std::move(selected));
    }
    snapshot_.unfinished_ = std::move(open);
    return;
  }
  if (storage_ == nullptr) return;
  auto trials = storage_->read_trials(study_id_, open_ids_, last_id_);
  learn_ordinals(trials);
  for (auto& trial : trials) trial = with_ordinals(std::move(trial));
  auto open = std::make_shared<std::vector<TrialPtr>>();
  open_ids_.clear();
  for (auto& trial : trials) {
    if (is_finished(trial->state)) {
      last_id_ = std::max(last_id_, trial->trial_id);
      append(std::move(trial));
    } else {
      open->push_back(std::move(trial));
    }
  }
  for (const auto& trial : *open) {
    if (trial->trial_id < last_id_) open_ids_.push_back(trial->trial_id);
  }
  snapshot_.unfinished_ = std::move(open);
}

TrialsSnapshot TrialCache::read() {
  const std::lock_guard lock(mutex_);
  refresh();
  return snapshot_;
}

TrialPtr TrialCache::best(Direction direction) {
  const std::lock_guard lock(mutex_);
  refresh();
  if (direction != best_direction_) {
    best_direction_ = direction;
    best_ = nullptr;
    n_compared_ = 0;
  }
  for (; n_compared_ < snapshot_.n_finished_; ++n_compared_) {
    const TrialPtr& trial = snapshot_.finished()[n_compared_];
    if (trial->state != TrialState::complete || trial->values.size() != 1 || trial->infeasibility() > 0) continue;
    if (best_ != nullptr) {
      const double a = trial->values[0], b = best_->values[0];
      const bool better = direction == Direction::minimize ? a < b : a > b;
      if (!better && !(a == b && trial->number < best_->number)) continue;
    }
    best_ = trial;
  }
  return best_;
}

StudyView::StudyView(std::string name, std::vector<Direction> directions, std::shared_ptr<TrialCache> cache)
    : identity_(std::make_shared<const Identity>(Identity{std::move(name), std::move(directions)})),
      cache_(std::move(cache)) {}

StudyView::StudyView(std::vector<Direction> directions, std::vector<FrozenTrial> trials, std::string name)
    : StudyView(std::move(name), std::move(directions), nullptr) {
  std::vector<TrialPtr> shared;
  for (auto& trial : trials) shared.push_back(std::make_shared<const FrozenTrial>(std::move(trial)));
  cache_ = std::make_shared<TrialCache>(std::move(shared));
}

Direction StudyView::direction() const {
  if (directions().size() == 1) return directions().front();
  throw Error({.what = "this needs a study with one objective",
               .value = std::to_string(directions().size()) + " objectives",
               .where = "study \"" + study_name() + "\"",
               .hint = {}});
}

const TrialsSnapshot& StudyView::trials() {
  if (!read_) {
    trials_ = cache_->read();
    read_ = true;
  }
  return trials_;
}

}  // namespace levin::tune
