#include <levin/data/text.h>

#include <levin/core/error.h>
#include <levin/core/file.h>
#include <levin/core/text.h>

#include <ATen/EmptyTensor.h>
#include <ATen/core/Tensor.h>

#include <algorithm>
#include <memory>
#include <set>

namespace levin {
namespace {

// The length of the UTF-8 character that begins with `lead`.
std::size_t character_length(char lead) {
  const auto byte = static_cast<unsigned char>(lead);
  return byte < 0x80 ? 1 : byte < 0xe0 ? 2 : byte < 0xf0 ? 3 : 4;
}

template <class Visit>
void for_each_token(std::string_view text, TextUnit unit, const Visit& visit) {
  if (unit == TextUnit::characters && !is_utf8(text)) {
    throw Error({.what = "the characters of this text cannot be told: it is not UTF-8",
                 .value = {},
                 .where = {},
                 .hint = "convert it, or use TextUnit::bytes"});
  }
  for (std::size_t at = 0; at < text.size();) {
    const auto length = unit == TextUnit::bytes ? 1 : character_length(text[at]);
    visit(text.substr(at, length));
    at += length;
  }
}

class TextWindowsImpl : public DatasetImpl {
 public:
  TextWindowsImpl(const at::Tensor& tokens, const TextWindowsOptions& options) : options_(options) {
    if (options.length < 1 || options.stride < 1) {
      throw Error({.what = "windows of a text need a length and a stride of at least 1",
                   .value = std::to_string(options.length) + ", " + std::to_string(options.stride),
                   .where = "TextWindows",
                   .hint = {}});
    }
    if (!tokens.defined() || tokens.dim() != 1 || tokens.scalar_type() != at::kLong || !tokens.device().is_cpu()) {
      throw Error({.what = "windows of a text need its tokens as one row of int64 on the CPU",
                   .value = {},
                   .where = "TextWindows",
                   .hint = "Vocabulary::encode makes them"});
    }
    if (tokens.size(0) < options.length + 1) {
      throw Error({.what = "a text is shorter than one window and its next token",
                   .value = std::to_string(tokens.size(0)) + " tokens",
                   .where = "TextWindows .length",
                   .hint = "at most " + std::to_string(std::max<std::int64_t>(0, tokens.size(0) - 1))});
    }
    tokens_ = tokens.contiguous();
  }

  std::int64_t size() const override { return (tokens_.size(0) - options_.length - 1) / options_.stride + 1; }
  std::string name() const override { return "TextWindows"; }

  Batch get(std::int64_t index) const override {
    const auto begin = index * options_.stride;
    return Batch{{"x", tokens_.narrow(0, begin, options_.length)},
                 {"y", tokens_.narrow(0, begin + 1, options_.length)}};
  }

  Batch get_batch(std::span<const std::int64_t> indices) const override {
    const auto count = static_cast<std::int64_t>(indices.size());
    const auto make = [&](std::int64_t shift) {
      auto rows = at::Tensor(at::detail::empty_cpu({count, options_.length}, at::kLong, false, std::nullopt));
      auto* to = rows.mutable_data_ptr<std::int64_t>();
      for (const auto index : indices) {
        const auto* from = tokens_.const_data_ptr<std::int64_t>() + index * options_.stride + shift;
        to = std::copy(from, from + options_.length, to);
      }
      return rows;
    };
    return Batch{{"x", make(0)}, {"y", make(1)}};
  }

 private:
  at::Tensor tokens_;
  TextWindowsOptions options_;
};

}  // namespace

Vocabulary::Vocabulary(std::string_view text, TextUnit unit) : unit_(unit) {
  if (unit == TextUnit::bytes) {
    for (int byte = 0; byte < 256; ++byte) tokens_.emplace_back(1, static_cast<char>(byte));
  } else {
    std::set<std::string_view> distinct;  // UTF-8 sorts as its code points do
    for_each_token(text, unit, [&](std::string_view token) { distinct.insert(token); });
    tokens_.assign(distinct.begin(), distinct.end());
  }
  number();
}

Vocabulary::Vocabulary(const Map& state) : unit_(TextUnit::bytes) {
  if (state.get<std::string>("unit") == "characters") {
    *this = Vocabulary(state.get<std::string>("tokens"), TextUnit::characters);
  } else {
    *this = Vocabulary("", TextUnit::bytes);
  }
}

void Vocabulary::number() {
  for (std::size_t i = 0; i < tokens_.size(); ++i) numbers_.emplace(tokens_[i], static_cast<std::int64_t>(i));
}

Map Vocabulary::state() const {
  if (unit_ == TextUnit::bytes) return {{"unit", "bytes"}};
  std::string all;
  for (const auto& token : tokens_) all += token;
  return {{"unit", "characters"}, {"tokens", all}};
}

at::Tensor Vocabulary::encode(std::string_view text) const {
  std::vector<std::int64_t> numbers;
  numbers.reserve(text.size());
  for_each_token(text, unit_, [&](std::string_view token) {
    if (unit_ == TextUnit::bytes) return numbers.push_back(static_cast<unsigned char>(token[0]));
    const auto found = numbers_.find(token);
    if (found == numbers_.end()) {
      throw Error({.what = "a character is not in the vocabulary",
                   .value = "\"" + std::string(token) + "\", token " + std::to_string(numbers.size()),
                   .where = {},
                   .hint = "make the vocabulary of all the text, or use TextUnit::bytes"});
    }
    numbers.push_back(found->second);
  });
  auto tensor =
      at::Tensor(at::detail::empty_cpu({static_cast<std::int64_t>(numbers.size())}, at::kLong, false, std::nullopt));
  std::copy(numbers.begin(), numbers.end(), tensor.mutable_data_ptr<std::int64_t>());
  return tensor;
}

std::string Vocabulary::decode(const at::Tensor& tokens) const {
  const auto plain = tokens.to(at::kCPU).to(at::kLong).contiguous();
  std::string text;
  for (std::int64_t i = 0; i < plain.numel(); ++i) {
    const auto token = plain.const_data_ptr<std::int64_t>()[i];
    if (token < 0 || token >= size()) {
      throw Error({.what = "a vocabulary of " + std::to_string(size()) + " tokens has none of this number",
                   .value = std::to_string(token),
                   .where = {},
                   .hint = {}});
    }
    text += tokens_[static_cast<std::size_t>(token)];
  }
  return text;
}

TextWindows::TextWindows(const at::Tensor& tokens, const TextWindowsOptions& options)
    : Dataset(std::make_shared<TextWindowsImpl>(tokens, options)) {}

std::vector<std::string> read_lines(const std::filesystem::path& path) {
  const auto text = read_file(path);
  std::vector<std::string> lines;
  for (std::size_t at = 0; at < text.size();) {
    auto end = text.find('\n', at);
    if (end == std::string::npos) end = text.size();
    auto line = text.substr(at, end - at);
    if (line.ends_with('\r')) line.pop_back();
    lines.push_back(std::move(line));
    at = end + 1;
  }
  return lines;
}

}  // namespace levin
