// CodeCache: code that steps of one structure share. The trials of a search differ in their weights, learning rates and
// seeds and hardly ever in their programs: passes, lowering and the comparison with eager are done for the first. So is
// the refusal of a structure whose program differs from eager. A number that turns out to differ between steps of one
// structure, as a dropout rate does in a search, is read from memory from then on.
#pragma once

#include <levin/compile/numbers.h>
#include <levin/compile/options.h>
#include <levin/compile/passes/passes.h>
#include <levin/compile/program.h>
#include <levin/core/export.h>

#include <cstddef>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace levin::compile {

/** Code with what another step needs to run it on memory of its own. */
struct SharedCode {
  /** Where the memory of an external lies in another step. */
  struct Source {
    enum class Kind {
      buffer,    ///< that of a buffer of the lifted graph: a parameter, a module's buffer, a number
      gradient,  ///< that of a gradient's target
      constant,  ///< the same for all: computed from the structure alone
    };
    Kind kind = Kind::constant;
    std::size_t index = 0;
    at::Tensor constant;
  };

  std::shared_ptr<const Code> code;
  std::vector<Source> externals;
  std::vector<std::string> notes, boxed;  ///< for explain()
  std::string refusal = {};               ///< there is no code: why steps of this structure run eagerly

  /** The memory for `code` in the step of `graph`, which has the structure that the code was made of. */
  std::vector<at::Tensor> bind(const Graph& graph, const GradientTargets& targets) const;
};

/** Which memory of a step is what; made of its lifted graph before passes change that. */
class Sources {
 public:
  Sources(const Graph& lifted, const GradientTargets& targets);
  SharedCode::Source of(const at::Tensor& external) const;

 private:
  std::unordered_map<const void*, SharedCode::Source> known_;  // by storage
};

/**
 * Everything that passes and lowering look at, written down: operators, constants, shapes, strides, types, who shares
 * memory with whom, gradients and where they go, and what else the kernels chosen depend on. Steps whose structures and
 * numbers are equal have the same code.
 */
struct Structure {
  std::string text;
  std::vector<Number> numbers;  ///< which the text leaves out
};

/** None for a step with a constant that cannot be compared. */
std::optional<Structure> structure_of(const Graph& lifted, const GradientTargets& targets, const CompileOptions& options);

/** A map that forgets what was not looked for the longest. */
template <class T>
class Recent {
 public:
  explicit Recent(std::size_t most) : most_(most) {}
  T* find(const std::string& key) {
    const auto found = by_key_.find(key);
    if (found == by_key_.end()) return nullptr;
    entries_.splice(entries_.begin(), entries_, found->second);
    return &found->second->second;
  }
  T& insert(std::string key, T value) {
    if (T* const known = find(key)) return *known;
    entries_.emplace_front(std::move(key), std::move(value));
    by_key_.emplace(entries_.front().first, entries_.begin());
    if (entries_.size() > most_) {
      by_key_.erase(entries_.back().first);
      entries_.pop_back();
    }
    return entries_.front().second;
  }
  void clear() {
    by_key_.clear();
    entries_.clear();
  }
  std::size_t size() const { return entries_.size(); }

 private:
  std::size_t most_;
  std::list<std::pair<std::string, T>> entries_;  // the one used last is first
  std::unordered_map<std::string_view, typename std::list<std::pair<std::string, T>>::iterator> by_key_;
};

/** The codes used last, of the whole process; any thread. */
class LEVIN_API CodeCache {
 public:
  static CodeCache& instance();

  /** Where the code of a structure is, or is to be. */
  struct Place {
    std::string key;
    std::vector<bool> open;                  ///< numbers that this code reads from memory (read_from_memory)
    std::shared_ptr<const SharedCode> code;  ///< none yet: make it and insert() it
    std::shared_ptr<const SharedCode> first; ///< the code of the same structure that reads none from memory
  };
  Place find(const Structure& structure);
  void insert(const Place& place, const Structure& structure, std::shared_ptr<const SharedCode> code);
  /** From now on codes for other numbers are others: with numbers in memory the steps would not be the first code's. */
  void keep_numbers(const Structure& structure);
  void clear();

  struct Counts {
    std::size_t entries = 0, hits = 0, misses = 0;
  };
  Counts counts();

 private:
  static constexpr std::size_t kMostEntries = 128;
  // Steps that differ in numbers at most.
  struct Family {
    std::uint64_t id = 0;
    std::vector<Number> numbers;  // of the first
    std::vector<bool> open;       // where others have had another
    bool keeps_numbers = false;
    std::shared_ptr<const SharedCode> first;
  };
  Family& family_of(const Structure& structure);

  std::mutex mutex_;
  Recent<Family> families_{kMostEntries};
  Recent<std::shared_ptr<const SharedCode>> codes_{kMostEntries};
  std::uint64_t families_met_ = 0;
  std::size_t hits_ = 0, misses_ = 0;
};

}  // namespace levin::compile
