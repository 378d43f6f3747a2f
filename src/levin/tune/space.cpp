#include <levin/tune/space.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>

namespace levin::tune {
namespace {

std::string_view trim(std::string_view text) {
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.front()))) text.remove_prefix(1);
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.back()))) text.remove_suffix(1);
  return text;
}

template <class T>
std::optional<T> read_number(std::string_view text) {
  if (text.size() > 1 && text[0] == '+') text.remove_prefix(1);
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

// What an unquoted word spells: null, a bool, an int, a float, or else itself.
Value read_scalar(std::string_view word) {
  if (word == "null" || word == "None") return {};
  if (word == "true" || word == "True") return true;
  if (word == "false" || word == "False") return false;
  if (const auto integer = read_number<std::int64_t>(word)) return *integer;
  if (const auto real = read_number<double>(word)) return *real;
  return word;
}

struct Argument {
  std::string text;
  bool quoted = false;
};

// Splits "a, 'b c', 3" at its commas; quotes keep commas and spaces together.
std::vector<Argument> split(std::string_view inside, std::string_view whole) {
  std::vector<Argument> out;
  const auto fail = [&](const std::string& what) {
    throw Error({.what = what, .value = std::string(whole), .where = {}, .hint = {}});
  };
  if (trim(inside).empty()) return out;
  std::size_t at = 0;
  while (true) {
    while (at < inside.size() && std::isspace(static_cast<unsigned char>(inside[at]))) ++at;
    Argument argument;
    if (at < inside.size() && (inside[at] == '"' || inside[at] == '\'')) {
      const char quote = inside[at++];
      argument.quoted = true;
      for (; at < inside.size() && inside[at] != quote; ++at) {
        if (inside[at] == '\\' && at + 1 < inside.size()) ++at;
        argument.text += inside[at];
      }
      if (at >= inside.size()) fail("a quote is not closed");
      ++at;
      while (at < inside.size() && std::isspace(static_cast<unsigned char>(inside[at]))) ++at;
      if (at < inside.size() && inside[at] != ',') fail("text after a quoted choice");
    } else {
      const std::size_t comma = std::min(inside.find(',', at), inside.size());
      argument.text = trim(inside.substr(at, comma - at));
      at = comma;
      if (argument.text.empty()) fail("an empty argument between commas");
    }
    out.push_back(std::move(argument));
    if (at >= inside.size()) return out;
    ++at;  // the comma
  }
}

struct Word {
  const char* name;
  std::size_t arguments;
  const char* usage;
};
constexpr std::array<Word, 6> numeric_words{{{"uniform", 2, "uniform(low, high)"},
                                             {"loguniform", 2, "loguniform(low, high)"},
                                             {"quniform", 3, "quniform(low, high, q)"},
                                             {"randint", 2, "randint(low, high), high excluded"},
                                             {"lograndint", 2, "lograndint(low, high), high excluded"},
                                             {"qrandint", 3, "qrandint(low, high, q)"}}};

bool is_name(std::string_view text) {
  return !text.empty() &&
         std::all_of(text.begin(), text.end(), [](unsigned char c) { return std::isalnum(c) || c == '_'; });
}

std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + '"';
}

}  // namespace

Distribution uniform(double low, double high) { return FloatDistribution{.low = low, .high = high}; }
Distribution loguniform(double low, double high) { return FloatDistribution{.low = low, .high = high, .log = true}; }
Distribution quniform(double low, double high, double q) {
  return FloatDistribution{.low = low, .high = high, .step = q};
}

namespace {
void check_not_empty(const char* word, std::int64_t low, std::int64_t high) {
  if (low < high) return;
  throw Error({.what = std::string(word) + " excludes its upper end, so it needs low < high",
               .value = "low = " + std::to_string(low) + ", high = " + std::to_string(high),
               .where = {},
               .hint = {}});
}
}  // namespace

Distribution randint(std::int64_t low, std::int64_t high) {
  check_not_empty("randint", low, high);
  return IntDistribution{.low = low, .high = high - 1};
}
Distribution lograndint(std::int64_t low, std::int64_t high) {
  check_not_empty("lograndint", low, high);
  return IntDistribution{.low = low, .high = high - 1, .log = true};
}
Distribution qrandint(std::int64_t low, std::int64_t high, std::int64_t q) {
  return IntDistribution{.low = low, .high = high, .step = q};
}
Distribution choice(List choices) { return CategoricalDistribution{std::move(choices)}; }

std::optional<Distribution> parse_distribution(std::string_view text) {
  const std::string_view whole = trim(text);
  const std::size_t open = whole.find('(');
  if (open == std::string_view::npos || whole.back() != ')') return std::nullopt;
  const std::string_view name = trim(whole.substr(0, open));
  if (!is_name(name)) return std::nullopt;
  const std::string_view inside = whole.substr(open + 1, whole.size() - open - 2);

  if (name == "choice") {
    List choices;
    for (auto& argument : split(inside, whole)) {
      choices.push_back(argument.quoted ? Value(std::move(argument.text)) : read_scalar(argument.text));
    }
    return choice(std::move(choices));
  }
  const auto word =
      std::find_if(numeric_words.begin(), numeric_words.end(), [&](const Word& w) { return name == w.name; });
  if (word == numeric_words.end()) {
    std::vector<std::string> names{"choice"};
    for (const auto& known : numeric_words) names.emplace_back(known.name);
    if (closest(name, names).empty()) return std::nullopt;
    throw Error({.what = "unknown distribution",
                 .value = std::string(name),
                 .where = std::string(whole),
                 .hint = did_you_mean(name, names)});
  }
  const auto arguments = split(inside, whole);
  if (arguments.size() != word->arguments) {
    throw Error({.what = std::string(name) + " takes " + std::to_string(word->arguments) + " arguments",
                 .value = std::string(whole),
                 .where = {},
                 .hint = std::string("write ") + word->usage});
  }
  const auto number = [&]<class T>(std::size_t i, const char* kind) -> T {
    if (!arguments[i].quoted) {
      if (const auto value = read_number<T>(arguments[i].text)) return *value;
    }
    throw Error({.what = std::string(name) + " takes " + kind,
                 .value = arguments[i].text,
                 .where = std::string(whole),
                 .hint = std::string("write ") + word->usage});
  };
  const auto real = [&](std::size_t i) { return number.template operator()<double>(i, "numbers"); };
  const auto whole_number = [&](std::size_t i) { return number.template operator()<std::int64_t>(i, "whole numbers"); };
  if (name == "uniform") return uniform(real(0), real(1));
  if (name == "loguniform") return loguniform(real(0), real(1));
  if (name == "quniform") return quniform(real(0), real(1), real(2));
  if (name == "randint") return randint(whole_number(0), whole_number(1));
  if (name == "lograndint") return lograndint(whole_number(0), whole_number(1));
  return qrandint(whole_number(0), whole_number(1), whole_number(2));
}

std::string Distribution::to_text() const {
  const auto whole = [](double number) { return std::to_string(static_cast<std::int64_t>(number)); };
  switch (kind()) {
    case Kind::floating: {
      const std::string ends = format_double(low()) + ", " + format_double(high());
      if (log()) return "loguniform(" + ends + ")";
      return step() == 0 ? "uniform(" + ends + ")" : "quniform(" + ends + ", " + format_double(step()) + ")";
    }
    case Kind::integer:
      if (step() != 1) return "qrandint(" + whole(low()) + ", " + whole(high()) + ", " + whole(step()) + ")";
      return (log() ? "lograndint(" : "randint(") + whole(low()) + ", " + whole(high() + 1) + ")";
    case Kind::categorical: break;
  }
  std::string out = "choice(";
  for (std::size_t i = 0; i < size(); ++i) {
    if (i > 0) out += ", ";
    const Value& value = choices()[i];
    // A string that would read back as something else needs its quotes.
    const bool bare = !value.is_string() || (is_name(value.as_string()) && read_scalar(value.as_string()).is_string());
    out += bare ? value.to_string() : quoted(value.as_string());
  }
  return out + ")";
}

SearchSpace::SearchSpace(std::initializer_list<value_type> entries) {
  for (const auto& [name, distribution] : entries) {
    if (contains(name)) {
      throw Error({.what = "a search space names every parameter once", .value = name, .where = {}, .hint = {}});
    }
    entries_.emplace_back(name, distribution);
  }
}

const Distribution* SearchSpace::find(std::string_view name) const {
  const auto it =
      std::find_if(entries_.begin(), entries_.end(), [&](const auto& entry) { return entry.first == name; });
  return it == entries_.end() ? nullptr : &it->second;
}

const Distribution& SearchSpace::at(std::string_view name) const {
  if (const auto* distribution = find(name)) return *distribution;
  std::vector<std::string> names;
  for (const auto& entry : entries_) names.push_back(entry.first);
  throw Error({.what = "the search space has no parameter \"" + std::string(name) + "\"",
               .value = {},
               .where = {},
               .hint = did_you_mean(name, names)});
}

void SearchSpace::set(std::string_view name, Distribution distribution) {
  const auto it =
      std::find_if(entries_.begin(), entries_.end(), [&](const auto& entry) { return entry.first == name; });
  if (it != entries_.end()) {
    it->second = std::move(distribution);
  } else {
    entries_.emplace_back(std::string(name), std::move(distribution));
  }
}

void SearchSpace::erase(std::string_view name) {
  std::erase_if(entries_, [&](const auto& entry) { return entry.first == name; });
}

bool operator==(const SearchSpace& a, const SearchSpace& b) { return a.entries_ == b.entries_; }

}  // namespace levin::tune
