#include <levin/tune/space.h>

#include <levin/tune/trial.h>

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
constexpr std::array<Word, 10> numeric_words{{{"uniform", 2, "uniform(low, high)"},
                                              {"loguniform", 2, "loguniform(low, high)"},
                                              {"quniform", 3, "quniform(low, high, q)"},
                                              {"qloguniform", 3, "qloguniform(low, high, q)"},
                                              {"randn", 2, "randn(mean, sd)"},
                                              {"qrandn", 3, "qrandn(mean, sd, q)"},
                                              {"randint", 2, "randint(low, high), high excluded"},
                                              {"lograndint", 2, "lograndint(low, high), high excluded"},
                                              {"qrandint", 3, "qrandint(low, high, q)"},
                                              {"qlograndint", 3, "qlograndint(low, high, q)"}}};
constexpr std::array choice_words{"choice", "ordinal", "grid_search"};

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
Distribution qloguniform(double low, double high, double q) { return loguniform(low, high).rounded_to(q); }
Distribution randn(double mean, double sd) { return Distribution(NormalPrior{.mean = mean, .sd = sd}); }
Distribution qrandn(double mean, double sd, double q) { return randn(mean, sd).rounded_to(q); }

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
Distribution qlograndint(std::int64_t low, std::int64_t high, std::int64_t q) {
  return Distribution(IntDistribution{.low = low, .high = high, .log = true}).rounded_to(static_cast<double>(q));
}
Distribution choice(List choices) { return CategoricalDistribution{std::move(choices)}; }
Distribution ordinal(List choices) { return OrdinalDistribution{std::move(choices)}; }
Distribution grid_search(List values) { return Distribution(CategoricalDistribution{std::move(values)}).as_grid(); }

std::optional<Distribution> parse_distribution(std::string_view text) {
  const std::string_view whole = trim(text);
  const std::size_t open = whole.find('(');
  if (open == std::string_view::npos || whole.back() != ')') return std::nullopt;
  const std::string_view name = trim(whole.substr(0, open));
  if (!is_name(name)) return std::nullopt;
  const std::string_view inside = whole.substr(open + 1, whole.size() - open - 2);

  if (std::find(choice_words.begin(), choice_words.end(), name) != choice_words.end()) {
    List choices;
    for (auto& argument : split(inside, whole)) {
      choices.push_back(argument.quoted ? Value(std::move(argument.text)) : read_scalar(argument.text));
    }
    if (name == "ordinal") return ordinal(std::move(choices));
    return name == "choice" ? choice(std::move(choices)) : grid_search(std::move(choices));
  }
  const auto word =
      std::find_if(numeric_words.begin(), numeric_words.end(), [&](const Word& w) { return name == w.name; });
  if (word == numeric_words.end()) {
    std::vector<std::string> names(choice_words.begin(), choice_words.end());
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
  if (name == "qrandint") return qrandint(whole_number(0), whole_number(1), whole_number(2));
  if (name == "qlograndint") return qlograndint(whole_number(0), whole_number(1), whole_number(2));
  if (name == "qloguniform") return qloguniform(real(0), real(1), real(2));
  return name == "randn" ? randn(real(0), real(1)) : qrandn(real(0), real(1), real(2));
}

std::string Distribution::to_text() const {
  const auto whole = [](double number) { return std::to_string(static_cast<std::int64_t>(number)); };
  switch (kind()) {
    case Kind::floating: {
      const std::string q = quantum() == 0 ? "" : ", " + format_double(quantum());
      if (normal()) {
        const std::string moments = format_double(normal()->mean) + ", " + format_double(normal()->sd);
        return (q.empty() ? "randn(" : "qrandn(") + moments + q + ")";
      }
      const std::string ends = format_double(low()) + ", " + format_double(high());
      if (log() && !q.empty()) return "qloguniform(" + ends + q + ")";
      if (log()) return "loguniform(" + ends + ")";
      return step() == 0 ? "uniform(" + ends + ")" : "quniform(" + ends + ", " + format_double(step()) + ")";
    }
    case Kind::integer:
      if (is_ordinal()) break;
      if (quantum() != 0 && log())
        return "qlograndint(" + whole(low()) + ", " + whole(high()) + ", " + whole(quantum()) + ")";
      if (step() != 1) return "qrandint(" + whole(low()) + ", " + whole(high()) + ", " + whole(step()) + ")";
      return (log() ? "lograndint(" : "randint(") + whole(low()) + ", " + whole(high() + 1) + ")";
    case Kind::categorical: break;
  }
  std::string out = is_ordinal() ? "ordinal(" : is_grid() ? "grid_search(" : "choice(";
  for (std::size_t i = 0; i < choices().size(); ++i) {
    if (i > 0) out += ", ";
    const Value& value = choices()[i];
    // A string that would read back as something else needs its quotes.
    const bool bare = !value.is_string() || (is_name(value.as_string()) && read_scalar(value.as_string()).is_string());
    out += bare ? value.to_string() : quoted(value.as_string());
  }
  return out + ")";
}

SampleFrom sample_from(std::function<Value(const Config&)> function) {
  if (!function) throw Error("sample_from needs a function");
  return {std::move(function)};
}

Domain when(std::string parent, List values, Domain domain) {
  if (values.empty()) {
    throw Error(
        {.what = "a condition needs the values under which it holds", .value = parent, .where = {}, .hint = {}});
  }
  domain.conditions_.insert(domain.conditions_.begin(), {std::move(parent), std::move(values)});
  return domain;
}

struct SearchSpace::Extra {
  std::vector<Derived> derived;
  std::vector<std::pair<std::string, std::vector<Condition>>> conditions;
  std::vector<Relation> relations;
};

namespace {
const std::vector<Condition> no_conditions;
const std::vector<Derived> none_derived;
const std::vector<Relation> no_relations;

bool holds(const std::vector<Condition>& conditions, const Map& chosen) {
  return std::all_of(conditions.begin(), conditions.end(), [&](const Condition& condition) {
    const Value* value = chosen.find(condition.parent);
    return value != nullptr &&
           std::find(condition.values.begin(), condition.values.end(), *value) != condition.values.end();
  });
}

// The map that "group/name" stands in, and its last part.
std::pair<Map*, std::string> place(Config& config, std::string_view name) {
  Map* at = &config;
  for (std::size_t slash = name.find('/'); slash != std::string_view::npos; slash = name.find('/')) {
    Value& inner = (*at)[name.substr(0, slash)];
    if (!inner.is_map()) inner = Map();
    at = &inner.as_map();
    name.remove_prefix(slash + 1);
  }
  return {at, std::string(name)};
}
}  // namespace

SearchSpace::SearchSpace(std::initializer_list<Entry> entries) {
  for (const auto& [name, domain] : entries) add(name, domain, {});
}

SearchSpace::Extra& SearchSpace::extra() {
  auto copy = extra_ == nullptr ? std::make_shared<Extra>() : std::make_shared<Extra>(*extra_);
  extra_ = copy;
  return *copy;
}

void SearchSpace::add(const std::string& name, const Domain& domain, std::vector<Condition> conditions) {
  const auto fail = [&](const std::string& what) {
    throw Error({.what = what, .value = name, .where = "search space", .hint = {}});
  };
  const bool computed = std::any_of(derived().begin(), derived().end(), [&](const auto& d) { return d.name == name; });
  if (contains(name) || computed) fail("a search space names every parameter once");
  for (const Condition& condition : domain.conditions_) {
    const Distribution* parent = find(condition.parent);
    if (parent == nullptr) {
      std::vector<std::string> names;
      for (const auto& entry : entries_) names.push_back(entry.first);
      throw Error({.what = "a condition needs a parameter that stands before it",
                   .value = "\"" + condition.parent + "\"",
                   .where = "parameter \"" + name + "\"",
                   .hint = did_you_mean(condition.parent, names)});
    }
    for (const auto& value : condition.values) {
      if (!parent->contains(parent->to_internal(value))) {
        fail("\"" + condition.parent + "\" never is " + value.to_string() + ", under which it should be there");
      }
    }
    conditions.push_back(condition);
  }
  if (const auto* group = std::get_if<SearchSpace>(&domain.what_)) {
    // Parents inside the group move with it.
    const auto inside = [&](std::vector<Condition> own) {
      for (auto& condition : own) condition.parent = name + "/" + condition.parent;
      own.insert(own.begin(), conditions.begin(), conditions.end());
      return own;
    };
    for (const auto& [inner, distribution] : *group) {
      entries_.emplace_back(name + "/" + inner, distribution);
      if (auto all = inside(group->conditions(inner)); !all.empty()) {
        extra().conditions.emplace_back(name + "/" + inner, std::move(all));
      }
    }
    for (const auto& part : group->derived()) {
      // A computed value inside a group sees the group.
      auto function = [name, inner = part.function](const Config& config) {
        const Value* own = config.find(name);
        return inner(own != nullptr && own->is_map() ? own->as_map() : Config());
      };
      extra().derived.push_back({name + "/" + part.name, inside(part.conditions), std::move(function)});
    }
    if (!group->relations().empty()) fail("relations belong to the outermost space, where names are \"group/name\"");
    return;
  }
  if (name.empty() || name.find('/') != std::string::npos) {
    throw Error({.what = "a name in a search space is not empty and holds no '/'",
                 .value = "\"" + name + "\"",
                 .where = {},
                 .hint = "put the parameter into a space of its own to nest it"});
  }
  if (const auto* distribution = std::get_if<Distribution>(&domain.what_)) {
    entries_.emplace_back(name, *distribution);
    if (!conditions.empty()) extra().conditions.emplace_back(name, std::move(conditions));
  } else if (const auto* constant = std::get_if<Value>(&domain.what_)) {
    extra().derived.push_back({name, std::move(conditions), [value = *constant](const Config&) { return value; }});
  } else {
    extra().derived.push_back({name, std::move(conditions), std::get<SampleFrom>(domain.what_).function});
  }
}

SearchSpace& SearchSpace::relate(std::vector<Relation> relations) {
  for (const auto& relation : relations) {
    for (const auto& name : relation.names()) {
      const Distribution& distribution = at(name);
      if (relation.linear() && (distribution.is_categorical() || distribution.is_ordinal())) {
        throw Error({.what = "a linear relation is about numbers",
                     .value = distribution.to_text(),
                     .where = "parameter \"" + name + "\" in " + relation.description(),
                     .hint = "write a Relation with a function"});
      }
    }
  }
  auto& all = extra().relations;
  all.insert(all.end(), relations.begin(), relations.end());
  return *this;
}

const std::vector<Relation>& SearchSpace::relations() const {
  return extra_ == nullptr ? no_relations : extra_->relations;
}
const std::vector<Derived>& SearchSpace::derived() const { return extra_ == nullptr ? none_derived : extra_->derived; }

const std::vector<Condition>& SearchSpace::conditions(std::string_view name) const {
  if (extra_ != nullptr) {
    for (const auto& [key, conditions] : extra_->conditions) {
      if (key == name) return conditions;
    }
  }
  return no_conditions;
}

bool SearchSpace::active(std::string_view name, const Map& chosen) const { return holds(conditions(name), chosen); }

Config make_config(const SearchSpace& space, const Map& params) {
  Config config;
  for (const auto& [name, value] : params) {
    const auto [map, last] = place(config, name);
    (*map)[last] = value;
  }
  for (const auto& part : space.derived()) {
    if (!holds(part.conditions, params)) continue;
    Value value = part.function(config);
    const auto [map, last] = place(config, part.name);
    (*map)[last] = std::move(value);
  }
  return config;
}

Config suggest(Trial& trial, const SearchSpace& space) {
  Map chosen;
  for (const auto& [name, distribution] : space) {
    if (space.active(name, chosen)) chosen[name] = trial.suggest(name, distribution);
  }
  for (const auto& relation : space.relations()) {
    if (relation.holds(chosen)) continue;
    throw Error({.what = "the parameters of a trial do not keep a relation of their space",
                 .value = chosen.to_string(),
                 .where = relation.description(),
                 .hint = "give the study a SpaceSampler, which keeps them"});
  }
  return make_config(space, chosen);
}

const Distribution* SearchSpace::find(std::string_view name) const {
  // Names are often numbered (x0, x1, ...): those of one length differ at their end.
  const auto it = std::find_if(entries_.begin(), entries_.end(), [&](const auto& entry) {
    const std::string& other = entry.first;
    return other.size() == name.size() && (name.empty() || (other.back() == name.back() && other == name));
  });
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
  if (const Distribution* before = find(name)) {
    const_cast<Distribution&>(*before) = std::move(distribution);
  } else {
    entries_.emplace_back(std::string(name), std::move(distribution));
  }
}

void SearchSpace::erase(std::string_view name) {
  std::erase_if(entries_, [&](const auto& entry) { return entry.first == name; });
}

bool operator==(const SearchSpace& a, const SearchSpace& b) { return a.entries_ == b.entries_; }

}  // namespace levin::tune
