// EventFile: TensorBoard's event files (TFRecord frames around protocol buffers), as far as a logger needs them.
#pragma once

#include <levin/core/export.h>
#include <levin/core/value.h>

#include <cstdint>
#include <string>
#include <string_view>

namespace levin::tensorboard {

/** CRC-32C of `bytes`, masked as TFRecord frames have it. */
LEVIN_API std::uint32_t masked_crc32c(std::string_view bytes);

/** `payload` in a TFRecord frame: its length, both with checksums. */
LEVIN_API std::string record(std::string_view payload);

/** How many bytes of `file` are whole records with right checksums, from its beginning. */
LEVIN_API std::size_t valid_prefix(std::string_view file);

/** The events of TensorBoard, as serialized `tensorflow.Event` messages. `wall_time` is in seconds since 1970. */
LEVIN_API std::string version_event(double wall_time);
LEVIN_API std::string scalar_event(double wall_time, std::int64_t step, std::string_view tag, float value);
LEVIN_API std::string text_event(double wall_time, std::int64_t step, std::string_view tag, std::string_view text);

/** What the HParams page needs: the flat `hparams` of the run, the metrics to show beside them, and how it ended. */
struct HParamsEvents {
  std::string experiment, session_start, session_end;
};
LEVIN_API HParamsEvents hparams_events(double wall_time, std::int64_t step, const Map& hparams,
                                       const std::vector<std::string>& metrics);

}  // namespace levin::tensorboard
