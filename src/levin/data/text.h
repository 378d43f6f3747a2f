// Text as numbers: a vocabulary of characters or bytes, and windows of a long text.
#pragma once

#include <levin/core/export.h>
#include <levin/core/value.h>
#include <levin/data/dataset.h>

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace levin {

/** What one token of a text is. */
enum class TextUnit { characters, bytes };

/**
 * Which tokens there are and which number each has: the distinct characters (UTF-8 code points) of a text in sorted
 * order, or all 256 bytes.
 */
class LEVIN_API Vocabulary {
 public:
  /** Throws Error for characters of a text that is not UTF-8. */
  explicit Vocabulary(std::string_view text, TextUnit unit = TextUnit::characters);
  /** From `state()`. */
  explicit Vocabulary(const Map& state);

  std::int64_t size() const noexcept { return static_cast<std::int64_t>(tokens_.size()); }
  TextUnit unit() const noexcept { return unit_; }
  /** int64 [tokens]; throws Error for a character that is not in the vocabulary. */
  at::Tensor encode(std::string_view text) const;
  /** The text of a tensor of numbers, read row by row; throws Error for one that is no token's. */
  std::string decode(const at::Tensor& tokens) const;

  Map state() const;

 private:
  void number();

  TextUnit unit_;
  std::vector<std::string> tokens_;  // by number
  std::map<std::string, std::int64_t, std::less<>> numbers_;
};

struct TextWindowsOptions {
  std::int64_t length = 128;  ///< tokens of an input
  std::int64_t stride = 1;    ///< from the beginning of one window to the next
};

/**
 * Every window of a long text, for predicting the next token: samples are {"x": int64 [length], "y": int64 [length]},
 * y being x one token further. Both are views of `tokens` (1-d int64). Throws Error when not one window fits.
 */
class LEVIN_API TextWindows : public Dataset {
 public:
  explicit TextWindows(const at::Tensor& tokens, const TextWindowsOptions& options = {});
};

/** The lines of a file, without their ends (\n or \r\n); the last one needs none. */
LEVIN_API std::vector<std::string> read_lines(const std::filesystem::path& path);

}  // namespace levin
