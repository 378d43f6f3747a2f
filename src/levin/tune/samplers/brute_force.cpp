#include <levin/tune/samplers/brute_force.h>

#include <levin/core/rng.h>
#include <levin/tune/samplers/per_study.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <mutex>
#include <vector>

namespace levin::tune {
namespace {

constexpr double most_points = 1e6;

std::size_t n_points(const std::string& name, const Distribution& d) {
  if (d.is_categorical()) return d.size();
  const double n = d.step() == 0 ? 0 : std::nearbyint((d.high() - d.low()) / d.step()) + 1;
  if (d.step() == 0 || n > most_points) {
    throw Error({.what = d.step() == 0 ? "a continuous range cannot be searched in full"
                                       : "this range has too many points to search them all",
                 .value = d.to_text(),
                 .where = "parameter \"" + name + "\"",
                 .hint = d.step() == 0 ? "give it a step" : "give it a larger step"});
  }
  return static_cast<std::size_t>(n);
}

double internal_of(const Distribution& d, std::size_t index) {
  if (d.is_categorical()) return static_cast<double>(index);
  return std::min(d.low() + static_cast<double>(index) * d.step(), d.high());
}

// What is known of the tree below some values. A node is open (what comes next is unknown), inner (the next parameter
// is known) or a leaf (an objective ended there).
struct Node {
  enum class Kind { open, inner, leaf };
  Kind kind = Kind::open;
  std::string name;                          // inner: the next parameter
  std::optional<Distribution> distribution;  // inner
  std::size_t n_choices = 0;                 // inner
  std::map<std::size_t, std::unique_ptr<Node>> children;
  std::int64_t n_open = 1;  // open nodes at or below this one, those without an object included
  bool running = false;     // open, and another trial is there
};

class Tree {
 public:
  void update(const TrialsSnapshot& snapshot) {
    for (const auto finished = snapshot.finished(); n_seen_ < finished.size(); ++n_seen_) {
      const FrozenTrial& trial = *finished[n_seen_];
      if (trial.distributions.empty()) continue;
      const auto path = path_of(trial);
      // Where it is known how to go on, a trial that failed half-way says nothing new.
      if (!path.empty() && path.back()->kind == Node::Kind::open) {
        add(path, -1);
        path.back()->kind = Node::Kind::leaf;
      }
    }
  }

  // The nodes from the root to where the trial's parameters lead; empty when a value is none of the choices.
  std::vector<Node*> path_of(const FrozenTrial& trial) {
    std::vector<Node*> path{&root_};
    for (const auto& [name, distribution] : trial.distributions) {
      if (!distribution.is_categorical() && distribution.step() == 0) return {};  // another sampler's trial
      expand(path, name, distribution);
      Node& node = *path.back();
      const double internal = distribution.to_internal(trial.params.at(name));
      const double index = distribution.is_categorical()
                               ? internal
                               : std::nearbyint((internal - distribution.low()) / distribution.step());
      if (!(index >= 0 && index < static_cast<double>(node.n_choices))) return {};
      auto& child = node.children[static_cast<std::size_t>(index)];
      if (child == nullptr) child = std::make_unique<Node>();
      path.push_back(child.get());
    }
    return path;
  }

  // Makes the end of `path` an inner node for this parameter, or checks that it is one.
  void expand(const std::vector<Node*>& path, const std::string& name, const Distribution& distribution) {
    Node& node = *path.back();
    if (node.kind == Node::Kind::inner) {
      if (node.name == name && *node.distribution == distribution) return;
      throw Error({.what = "after the same values the objective now suggests something else",
                   .value = "\"" + name + "\" in " + distribution.to_text() + " instead of \"" + node.name + "\" in " +
                            node.distribution->to_text(),
                   .where = "BruteForceSampler",
                   .hint = "what is suggested may depend on values suggested before, and on nothing else"});
    }
    if (node.running) {  // the trial that is there goes on to this parameter
      node.running = false;
      add(path, 1);
    }
    const std::int64_t before = node.n_open;
    node.n_choices = n_points(name, distribution);
    node.kind = Node::Kind::inner;
    node.name = name;
    node.distribution = distribution;
    add(path, static_cast<std::int64_t>(node.n_choices) - before);
  }

  // Counts the ends of these paths as taken for as long as the object lives.
  class Taken {
   public:
    void take(const std::vector<Node*>& path) {
      if (path.empty() || path.back()->kind != Node::Kind::open || path.back()->running) return;
      path.back()->running = true;
      add(path, -1);
      paths_.push_back(path);
    }
    Taken() = default;
    Taken(const Taken&) = delete;
    Taken& operator=(const Taken&) = delete;
    ~Taken() {
      for (const auto& path : paths_) {
        if (!path.back()->running) continue;
        path.back()->running = false;
        add(path, 1);
      }
    }

   private:
    std::vector<std::vector<Node*>> paths_;
  };

  const Node& root() const { return root_; }

 private:
  static void add(const std::vector<Node*>& path, std::int64_t n) {
    for (Node* node : path) node->n_open += n;
  }

  Node root_;
  std::size_t n_seen_ = 0;
};

// A child with something left below it: half by how much is left, half evenly, and away from running trials.
std::size_t choose(const Node& node, Rng& rng) {
  std::vector<double> open(node.n_choices, 1);
  std::vector<bool> running(node.n_choices, false);
  for (const auto& [index, child] : node.children) {
    open[index] = static_cast<double>(child->n_open);
    running[index] = child->running;
  }
  double total = 0, n_some = 0;
  for (const double n : open) total += n, n_some += n > 0;
  if (total <= 0) return rng.below(node.n_choices);  // all is done: once more
  std::vector<double> weights(node.n_choices);
  bool others = false;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    weights[i] = 0.5 * open[i] / total + (open[i] > 0 ? 0.5 / n_some : 0);
    others = others || (weights[i] > 0 && !running[i]);
  }
  double sum = 0;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    if (others && running[i]) weights[i] = 0;
    sum += weights[i];
  }
  double left = rng.uniform() * sum;
  std::size_t last = 0;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    if (weights[i] <= 0) continue;
    last = i;
    left -= weights[i];
    if (left < 0) break;
  }
  return last;
}

}  // namespace

class BruteForceSampler::Impl {
 public:
  explicit Impl(BruteForceSamplerOptions options) : options_(options), seed_(seed_or_random(options.seed)) {}

  double sample(StudyView& study, const FrozenTrial& trial, const std::string& name, const Distribution& distribution) {
    const std::lock_guard lock(mutex_);
    Tree& tree = tree_of(study);
    Tree::Taken taken;
    take_running(study, trial, tree, taken);
    Rng rng(seed_, "tune.brute_force:" + name, static_cast<std::uint64_t>(trial.number));
    const std::size_t n = n_points(name, distribution);
    const auto path = tree.path_of(trial);
    if (path.empty()) return internal_of(distribution, rng.below(n));  // a given value off the grid
    tree.expand(path, name, distribution);
    return internal_of(distribution, choose(*path.back(), rng));
  }

  bool done_after(StudyView& study, const FrozenTrial& trial) {
    const std::lock_guard lock(mutex_);
    Tree& tree = tree_of(study);
    Tree::Taken taken;
    take_running(study, trial, tree, taken);
    if (trial.distributions.empty()) return true;
    taken.take(tree.path_of(trial));
    return tree.root().n_open <= 0;
  }

 private:
  Tree& tree_of(StudyView& study) {
    Tree& tree = trees_.of(study.trials());
    tree.update(study.trials());
    return tree;
  }

  void take_running(StudyView& study, const FrozenTrial& trial, Tree& tree, Tree::Taken& taken) const {
    if (options_.avoid_premature_stop) return;
    for (const auto& other : study.trials().unfinished()) {
      if (other->state != TrialState::running || other->number == trial.number || other->params.empty()) continue;
      taken.take(tree.path_of(*other));
    }
  }

  const BruteForceSamplerOptions options_;
  const std::uint64_t seed_;
  std::mutex mutex_;
  PerStudy<Tree> trees_;
};

BruteForceSampler::BruteForceSampler(BruteForceSamplerOptions options) : impl_(std::make_unique<Impl>(options)) {}
BruteForceSampler::~BruteForceSampler() = default;
BruteForceSampler::BruteForceSampler(BruteForceSampler&&) noexcept = default;
BruteForceSampler& BruteForceSampler::operator=(BruteForceSampler&&) noexcept = default;

Value BruteForceSampler::sample_independent(StudyView& study, const FrozenTrial& trial, const std::string& name,
                                            const Distribution& distribution) {
  return distribution.to_external(impl_->sample(study, trial, name, distribution));
}

void BruteForceSampler::after_trial(StudyView& study, const FrozenTrial& trial, TrialState,
                                    const std::vector<double>&) {
  if (impl_->done_after(study, trial)) study.stop();
}

}  // namespace levin::tune
