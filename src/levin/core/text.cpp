#include <levin/core/text.h>

#include <algorithm>
#include <array>
#include <cstdint>

namespace levin {
namespace {

constexpr std::uint32_t kInvalid = 0xFFFFFFFF;

// Decodes the character at `position` and moves past it; an ill-formed byte is one character on its own.
std::uint32_t next_character(std::string_view text, std::size_t& position) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(position++);
  if (lead < 0x80) return lead;
  std::size_t extra = 0;
  std::uint32_t code = 0, smallest = 0;
  if (lead >= 0xC2 && lead <= 0xDF) {
    extra = 1, code = lead & 0x1FU, smallest = 0x80;
  } else if (lead >= 0xE0 && lead <= 0xEF) {
    extra = 2, code = lead & 0x0FU, smallest = 0x800;
  } else if (lead >= 0xF0 && lead <= 0xF4) {
    extra = 3, code = lead & 0x07U, smallest = 0x10000;
  } else {
    return kInvalid;
  }
  if (position + extra > text.size()) return kInvalid;
  for (std::size_t i = 0; i < extra; ++i) {
    const unsigned char next = byte(position + i);
    if ((next & 0xC0U) != 0x80) return kInvalid;
    code = (code << 6) | (next & 0x3FU);
  }
  if (code < smallest || code > 0x10FFFF || (code >= 0xD800 && code <= 0xDFFF)) return kInvalid;
  position += extra;
  return code;
}

struct Range {
  std::uint32_t first, last;
};

constexpr std::array<Range, 6> kZeroWidth{
    {{0x0300, 0x036F}, {0x1AB0, 0x1AFF}, {0x1DC0, 0x1DFF}, {0x200B, 0x200F}, {0x20D0, 0x20FF}, {0xFE00, 0xFE2F}}};
constexpr std::array<Range, 8> kWide{{{0x1100, 0x115F},
                                      {0x2E80, 0xA4CF},
                                      {0xAC00, 0xD7A3},
                                      {0xF900, 0xFAFF},
                                      {0xFE30, 0xFE6F},
                                      {0xFF00, 0xFF60},
                                      {0x1F300, 0x1FAFF},
                                      {0x20000, 0x3FFFD}}};

template <std::size_t n>
bool within(std::uint32_t code, const std::array<Range, n>& ranges) {
  for (const auto& range : ranges) {
    if (code >= range.first && code <= range.last) return true;
  }
  return false;
}

std::size_t character_width(std::uint32_t code) {
  if (code < 0x300) return 1;
  if (within(code, kZeroWidth)) return 0;
  return within(code, kWide) ? 2 : 1;
}

}  // namespace

bool is_utf8(std::string_view text) {
  for (std::size_t position = 0; position < text.size();) {
    if (next_character(text, position) == kInvalid) return false;
  }
  return true;
}

std::size_t display_width(std::string_view text) {
  std::size_t width = 0;
  for (std::size_t position = 0; position < text.size();) width += character_width(next_character(text, position));
  return width;
}

std::string fit_to_width(std::string_view text, std::size_t width) {
  if (display_width(text) <= width) return std::string(text);
  const std::string_view ending = width >= 6 ? "..." : "";
  std::size_t used = 0, end = 0;
  for (std::size_t position = 0; position < text.size(); end = position) {
    used += character_width(next_character(text, position));
    if (used > width - ending.size()) break;
  }
  return std::string(text.substr(0, end)) + std::string(ending);
}

std::string pad_to_width(std::string_view text, std::size_t width, bool on_left) {
  const std::size_t used = display_width(text);
  const std::string space(used < width ? width - used : 0, ' ');
  return on_left ? space + std::string(text) : std::string(text) + space;
}

std::string wrap_text(std::string_view text, std::size_t width, std::size_t indent) {
  std::string out;
  std::size_t used = 0;
  for (std::size_t start = 0; start < text.size();) {
    if (text[start] == ' ') {
      ++start;
      continue;
    }
    const std::size_t end = std::min(text.find(' ', start), text.size());
    const auto word = text.substr(start, end - start);
    const std::size_t word_width = display_width(word);
    if (used > 0 && used + 1 + word_width > width) {
      out += '\n' + std::string(indent, ' ');
      used = 0;
    } else if (used > 0) {
      out += ' ';
      ++used;
    }
    out += word;
    used += word_width;
    start = end;
  }
  return out;
}

}  // namespace levin
