#include <levin/train/loggers/event_file.h>

#include <array>
#include <bit>
#include <cstring>
#include <vector>

namespace levin::tensorboard {
namespace {

static_assert(std::endian::native == std::endian::little, "event files are written as the numbers lie in memory");

template <class T>
void put_raw(std::string& out, T number) {
  char bytes[sizeof(T)];
  std::memcpy(bytes, &number, sizeof(T));
  out.append(bytes, sizeof(T));
}

// A protocol buffer message under construction. Field numbers are those of TensorBoard's .proto files.
class Message {
 public:
  Message& varint(int field, std::uint64_t value) {
    key(field, 0);
    put_varint(value);
    return *this;
  }
  Message& fixed64(int field, double value) {
    key(field, 1);
    put_raw(bytes_, value);
    return *this;
  }
  Message& fixed32(int field, float value) {
    key(field, 5);
    put_raw(bytes_, value);
    return *this;
  }
  Message& bytes(int field, std::string_view value) {
    key(field, 2);
    put_varint(value.size());
    bytes_ += value;
    return *this;
  }
  Message& message(int field, const Message& value) { return bytes(field, value.bytes_); }

  const std::string& str() const { return bytes_; }

 private:
  void key(int field, unsigned type) { put_varint(static_cast<std::uint64_t>(field) << 3 | type); }
  void put_varint(std::uint64_t value) {
    for (; value >= 0x80; value >>= 7) bytes_ += static_cast<char>(value | 0x80);
    bytes_ += static_cast<char>(value);
  }

  std::string bytes_;
};

// Event {wall_time = 1, step = 2, summary = 5}, Summary {value = 1}
std::string summary_event(double wall_time, std::int64_t step, const Message& value) {
  Message event;
  event.fixed64(1, wall_time);
  if (step != 0) event.varint(2, static_cast<std::uint64_t>(step));
  return event.message(5, Message().message(1, value)).str();
}

// SummaryMetadata {plugin_data = 1 {plugin_name = 1, content = 2}}
Message metadata(std::string_view plugin, std::string_view content) {
  Message data;
  data.bytes(1, plugin);
  if (!content.empty()) data.bytes(2, content);
  return Message().message(1, data);
}

}  // namespace

std::uint32_t masked_crc32c(std::string_view bytes) {
  // Castagnoli's polynomial, bit-reversed, a byte at a time.
  static const auto table = [] {
    std::array<std::uint32_t, 256> entries{};
    for (std::uint32_t i = 0; i < 256; ++i) {
      entries[i] = i;
      for (int bit = 0; bit < 8; ++bit) entries[i] = entries[i] >> 1 ^ (entries[i] & 1 ? 0x82f63b78u : 0);
    }
    return entries;
  }();
  std::uint32_t sum = 0xffffffffu;
  for (const char byte : bytes) sum = sum >> 8 ^ table[(sum ^ static_cast<unsigned char>(byte)) & 0xff];
  sum = ~sum;
  return ((sum >> 15) | (sum << 17)) + 0xa282ead8u;
}

std::string record(std::string_view payload) {
  std::string out;
  out.reserve(payload.size() + 16);
  put_raw(out, static_cast<std::uint64_t>(payload.size()));
  put_raw(out, masked_crc32c(out));
  out += payload;
  put_raw(out, masked_crc32c(payload));
  return out;
}

std::size_t valid_prefix(std::string_view file) {
  const auto number_at = [&](std::size_t at) {
    std::uint32_t number;
    std::memcpy(&number, file.data() + at, sizeof number);
    return number;
  };
  std::size_t end = 0;
  while (file.size() - end >= 16) {
    std::uint64_t length;
    std::memcpy(&length, file.data() + end, sizeof length);
    if (number_at(end + 8) != masked_crc32c(file.substr(end, 8))) break;
    if (length > file.size() - end - 16) break;
    const auto size = static_cast<std::size_t>(length);
    if (number_at(end + 12 + size) != masked_crc32c(file.substr(end + 12, size))) break;
    end += 16 + size;
  }
  return end;
}

std::string version_event(double wall_time) { return Message().fixed64(1, wall_time).bytes(3, "brain.Event:2").str(); }

std::string scalar_event(double wall_time, std::int64_t step, std::string_view tag, float value) {
  return summary_event(wall_time, step, Message().bytes(1, tag).fixed32(2, value));
}

std::string text_event(double wall_time, std::int64_t step, std::string_view tag, std::string_view text) {
  constexpr std::uint64_t kString = 7;
  const Message shape = Message().message(2, Message().varint(1, 1));  // one dimension of size 1
  const Message tensor = Message().varint(1, kString).message(2, shape).bytes(8, text);
  return summary_event(
      wall_time, step,
      Message().bytes(1, std::string(tag) + "/text_summary").message(8, tensor).message(9, metadata("text", "")));
}

HParamsEvents hparams_events(double wall_time, std::int64_t step, const Map& hparams,
                             const std::vector<std::string>& metrics) {
  enum : std::uint64_t { kTypeString = 1, kTypeBool = 2, kTypeNumber = 3 };
  constexpr std::uint64_t kSuccess = 1;
  Message experiment, session;
  for (const auto& [name, value] : hparams) {
    if (value.is_null()) continue;
    // google.protobuf.Value {number_value = 2, string_value = 3, bool_value = 4}
    Message held;
    std::uint64_t type = kTypeString;
    if (value.is_bool()) {
      held.varint(4, value.as_bool());
      type = kTypeBool;
    } else if (value.is_number()) {
      held.fixed64(2, value.as_double());
      type = kTypeNumber;
    } else {
      held.bytes(3, value.to_string());
    }
    session.message(1, Message().bytes(1, name).message(2, held));
    experiment.message(4, Message().bytes(1, name).varint(4, type));
  }
  for (const auto& metric : metrics) experiment.message(5, Message().message(1, Message().bytes(2, metric)));

  // HParamsPluginData {experiment = 2, session_start_info = 3, session_end_info = 4}, its version 0 left out
  const auto event = [&](std::string_view tag, int field, const Message& content) {
    const Message data = Message().message(field, content);
    return summary_event(wall_time, step, Message().bytes(1, tag).message(9, metadata("hparams", data.str())));
  };
  return {.experiment = event("_hparams_/experiment", 2, experiment),
          .session_start = event("_hparams_/session_start_info", 3, session),
          .session_end = event("_hparams_/session_end_info", 4, Message().varint(1, kSuccess))};
}

}  // namespace levin::tensorboard
