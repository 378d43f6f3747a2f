#include <levin/tune/samplers/trial_table.h>

#include <levin/tune/pareto.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace levin::tune {
namespace {

SearchSpace sorted_by_name(const SearchSpace& space) {
  std::vector<SearchSpace::value_type> entries(space.begin(), space.end());
  std::sort(entries.begin(), entries.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  SearchSpace out;
  for (auto& [name, distribution] : entries) out.set(name, distribution);
  return out;
}

}  // namespace

void TrialTable::update(const TrialsSnapshot& snapshot) {
  const auto finished = snapshot.finished();
  for (; n_seen_ < finished.size(); ++n_seen_) {
    const TrialPtr& trial = finished[n_seen_];
    if (trial->state == TrialState::complete || trial->state == TrialState::pruned) add(trial);
  }
}

void TrialTable::add(const TrialPtr& trial) {
  const auto row = static_cast<std::uint32_t>(trials_.size());
  trials_.push_back(trial);
  const auto later = [&](std::int64_t number, std::uint32_t other) { return number < trials_[other]->number; };
  by_number_.insert(std::upper_bound(by_number_.begin(), by_number_.end(), trial->number, later), row);

  const auto rank = [&](std::vector<Ranked>& list, double first, double second) {
    const Ranked entry{first, second, trial->number, row};
    list.insert(std::upper_bound(list.begin(), list.end(), entry), entry);
  };
  const bool single = directions_.size() == 1;
  const double sign = directions_.front() == Direction::maximize ? -1 : 1;
  if (const double violation = trial->infeasibility(); violation > 0) {
    rank(infeasible_, violation, 0);
  } else if (trial->state == TrialState::complete) {
    rank(complete_, single ? sign * trial->values.front() : 0, 0);
  } else if (trial->intermediate_values.empty()) {
    rank(pruned_, 1, 0);
  } else {
    // The further a trial came, the better; a NaN at the end is worst of its step.
    const auto& [step, value] = trial->intermediate_values.back();
    rank(pruned_, -static_cast<double>(step),
         std::isnan(value) ? std::numeric_limits<double>::infinity() : sign * value);
  }

  add_to_spaces(trial->distributions);
}

void TrialTable::add_to_spaces(const SearchSpace& distributions) {
  const bool first = trials_.size() == 1;
  // Most trials ask for what the one before them asked for.
  if (!first && distributions == trials_[trials_.size() - 2]->distributions) return;
  if (first) {
    intersection_ = sorted_by_name(distributions);
  } else {
    std::vector<std::string> gone;
    for (const auto& [name, distribution] : intersection_) {
      const Distribution* other = distributions.find(name);
      if (other == nullptr || !(*other == distribution)) gone.push_back(name);
    }
    for (const auto& name : gone) intersection_.erase(name);
  }
  add_to_groups(distributions);
}

void TrialTable::add_to_groups(const SearchSpace& distributions) {
  std::vector<SearchSpace> next;
  SearchSpace fresh = distributions;
  for (const auto& group : groups_) {
    SearchSpace inside, outside;
    for (const auto& [name, distribution] : group) {
      (distributions.contains(name) ? inside : outside).set(name, distribution);
      fresh.erase(name);
    }
    if (!inside.empty()) next.push_back(std::move(inside));
    if (!outside.empty()) next.push_back(std::move(outside));
  }
  if (!fresh.empty()) next.push_back(sorted_by_name(fresh));
  groups_ = std::move(next);
}

std::vector<std::uint32_t> TrialTable::best_complete(std::size_t n) {
  std::vector<std::uint32_t> rows;
  if (directions_.size() == 1 || n >= complete_.size()) {
    for (std::size_t i = 0; i < std::min(n, complete_.size()); ++i) rows.push_back(complete_[i].row);
    return rows;
  }
  if (front_size_ == complete_.size() && front_n_ == n) return front_;
  std::vector<std::vector<double>> losses;
  for (const auto& entry : complete_) losses.push_back(to_losses(trials_[entry.row]->values, directions_));
  for (const auto i : best_by_dominance(losses, n)) rows.push_back(complete_[i].row);
  front_ = rows;
  front_size_ = complete_.size();
  front_n_ = n;
  return rows;
}

std::vector<std::uint32_t> TrialTable::best(std::size_t n) {
  std::vector<std::uint32_t> rows = best_complete(n);
  for (const auto* list : {&pruned_, &infeasible_}) {
    for (const auto& entry : *list) {
      if (rows.size() >= n) break;
      rows.push_back(entry.row);
    }
  }
  std::sort(rows.begin(), rows.end(), [&](auto a, auto b) { return trials_[a]->number < trials_[b]->number; });
  return rows;
}

ParzenColumn& TrialTable::column(const std::string& name, const Distribution& distribution) {
  auto& column = columns_[name];
  if (column == nullptr) column = std::make_unique<Column>(Column{ParzenColumn(distribution), 0});
  column->values.set_distribution(distribution);
  for (; column->n_rows < trials_.size(); ++column->n_rows) {
    if (const Value* value = trials_[column->n_rows]->params.find(name)) {
      column->values.push(distribution.to_internal(*value));
    } else {
      column->values.push_absent();
    }
  }
  return column->values;
}

}  // namespace levin::tune
