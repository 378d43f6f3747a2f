#include <levin/train/checkpoint_io/pickle.h>

#include <levin/core/error.h>

#include <ATen/ATen.h>

#include <bit>
#include <cstring>
#include <deque>
#include <optional>
#include <unordered_map>

namespace levin {
namespace {

constexpr int kMaxDepth = 250;
constexpr size_t kMaxDims = 64;  // of a tensor, as PyTorch's
constexpr size_t kUnit = 16;     // bytes of text that count as one value

[[noreturn]] void damaged(const std::string& what, size_t position) {
  throw Error({.what = "the pickle is damaged: " + what,
               .value = {},
               .where = "byte " + std::to_string(position) + " of data.pkl",
               .hint = {}});
}

// Functions and classes that are known by name; nothing else is ever looked up.
enum class Global : uint8_t {
  ordered_dict,
  dict,
  counter,
  size,
  device,
  dtype,
  storage,
  rebuild_tensor,
  rebuild_tensor_v2,
  rebuild_tensor_v3,
  rebuild_parameter,
  rebuild_parameter_with_state,
  encode,
  bytes,
  bytearray,
};

// A value under construction. Containers are filled after others may have taken hold of them, so they are referred to
// by address until the whole is known; the reader owns them all.
struct Node {
  enum class Kind : uint8_t { value, list, tuple, dict, global, storage };
  Kind kind = Kind::value;
  bool ordered = false;                              // dict
  Global global{};                                   // global
  at::ScalarType dtype = at::ScalarType::Undefined;  // of a storage or its class; Undefined: untyped
  PickleValue value;                                 // value
  std::vector<Node*> items;                          // list and tuple; of a dict key, value, key, value...
  c10::Storage storage;                              // storage
};

class Reader {
 public:
  Reader(std::string_view bytes, const StorageLoader& load) : bytes_(bytes), load_(load) {}

  PickleValue run() {
    Node* top = nullptr;
    while (!top) top = step();
    budget_ = limit();
    return finish(*top, 0);
  }

 private:
  // --- bytes

  std::string_view take(size_t count) {
    if (count > bytes_.size() - position_) damaged("it ends too early", bytes_.size());
    const auto out = bytes_.substr(position_, count);
    position_ += count;
    return out;
  }
  uint64_t little(size_t count) {
    uint64_t out = 0;
    const auto raw = take(count);
    for (size_t i = count; i-- > 0;) out = out << 8 | static_cast<unsigned char>(raw[i]);
    return out;
  }
  std::string_view line() {
    const auto end = bytes_.find('\n', position_);
    if (end == std::string_view::npos) damaged("a line does not end", position_);
    const auto out = bytes_.substr(position_, end - position_);
    position_ = end + 1;
    return out;
  }

  // --- stack

  Node& make(Node::Kind kind) {
    nodes_.emplace_back();
    nodes_.back().kind = kind;
    return nodes_.back();
  }
  void push(Node& node) { stack_.push_back(&node); }
  void push_value(PickleValue value) {
    auto& node = make(Node::Kind::value);
    node.value = std::move(value);
    push(node);
  }
  Node& pop() {
    if (stack_.empty() || (!marks_.empty() && stack_.size() == marks_.back())) damaged("a value is missing", position_);
    auto* node = stack_.back();
    stack_.pop_back();
    return *node;
  }
  Node& top() {
    auto& node = pop();
    push(node);
    return node;
  }
  std::vector<Node*> pop_to_mark() {
    if (marks_.empty()) damaged("a mark is missing", position_);
    const auto begin = stack_.begin() + static_cast<std::ptrdiff_t>(marks_.back());
    std::vector<Node*> out(begin, stack_.end());
    stack_.erase(begin, stack_.end());
    marks_.pop_back();
    return out;
  }
  void tuple(std::vector<Node*> items) {
    auto& node = make(Node::Kind::tuple);
    node.items = std::move(items);
    push(node);
  }
  void tuple_of(size_t count) {
    std::vector<Node*> items(count);
    for (size_t i = count; i-- > 0;) items[i] = &pop();
    tuple(std::move(items));
  }
  void memoize(uint64_t index) { memo_[index] = &top(); }
  void recall(uint64_t index) {
    const auto found = memo_.find(index);
    if (found == memo_.end()) damaged("it refers to a value that is not there", position_);
    push(*found->second);
  }
  Node& container(Node::Kind kind, const char* what) {
    auto& node = top();
    if (node.kind != kind) damaged(std::string("items are added to what is no ") + what, position_);
    return node;
  }

  // --- opcodes

  // Runs one opcode; the finished value once STOP is met.
  Node* step() {
    const auto at = position_;
    const auto op = static_cast<unsigned char>(take(1)[0]);
    switch (op) {
      case 0x80: {  // PROTO
        const auto protocol = little(1);
        if (protocol != 2) {
          throw Error({.what = "the file uses another pickle protocol than 2",
                       .value = "protocol " + std::to_string(protocol),
                       .where = {},
                       .hint = "save it with torch.save's default pickle_protocol"});
        }
        return nullptr;
      }
      case '.': {
        auto& node = pop();
        if (!stack_.empty()) damaged("values are left over", at);
        return &node;
      }
      case '(': marks_.push_back(stack_.size()); return nullptr;
      case 'N': push_value({}); return nullptr;
      case 0x88: push_value(true); return nullptr;
      case 0x89: push_value(false); return nullptr;
      case 'K': push_value(little(1)); return nullptr;
      case 'M': push_value(little(2)); return nullptr;
      case 'J': push_value(static_cast<int32_t>(little(4))); return nullptr;
      case 0x8a: push_value(long_integer(take(little(1)), at)); return nullptr;
      case 'G': {
        uint64_t bits = 0;
        for (const char c : take(8)) bits = bits << 8 | static_cast<unsigned char>(c);
        push_value(std::bit_cast<double>(bits));
        return nullptr;
      }
      case 'X': push_value(take(little(4))); return nullptr;
      case 'U':  // SHORT_BINSTRING: latin-1 of Python 2, ASCII in practice
        push_value(take(little(1)));
        return nullptr;
      case ']': push(make(Node::Kind::list)); return nullptr;
      case '}': push(make(Node::Kind::dict)); return nullptr;
      case ')': tuple({}); return nullptr;
      case 't': tuple(pop_to_mark()); return nullptr;
      case 0x85:
      case 0x86:
      case 0x87: tuple_of(op - 0x84u); return nullptr;
      case 'a': {
        auto& item = pop();
        container(Node::Kind::list, "list").items.push_back(&item);
        return nullptr;
      }
      case 'e': {
        const auto items = pop_to_mark();
        auto& list = container(Node::Kind::list, "list");
        list.items.insert(list.items.end(), items.begin(), items.end());
        return nullptr;
      }
      case 's': {
        auto &value = pop(), &key = pop();
        auto& dict = container(Node::Kind::dict, "dict");
        dict.items.push_back(&key);
        dict.items.push_back(&value);
        return nullptr;
      }
      case 'u': {
        const auto items = pop_to_mark();
        if (items.size() % 2) damaged("a dict has a key without a value", at);
        auto& dict = container(Node::Kind::dict, "dict");
        dict.items.insert(dict.items.end(), items.begin(), items.end());
        return nullptr;
      }
      case 'q': memoize(little(1)); return nullptr;
      case 'r': memoize(little(4)); return nullptr;
      case 'h': recall(little(1)); return nullptr;
      case 'j': recall(little(4)); return nullptr;
      case 'c': {
        const auto module = line();
        global(module, line());
        return nullptr;
      }
      case 'R': {
        auto& arguments = pop();
        reduce(pop(), arguments, at);
        return nullptr;
      }
      case 'b': {  // BUILD: attributes; only an OrderedDict (a state_dict with _metadata) may have some, and they go
        auto& state = pop();
        if (container(Node::Kind::dict, "dict").ordered && state.kind == Node::Kind::dict) return nullptr;
        needs_code("an object with a state of its own");
      }
      case 'Q': persistent(pop(), at); return nullptr;
      default:
        throw Error({.what = "the file needs code to be executed to load, or is not of torch.save's default protocol",
                     .value = "pickle opcode " + std::to_string(op),
                     .where = "byte " + std::to_string(at) + " of data.pkl",
                     .hint = "save plain values and tensors, as torch.load(weights_only=True) accepts"});
    }
  }

  [[noreturn]] void needs_code(const std::string& what) const {
    throw Error({.what = "this file needs code to be executed to load " + what,
                 .value = {},
                 .where = {},
                 .hint = "save plain values and tensors (numbers, strings, lists, dicts), as "
                         "torch.load(weights_only=True) accepts"});
  }

  int64_t long_integer(std::string_view raw, size_t at) const {
    if (raw.size() > 8) {
      throw Error({.what = "an int does not fit 64 bits",
                   .value = std::to_string(raw.size()) + " bytes",
                   .where = "byte " + std::to_string(at) + " of data.pkl",
                   .hint = {}});
    }
    if (raw.empty()) return 0;
    uint64_t bits = (static_cast<unsigned char>(raw.back()) & 0x80u) ? ~uint64_t{0} : 0;
    for (size_t i = raw.size(); i-- > 0;) bits = bits << 8 | static_cast<unsigned char>(raw[i]);
    return static_cast<int64_t>(bits);
  }

  void global(std::string_view module, std::string_view name) {
    auto& node = make(Node::Kind::global);
    const auto full = std::string(module) + "." + std::string(name);
    static const std::unordered_map<std::string, Global> known = {
        {"collections.OrderedDict", Global::ordered_dict},
        {"collections.Counter", Global::counter},
        {"__builtin__.dict", Global::dict},
        {"builtins.dict", Global::dict},
        {"torch.Size", Global::size},
        {"torch.device", Global::device},
        {"torch.storage.UntypedStorage", Global::storage},
        {"torch.UntypedStorage", Global::storage},
        {"torch._utils._rebuild_tensor", Global::rebuild_tensor},
        {"torch._utils._rebuild_tensor_v2", Global::rebuild_tensor_v2},
        {"torch._utils._rebuild_tensor_v3", Global::rebuild_tensor_v3},
        {"torch._utils._rebuild_parameter", Global::rebuild_parameter},
        {"torch._utils._rebuild_parameter_with_state", Global::rebuild_parameter_with_state},
        {"_codecs.encode", Global::encode},
        {"__builtin__.bytes", Global::bytes},
        {"builtins.bytes", Global::bytes},
        {"__builtin__.bytearray", Global::bytearray},
        {"builtins.bytearray", Global::bytearray},
    };
    if (const auto found = known.find(full); found != known.end()) {
      node.global = found->second;
    } else if (module == "torch" && dtype_by_name(name) != at::ScalarType::Undefined) {
      node.global = Global::dtype;
      node.dtype = dtype_by_name(name);
    } else if (module == "torch" && storage_dtype(name) != at::ScalarType::Undefined) {
      node.global = Global::storage;
      node.dtype = storage_dtype(name);
    } else {
      needs_code("\"" + full.substr(0, 200) + "\"");
    }
    if (node.global == Global::dtype) {
      node.kind = Node::Kind::value;
      node.value = node.dtype;
    }
    push(node);
  }

  static at::ScalarType storage_dtype(std::string_view name) {
    for (const auto dtype : {at::kFloat, at::kDouble, at::kHalf, at::kBFloat16, at::kLong, at::kInt, at::kShort,
                             at::kChar, at::kByte, at::kBool, at::kComplexFloat, at::kComplexDouble}) {
      if (storage_class(dtype) == name) return dtype;
    }
    return at::ScalarType::Undefined;
  }

  // ('storage', class, key, location, number of elements)
  void persistent(const Node& id, size_t at) {
    const auto& items = id.items;
    const bool well_formed = id.kind == Node::Kind::tuple && items.size() >= 5 && is_string(*items[0], "storage") &&
                             items[1]->kind == Node::Kind::global && items[1]->global == Global::storage &&
                             is_string(*items[2]) && items[4]->kind == Node::Kind::value && items[4]->value.is_int() &&
                             items[4]->value.as_int() >= 0;
    if (!well_formed) damaged("a storage is not described as PyTorch does", at);
    auto& node = make(Node::Kind::storage);
    node.dtype = items[1]->dtype;
    node.storage = load_({.key = items[2]->value.as_string(),
                          .dtype = node.dtype == at::ScalarType::Undefined ? at::kByte : node.dtype,
                          .numel = items[4]->value.as_int()});
    push(node);
  }

  static bool is_string(const Node& node) { return node.kind == Node::Kind::value && node.value.is_string(); }
  static bool is_string(const Node& node, std::string_view text) {
    return is_string(node) && node.value.as_string() == text;
  }
  static bool is_tensor(const Node& node) { return node.kind == Node::Kind::value && node.value.is_tensor(); }
  static std::optional<int64_t> integer(const Node& node) {
    if (node.kind != Node::Kind::value || !node.value.is_int()) return std::nullopt;
    return node.value.as_int();
  }
  static std::optional<std::vector<int64_t>> integers(const Node& node) {
    if (node.kind == Node::Kind::value && node.value.is_size()) return node.value.as_size().sizes;
    if (node.kind != Node::Kind::tuple && node.kind != Node::Kind::list) return std::nullopt;
    std::vector<int64_t> out;
    for (const auto* item : node.items) {
      const auto value = integer(*item);
      if (!value) return std::nullopt;
      out.push_back(*value);
    }
    return out;
  }
  static std::optional<bool> boolean(const Node& node) {
    if (node.kind != Node::Kind::value || !node.value.is_bool()) return std::nullopt;
    return node.value.as_bool();
  }

  void reduce(const Node& function, const Node& arguments, size_t at) {
    if (function.kind != Node::Kind::global) damaged("a value is called that is no function", at);
    if (arguments.kind != Node::Kind::tuple) damaged("a function is called without a tuple of arguments", at);
    const auto& args = arguments.items;
    const auto need = [&](bool ok) {
      if (!ok) damaged("a function has other arguments than PyTorch writes", at);
    };
    switch (function.global) {
      case Global::ordered_dict:
      case Global::dict:
      case Global::counter: {
        auto& node = make(Node::Kind::dict);
        node.ordered = function.global == Global::ordered_dict;
        need(args.size() <= 1);
        if (args.size() == 1) {
          // A Counter is written with its dict; an OrderedDict of old with a list of pairs.
          if (args[0]->kind == Node::Kind::dict) {
            node.items = args[0]->items;
          } else {
            need(args[0]->kind == Node::Kind::list);
            for (const auto* pair : args[0]->items) {
              need((pair->kind == Node::Kind::tuple || pair->kind == Node::Kind::list) && pair->items.size() == 2);
              node.items.insert(node.items.end(), pair->items.begin(), pair->items.end());
            }
          }
          charge(node.items.size(), at);
        }
        return push(node);
      }
      case Global::size: {
        need(args.size() == 1);
        auto sizes = integers(*args[0]);
        need(sizes.has_value());
        charge(sizes->size(), at);
        return push_value(PickleSize{std::move(*sizes)});
      }
      case Global::device: {
        need((args.size() == 1 || args.size() == 2) && is_string(*args[0]));
        auto text = args[0]->value.as_string();
        if (args.size() == 2) {
          need(integer(*args[1]).has_value());
          text += ":" + std::to_string(*integer(*args[1]));
        }
        try {
          return push_value(at::Device(text));
        } catch (const c10::Error&) {
          damaged("\"" + text.substr(0, 100) + "\" is no device", at);
        }
      }
      case Global::rebuild_tensor: need(args.size() == 4); return push_tensor(args, function.global, at);
      case Global::rebuild_tensor_v2:
        need(args.size() == 6 || args.size() == 7);
        return push_tensor(args, function.global, at);
      case Global::rebuild_tensor_v3:
        need(args.size() == 7 || args.size() == 8);
        return push_tensor(args, function.global, at);
      case Global::rebuild_parameter:
      case Global::rebuild_parameter_with_state: {
        need(args.size() >= 2 && is_tensor(*args[0]) && boolean(*args[1]));
        auto tensor = args[0]->value.as_tensor().detach();
        return push_value(tensor.set_requires_grad(differentiable(tensor.scalar_type(), *boolean(*args[1]), at)));
      }
      case Global::encode: {
        need(args.size() == 2 && is_string(*args[0]) && is_string(*args[1], "latin1"));
        return push_value(PickleBytes{latin1(args[0]->value.as_string(), at)});
      }
      case Global::bytes:
      case Global::bytearray: {
        if (args.empty()) return push_value(PickleBytes{});
        need(args[0]->kind == Node::Kind::value);
        if (args[0]->value.is_bytes()) {
          charge(args[0]->value.as_bytes().data.size() / kUnit, at);
          return push_value(args[0]->value);
        }
        need(args.size() == 2 && is_string(*args[0]) && is_string(*args[1], "latin-1"));
        return push_value(PickleBytes{latin1(args[0]->value.as_string(), at)});
      }
      case Global::dtype:
      case Global::storage: damaged("a class is called that PyTorch never calls", at);
    }
  }

  std::string latin1(const std::string& utf8, size_t at) {
    charge(utf8.size() / kUnit, at);
    std::string out;
    for (size_t i = 0; i < utf8.size(); ++i) {
      const auto byte = static_cast<unsigned char>(utf8[i]);
      if (byte < 0x80) {
        out += utf8[i];
      } else {
        const auto next = i + 1 < utf8.size() ? static_cast<unsigned char>(utf8[i + 1]) : 0u;
        if ((byte != 0xC2 && byte != 0xC3) || (next & 0xC0u) != 0x80) damaged("bytes are not written as latin-1", at);
        out += static_cast<char>((byte & 0x03u) << 6 | (next & 0x3Fu));
        ++i;
      }
    }
    return out;
  }

  static bool differentiable(at::ScalarType dtype, bool wanted, size_t at) {
    if (wanted && !at::isFloatingType(dtype) && !at::isComplexType(dtype)) {
      damaged("a tensor of integers requires a gradient", at);
    }
    return wanted;
  }

  // (storage, offset, sizes, strides[, requires_grad, hooks[, dtype][, metadata]])
  void push_tensor(const std::vector<Node*>& args, Global function, size_t at) {
    const auto& storage = *args[0];
    if (storage.kind != Node::Kind::storage) damaged("a tensor has no storage", at);
    const auto offset = integer(*args[1]);
    const auto sizes = integers(*args[2]), strides = integers(*args[3]);
    if (!offset || !sizes || !strides || sizes->size() != strides->size() || sizes->size() > kMaxDims)
      damaged("a tensor has no proper shape", at);
    auto dtype = storage.dtype;
    bool requires_grad = false;
    if (function != Global::rebuild_tensor) {
      const auto wanted = boolean(*args[4]);
      if (!wanted) damaged("a tensor does not say whether it requires a gradient", at);
      requires_grad = *wanted;
    }
    if (function == Global::rebuild_tensor_v3) {
      if (args[6]->kind != Node::Kind::value || !args[6]->value.is_dtype()) damaged("a tensor has no dtype", at);
      dtype = args[6]->value.as_dtype();
    }
    if (dtype == at::ScalarType::Undefined) damaged("a tensor has no dtype", at);
    check_extent(*offset, *sizes, *strides, storage.storage.nbytes() / c10::elementSize(dtype), at);
    auto tensor = at::empty({0}, at::TensorOptions(dtype));
    tensor.set_(storage.storage, *offset, *sizes, *strides);
    push_value(tensor.set_requires_grad(differentiable(dtype, requires_grad, at)));
  }

  // Every element must lie in the storage, and their number be a number.
  static void check_extent(int64_t offset, const std::vector<int64_t>& sizes, const std::vector<int64_t>& strides,
                           size_t available, size_t at) {
    bool overflow = offset < 0;
    bool empty = false;
    int64_t numel = 1, last = offset;
    for (size_t i = 0; i < sizes.size() && !overflow; ++i) {
      int64_t reach = 0;
      overflow = sizes[i] < 0 || strides[i] < 0;
      if (sizes[i] == 0) {
        empty = true;
        continue;
      }
      overflow = overflow || __builtin_mul_overflow(numel, sizes[i], &numel) ||
                 __builtin_mul_overflow(sizes[i] - 1, strides[i], &reach) || __builtin_add_overflow(last, reach, &last);
    }
    const auto limit = static_cast<int64_t>(std::min<size_t>(available, std::numeric_limits<int64_t>::max()));
    if (overflow || numel > std::numeric_limits<int64_t>::max() / 16 || (empty ? offset > limit : last >= limit)) {
      throw Error({.what = "a tensor reaches outside of its storage",
                   .value = "storage of " + std::to_string(available) + " elements, offset " + std::to_string(offset),
                   .where = "byte " + std::to_string(at) + " of data.pkl",
                   .hint = "the file is damaged, or was made to do harm"});
    }
  }

  // Shared values are copied out; a small file must not grow without bound that way.
  size_t limit() const { return std::max<size_t>(size_t{1} << 20, 4 * bytes_.size()); }
  void charge(size_t count, size_t at) {
    copied_ += count;
    if (copied_ > limit()) damaged("it unfolds to far more than it is", at);
  }

  // --- the finished value

  PickleValue finish(const Node& node, int depth) {
    if (depth > kMaxDepth) {
      throw Error("the file nests values more than " + std::to_string(kMaxDepth) + " levels deep, or in a circle");
    }
    if (budget_ == 0) damaged("it unfolds to far more than it is", bytes_.size());
    --budget_;
    switch (node.kind) {
      case Node::Kind::value:
        if (node.value.is_string()) budget_ -= std::min(budget_, node.value.as_string().size() / kUnit);
        if (node.value.is_size()) budget_ -= std::min(budget_, node.value.as_size().sizes.size());
        if (node.value.is_bytes()) budget_ -= std::min(budget_, node.value.as_bytes().data.size() / kUnit);
        return node.value;
      case Node::Kind::list:
      case Node::Kind::tuple: {
        PickleList items;
        for (const auto* item : node.items) items.push_back(finish(*item, depth + 1));
        if (node.kind == Node::Kind::list) return items;
        return PickleTuple{std::move(items)};
      }
      case Node::Kind::dict: return finish_dict(node, depth);
      case Node::Kind::global: needs_code("a class or function held as a value");
      case Node::Kind::storage:
        throw Error(
            {.what = "the file holds a bare storage", .value = {}, .where = {}, .hint = "save tensors instead"});
    }
    damaged("a value is of no kind", bytes_.size());
  }

  PickleValue finish_dict(const Node& node, int depth) {
    PickleDict dict;
    dict.ordered = node.ordered;
    std::unordered_map<std::string, size_t> seen;  // the last value of a key counts, at its first place
    for (size_t i = 0; i < node.items.size(); i += 2) {
      auto key = finish(*node.items[i], depth + 1);
      auto value = finish(*node.items[i + 1], depth + 1);
      std::string name;
      if (key.is_string()) {
        name = "s" + key.as_string();
      } else if (key.is_int()) {
        name = "i" + std::to_string(key.as_int());
      } else if (key.is_float()) {
        name = "f" + std::to_string(std::bit_cast<uint64_t>(key.as_double()));
      } else if (key.is_bool() || key.is_none()) {
        name = key.is_none() ? "n" : key.as_bool() ? "t" : "u";
      } else {
        throw Error({.what = "a dict has a key that is no str, int, bool, float or None",
                     .value = key.type_name(),
                     .where = {},
                     .hint = {}});
      }
      const auto [place, added] = seen.emplace(std::move(name), dict.size());
      if (added) {
        dict.append(std::move(key), std::move(value));
      } else {
        (dict.begin() + static_cast<std::ptrdiff_t>(place->second))->second = std::move(value);
      }
    }
    return dict;
  }

  std::string_view bytes_;
  const StorageLoader& load_;
  size_t position_ = 0;
  size_t budget_ = 0;
  size_t copied_ = 0;
  std::deque<Node> nodes_;
  std::vector<Node*> stack_;
  std::vector<size_t> marks_;
  std::unordered_map<uint64_t, Node*> memo_;
};

}  // namespace

PickleValue read_pickle(std::string_view bytes, const StorageLoader& load) { return Reader(bytes, load).run(); }

}  // namespace levin
