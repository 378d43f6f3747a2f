// CodeCache: code that steps of one structure share. The trials of a search differ in their weights, learning rates and
// seeds and hardly ever in their programs: passes, lowering and the comparison with eager are done for the first. So is
// the refusal of a structure whose program differs from eager.
#pragma once

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
 * memory with whom, gradients and where they go, and what else the kernels chosen depend on. Steps whose structures are
 * equal have the same code. None for a step with a constant that cannot be compared.
 */
std::optional<std::string> structure_of(const Graph& lifted, const GradientTargets& targets, const CompileOptions& options);

/** The codes used last, of the whole process; any thread. */
class LEVIN_API CodeCache {
 public:
  static CodeCache& instance();

  std::shared_ptr<const SharedCode> find(const std::string& structure);
  void insert(std::string structure, std::shared_ptr<const SharedCode> code);
  void clear();

  struct Counts {
    std::size_t entries = 0, hits = 0, misses = 0;
  };
  Counts counts();

 private:
  static constexpr std::size_t kMostEntries = 128;
  using Entry = std::pair<std::string, std::shared_ptr<const SharedCode>>;

  std::mutex mutex_;
  std::list<Entry> entries_;  // the one used last is first
  std::unordered_map<std::string_view, std::list<Entry>::iterator> by_structure_;
  std::size_t hits_ = 0, misses_ = 0;
};

}  // namespace levin::compile
