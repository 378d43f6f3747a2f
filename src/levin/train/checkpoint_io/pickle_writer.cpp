#include <levin/train/checkpoint_io/pickle.h>

#include <levin/core/error.h>

#include <ATen/ATen.h>

#include <bit>
#include <limits>

namespace levin {
namespace {

constexpr int kMaxDepth = 250;

// The length of the UTF-8 sequence at text[i], 0 when it is none. Surrogates and overlong forms are none.
size_t utf8_length(std::string_view text, size_t i) {
  const auto byte = [&](size_t k) { return i + k < text.size() ? static_cast<unsigned char>(text[i + k]) : 0u; };
  const auto tail = [&](size_t k) { return (byte(k) & 0xC0u) == 0x80u; };
  const auto lead = byte(0);
  if (lead < 0x80) return 1;
  if (lead >= 0xC2 && lead < 0xE0) return tail(1) ? 2 : 0;
  if (lead >= 0xE0 && lead < 0xF0) {
    if (!tail(1) || !tail(2)) return 0;
    if ((lead == 0xE0 && byte(1) < 0xA0) || (lead == 0xED && byte(1) >= 0xA0)) return 0;
    return 3;
  }
  if (lead >= 0xF0 && lead < 0xF5) {
    if (!tail(1) || !tail(2) || !tail(3)) return 0;
    if ((lead == 0xF0 && byte(1) < 0x90) || (lead == 0xF4 && byte(1) >= 0x90)) return 0;
    return 4;
  }
  return 0;
}

class Writer {
 public:
  explicit Writer(const StorageWriter& store) : store_(store) {}

  std::string run(const PickleValue& value) {
    put("\x80\x02");
    write(value, 0);
    put(".");
    return std::move(out_);
  }

 private:
  void put(std::string_view text) { out_ += text; }
  template <class T>
  void put_little(T value, size_t bytes) {
    auto bits = static_cast<uint64_t>(value);
    for (size_t i = 0; i < bytes; ++i, bits >>= 8) out_ += static_cast<char>(bits & 0xFF);
  }
  void global(std::string_view module, std::string_view name) {
    put("c");
    put(module);
    put("\n");
    put(name);
    put("\n");
  }

  void boolean(bool value) { put(value ? "\x88" : "\x89"); }

  void integer(int64_t value) {
    if (value >= 0 && value < 0x100) {
      put("K");
      put_little(value, 1);
    } else if (value >= 0 && value < 0x10000) {
      put("M");
      put_little(value, 2);
    } else if (value >= std::numeric_limits<int32_t>::min() && value <= std::numeric_limits<int32_t>::max()) {
      put("J");
      put_little(value, 4);
    } else {
      put("\x8a\x08");
      put_little(value, 8);
    }
  }

  void floating(double value) {
    put("G");
    const auto bits = std::bit_cast<uint64_t>(value);
    for (int shift = 56; shift >= 0; shift -= 8) out_ += static_cast<char>((bits >> shift) & 0xFF);
  }

  void string(std::string_view text) {
    for (size_t i = 0; i < text.size();) {
      const auto length = utf8_length(text, i);
      if (length == 0) {
        throw Error({.what = "a string is not UTF-8 and cannot be written as a Python str",
                     .value = "byte " + std::to_string(i) + " of " + std::to_string(text.size()),
                     .where = {},
                     .hint = "write it as bytes"});
      }
      i += length;
    }
    unicode(text);
  }
  void unicode(std::string_view utf8) {
    if (utf8.size() > std::numeric_limits<uint32_t>::max()) throw Error("a string of over 4 GiB cannot be written");
    put("X");
    put_little(utf8.size(), 4);
    put(utf8);
  }

  // Protocol 2 has no opcode for bytes: each becomes the character of its number.
  void bytes(std::string_view data) {
    std::string latin1;
    for (const char c : data) {
      const auto byte = static_cast<unsigned char>(c);
      if (byte < 0x80) {
        latin1 += c;
      } else {
        latin1 += static_cast<char>(0xC0 | (byte >> 6));
        latin1 += static_cast<char>(0x80 | (byte & 0x3F));
      }
    }
    global("_codecs", "encode");
    unicode(latin1);
    unicode("latin1");
    put("\x86R");
  }

  void integers(at::IntArrayRef values) {
    put("(");
    for (const auto value : values) integer(value);
    put("t");
  }

  void tensor(const at::Tensor& value) {
    if (!value.defined()) throw Error("an undefined tensor cannot be written");
    const auto stored = store_(value);
    const auto cls = storage_class(value.scalar_type());
    const bool typed = !cls.empty();
    global("torch._utils", typed ? "_rebuild_tensor_v2" : "_rebuild_tensor_v3");
    put("((");
    unicode("storage");
    if (typed) {
      global("torch", cls);
    } else {
      global("torch.storage", "UntypedStorage");
    }
    unicode(stored.key);
    unicode("cpu");
    integer(typed ? stored.storage_numel : stored.storage_numel * static_cast<int64_t>(value.element_size()));
    put("tQ");
    integer(stored.offset);
    integers(value.sizes());
    integers(stored.strides);
    boolean(value.requires_grad());
    global("collections", "OrderedDict");
    put(")R");
    if (!typed) global("torch", name_of_dtype(value.scalar_type()));
    put("tR");
  }

  void write(const PickleValue& value, int depth) {
    using Type = PickleValue::Type;
    if (depth > kMaxDepth) {
      throw Error("a value nested more than " + std::to_string(kMaxDepth) + " levels deep cannot be written");
    }
    switch (value.type()) {
      case Type::none: return put("N");
      case Type::boolean: return boolean(value.as_bool());
      case Type::integer: return integer(value.as_int());
      case Type::floating: return floating(value.as_double());
      case Type::string: return string(value.as_string());
      case Type::bytes: return bytes(value.as_bytes().data);
      case Type::list:
        put("]");
        if (value.as_list().empty()) return;
        put("(");
        for (const auto& item : value.as_list()) write(item, depth + 1);
        return put("e");
      case Type::tuple:
        if (value.as_list().empty()) return put(")");
        put("(");
        for (const auto& item : value.as_list()) write(item, depth + 1);
        return put("t");
      case Type::dict:
        if (value.as_dict().ordered) {
          global("collections", "OrderedDict");
          put(")R");
        } else {
          put("}");
        }
        if (value.as_dict().empty()) return;
        put("(");
        for (const auto& [key, item] : value.as_dict()) {
          write(key, depth + 1);
          write(item, depth + 1);
        }
        return put("u");
      case Type::tensor: return tensor(value.as_tensor());
      case Type::dtype: {
        const auto name = name_of_dtype(value.as_dtype());
        if (name.empty()) {
          throw Error(
              {.what = "a dtype cannot be written", .value = c10::toString(value.as_dtype()), .where = {}, .hint = {}});
        }
        return global("torch", name);
      }
      case Type::device:
        global("torch", "device");
        put("(");
        unicode(c10::DeviceTypeName(value.as_device().type(), true));
        if (value.as_device().has_index()) integer(value.as_device().index());
        return put("tR");
      case Type::size:
        global("torch", "Size");
        integers(value.as_size().sizes);
        return put("\x85R");
    }
  }

  const StorageWriter& store_;
  std::string out_;
};

}  // namespace

std::string write_pickle(const PickleValue& value, const StorageWriter& store) { return Writer(store).run(value); }

}  // namespace levin
