// Graph: one step as nodes over values, values as views of buffers. Passes rewrite it, lowering makes a Program of it.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/ivalue.h>

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace levin::compile {

using BufferId = int;
using ValueId = int;
inline constexpr int kNone = -1;

/** A piece of memory. */
struct Buffer {
  enum class Kind {
    input,      ///< a tensor of the batch: another address at every step
    external,   ///< a parameter, its gradient, a module's buffer: memory that outlives the step
    temporary,  ///< lives within the step
  };
  Kind kind = Kind::temporary;
  std::int64_t bytes = 0;
  int input = kNone;     ///< `input`: the position in the batch
  at::Tensor tensor;     ///< `external`: the storage's owner
  std::optional<double> uniform = {};  ///< `external`: a constant all of whose elements have this value
};

/** A view of a buffer: what an ATen call sees as a tensor. */
struct Value {
  BufferId buffer = kNone;
  std::int64_t offset = 0;  ///< in elements of `dtype`
  std::vector<std::int64_t> sizes, strides;
  at::ScalarType dtype = at::kFloat;

  bool operator==(const Value&) const = default;
  std::int64_t numel() const;
  std::int64_t dim() const { return static_cast<std::int64_t>(sizes.size()); }
  std::int64_t bytes() const;
  /** Row-major without gaps. */
  bool contiguous() const;
  /** Some order of its dimensions is row-major without gaps. */
  bool dense() const;
  /** [batch, channels, height, width] in the order batch, height, width, channels without gaps. */
  bool channels_last() const;
};

/** A constant argument as dumps write it, with all digits: `0.10000000000000001`, `[1, 2]`, `"tanh"`, `None`. */
std::string constant_text(const c10::IValue& value);

struct Argument {
  enum class Kind {
    constant,
    value,
    values,
    number,  ///< one that stands in memory, for any operator's constant number
  };
  Kind kind = Kind::constant;
  /** One for `value`, one an element for `values`, kNone for an undefined tensor; a `number` as f64 and as f32. */
  std::vector<ValueId> values;
  c10::IValue constant;         ///< `constant`; for `values` of an optional list, its pattern

  static Argument of(ValueId value) { return {.kind = Kind::value, .values = {value}, .constant = {}}; }
  static Argument of(c10::IValue constant) { return {.kind = Kind::constant, .values = {}, .constant = std::move(constant)}; }
};

/** What a node made by a pass carries beside its arguments; each kind of node has its own (see passes/). */
struct Payload {
  virtual ~Payload() = default;
  virtual std::string to_string() const = 0;
};

/** One operation: "aten::addmm", or "levin::..." where a pass made it. */
struct Node {
  std::string op;
  std::vector<Argument> arguments;
  std::vector<std::vector<ValueId>> results;  ///< a list for each return of the schema
  std::optional<c10::OperatorHandle> handle;  ///< of an ATen operator: the boxed call that is always right
  std::shared_ptr<const Payload> payload;
  std::vector<std::size_t> writes_arguments;  ///< arguments whose memory it changes
  bool overwrites = false;                    ///< what it writes it does not read
  bool random = false;                        ///< draws from the generator: is never dropped or moved past another
  at::Tensor draw;                            ///< of a random node: what it drew when it was captured
  bool dead = false;

  ValueId in(std::size_t argument) const { return arguments[argument].values.at(0); }
  ValueId out(std::size_t result = 0) const { return results.at(result).empty() ? kNone : results[result].at(0); }
  const c10::IValue& constant(std::size_t argument) const { return arguments[argument].constant; }
  bool is(std::string_view name) const { return !dead && op == name; }
  /** Every value it reads. */
  std::vector<ValueId> inputs() const;
  /** Every value it returns or writes in place. */
  std::vector<ValueId> outputs() const;
};

/** What a step hands out: the loss, a logged value, the gradient of a parameter. */
struct Output {
  enum class Kind { result, gradient };
  Kind kind = Kind::result;
  int index = 0;         ///< of the result, or of the parameter
  ValueId value = kNone; ///< kNone: the parameter has no gradient
  std::string name;
};

struct Graph {
  std::vector<Buffer> buffers;
  std::vector<Value> values;
  std::vector<Node> nodes;  ///< in the order of execution
  std::vector<Output> outputs;
  std::vector<std::string> notes;  ///< what the passes did, a line each
  std::map<std::pair<BufferId, std::int64_t>, std::string> names;  ///< of what lies at a byte of a buffer

  ValueId add_value(Value value);
  BufferId add_temporary(std::int64_t bytes);
  const Value& at(ValueId value) const { return values[static_cast<std::size_t>(value)]; }
  const Buffer& buffer_of(ValueId value) const { return buffers[static_cast<std::size_t>(at(value).buffer)]; }
  bool is_temporary(ValueId value) const { return buffer_of(value).kind == Buffer::Kind::temporary; }
  void note(std::string text) { notes.push_back(std::move(text)); }
  /** Drops dead nodes. */
  void sweep();

  /** As text, a node a line: `%7 f32[100, 16] = aten::addmm(%4, %1, %2)`. */
  std::string to_string() const;
  /**
   * Throws std::logic_error, naming `pass`, when the graph makes no sense: a value out of its buffer, a temporary read
   * before it is written, an output that nobody computes.
   */
  void verify(std::string_view pass) const;
};

/** Who writes and reads each buffer; made anew after a pass has changed nodes. */
class Uses {
 public:
  explicit Uses(const Graph& graph);
  const std::vector<int>& writers(BufferId buffer) const { return writers_[static_cast<std::size_t>(buffer)]; }
  const std::vector<int>& readers(BufferId buffer) const { return readers_[static_cast<std::size_t>(buffer)]; }
  /** Whether an output of the graph lies in the buffer. */
  bool is_output(BufferId buffer) const { return outputs_[static_cast<std::size_t>(buffer)]; }
  /** The node that alone writes this temporary, or kNone. */
  int producer(const Graph& graph, ValueId value) const;
  /** Whether `node` alone reads the temporary of `value`, which one node writes and which is no output. */
  bool only_reader(const Graph& graph, ValueId value, int node) const;

 private:
  std::vector<std::vector<int>> writers_, readers_;
  std::vector<bool> outputs_;
};

/**
 * Whether the node at `from` may run at the place of the one at `to`, earlier or later: those between them leave alone
 * what it reads, and neither read nor write what it writes. `gone`: a node between that will not be there any more.
 */
bool may_move(const Graph& graph, std::size_t from, std::size_t to, std::optional<std::size_t> gone = {});

}  // namespace levin::compile
