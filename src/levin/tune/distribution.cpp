#include <levin/tune/distribution.h>

#include <levin/core/json.h>

#include <charconv>
#include <cmath>
#include <limits>
#include <utility>

namespace levin::tune {
namespace {

__extension__ using Int128 = __int128;

// A decimal number, digits * 10^exponent: the number a float's shortest text spells.
struct Decimal {
  Int128 digits = 0;
  int exponent = 0;
};

Decimal decimal(double value) {
  char buffer[64];
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::scientific).ptr;
  Decimal out;
  bool negative = false, fraction = false;
  const char* p = buffer;
  for (; p < end && *p != 'e'; ++p) {
    if (*p == '-') {
      negative = true;
    } else if (*p == '.') {
      fraction = true;
    } else {
      out.digits = out.digits * 10 + (*p - '0');
      if (fraction) --out.exponent;
    }
  }
  int scale = 0;
  if (p < end) std::from_chars(p + (p[1] == '+' ? 2 : 1), end, scale);
  out.exponent += scale;
  if (negative) out.digits = -out.digits;
  return out;
}

// The number of whole steps in [low, high], counted in decimal so that 0.3 / 0.1 is three.
double whole_steps(double low, double high, double step) {
  Decimal parts[] = {decimal(low), decimal(high), decimal(step)};
  int exponent = std::numeric_limits<int>::max();
  for (const auto& part : parts) {
    if (part.digits != 0) exponent = std::min(exponent, part.exponent);
  }
  for (auto& part : parts) {
    if (part.digits == 0) continue;
    if (part.exponent - exponent > 18) return std::floor((high - low) / step);  // too far apart to matter in decimal
    for (; part.exponent > exponent; --part.exponent) part.digits *= 10;
  }
  return static_cast<double>((parts[1].digits - parts[0].digits) / parts[2].digits);
}

// low + count * step, rounded once from its decimal value.
double stepped_high(double low, double high, double step) {
  const double count = whole_steps(low, high, step);
  const Decimal a = decimal(low), b = decimal(step);
  const int exponent = std::min(a.digits == 0 ? b.exponent : a.exponent, b.exponent);
  if (std::abs(a.exponent - exponent) > 18 || b.exponent - exponent > 18 || count > 1e15) return low + count * step;
  Int128 from = a.digits, by = b.digits;
  if (from != 0) {
    for (int e = a.exponent; e > exponent; --e) from *= 10;
  }
  for (int e = b.exponent; e > exponent; --e) by *= 10;
  Int128 total = from + static_cast<Int128>(count) * by;
  const bool negative = total < 0;
  if (negative) total = -total;
  std::string text;
  do {
    text.insert(text.begin(), static_cast<char>('0' + static_cast<int>(total % 10)));
    total /= 10;
  } while (total != 0);
  text = (negative ? "-" : "") + text + "e" + std::to_string(exponent);
  double result = 0;
  std::from_chars(text.data(), text.data() + text.size(), result);
  return result;
}

std::string range_text(const Value& low, const Value& high) {
  return "low = " + low.to_string() + ", high = " + high.to_string();
}

// Two choices are equal as in Python, where True == 1 == 1.0, and NaN counts as equal to NaN.
bool same_choice(const Value& a, const Value& b) {
  const auto number = [](const Value& v) -> std::optional<double> {
    if (v.is_bool()) return v.as_bool() ? 1.0 : 0.0;
    if (v.is_number()) return v.as_double();
    return std::nullopt;
  };
  const auto x = number(a), y = number(b);
  if (x && y) return *x == *y || (std::isnan(*x) && std::isnan(*y));
  return a == b;
}

const char* kind_name(Distribution::Kind kind) {
  switch (kind) {
    case Distribution::Kind::floating: return "float";
    case Distribution::Kind::integer: return "int";
    case Distribution::Kind::categorical: return "categorical";
  }
  return "";
}

}  // namespace

Distribution::Distribution(Rep rep) : rep_(std::make_shared<const Rep>(std::move(rep))) {}

Distribution::Distribution(const FloatDistribution& range) {
  const auto& [low, high, log, step] = range;
  const auto seen = [&range] { return range_text(range.low, range.high); };  // costs more than the rest
  if (!std::isfinite(low) || !std::isfinite(high)) {
    throw Error({.what = "the ends of a float range must be finite", .value = seen(), .where = {}, .hint = {}});
  }
  if (low > high) {
    throw Error({.what = "a float range needs low <= high", .value = seen(), .where = {}, .hint = "swap the two ends"});
  }
  if (log && step) {
    throw Error({.what = "a float range takes log or step, not both",
                 .value = "step = " + format_double(*step),
                 .where = {},
                 .hint = "drop one of them"});
  }
  if (log && low <= 0) {
    throw Error({.what = "a logarithmic range needs low > 0", .value = seen(), .where = {}, .hint = {}});
  }
  if (step && !(*step > 0 && std::isfinite(*step))) {
    throw Error(
        {.what = "the step of a range must be positive", .value = format_double(*step), .where = {}, .hint = {}});
  }
  Rep rep{.kind = Kind::floating, .low = low, .high = high, .step = step.value_or(0), .log = log, .choices = {}};
  if (step) rep.high = stepped_high(low, high, *step);
  rep_ = std::make_shared<const Rep>(std::move(rep));
}

Distribution::Distribution(const IntDistribution& range) {
  const auto& [low, high, log, step] = range;
  const auto seen = [&range] { return range_text(range.low, range.high); };  // costs more than the rest
  constexpr std::int64_t largest = std::int64_t{1} << 53;                    // parameters are stored as doubles
  if (low < -largest || high > largest) {
    throw Error({.what = "an int range must lie within +-2^53", .value = seen(), .where = {}, .hint = {}});
  }
  if (low > high) {
    throw Error({.what = "an int range needs low <= high", .value = seen(), .where = {}, .hint = "swap the two ends"});
  }
  if (step <= 0) {
    throw Error(
        {.what = "the step of a range must be positive", .value = std::to_string(step), .where = {}, .hint = {}});
  }
  if (log && step != 1) {
    throw Error({.what = "a logarithmic int range has no step",
                 .value = "step = " + std::to_string(step),
                 .where = {},
                 .hint = "drop log or step"});
  }
  if (log && low < 1) {
    throw Error({.what = "a logarithmic int range needs low >= 1", .value = seen(), .where = {}, .hint = {}});
  }
  rep_ = std::make_shared<const Rep>(Rep{.kind = Kind::integer,
                                         .low = static_cast<double>(low),
                                         .high = static_cast<double>(low + (high - low) / step * step),
                                         .step = static_cast<double>(step),
                                         .log = log,
                                         .choices = {}});
}

namespace {
void check_choices(const List& choices) {
  if (choices.empty()) throw Error("a categorical parameter needs at least one choice");
  for (const auto& choice : choices) {
    if (choice.is_list() || choice.is_map() || choice.type() == Value::Type::opaque) {
      throw Error({.what = "a choice must be null, a bool, an int, a float or a string",
                   .value = choice.type_name() + " " + choice.to_string(),
                   .where = {},
                   .hint = "choose among names, and look the thing up by its name"});
    }
  }
}
}  // namespace

Distribution::Distribution(CategoricalDistribution set) {
  check_choices(set.choices);
  rep_ = std::make_shared<const Rep>(Rep{.kind = Kind::categorical, .choices = std::move(set.choices)});
}

Distribution::Distribution(OrdinalDistribution set) {
  check_choices(set.choices);
  for (std::size_t i = 0; i < set.choices.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j) {
      if (same_choice(set.choices[i], set.choices[j])) {
        throw Error({.what = "an ordinal parameter names every choice once",
                     .value = set.choices[i].to_string(),
                     .where = {},
                     .hint = {}});
      }
    }
  }
  const auto last = static_cast<double>(set.choices.size() - 1);
  rep_ = std::make_shared<const Rep>(
      Rep{.kind = Kind::integer, .high = last, .step = 1, .choices = std::move(set.choices)});
}

Distribution::Distribution(const NormalPrior& prior) {
  const auto& [mean, sd] = prior;
  if (!std::isfinite(mean) || !(sd > 0 && std::isfinite(sd))) {
    throw Error({.what = "a normal distribution needs a finite mean and a standard deviation above 0",
                 .value = "mean = " + format_double(mean) + ", sd = " + format_double(sd),
                 .where = {},
                 .hint = {}});
  }
  rep_ = std::make_shared<const Rep>(
      Rep{.kind = Kind::floating, .low = mean - 5 * sd, .high = mean + 5 * sd, .choices = {}, .normal = prior});
}

Distribution Distribution::rounded_to(double q) const {
  const auto fail = [&](const std::string& what) {
    throw Error({.what = what, .value = "q = " + format_double(q), .where = to_text(), .hint = {}});
  };
  if (!(q > 0 && std::isfinite(q))) fail("values are rounded to multiples of a positive number");
  if (!log() && !normal()) fail("only logarithmic and normal ranges are rounded; the others take a step");
  if (kind() == Kind::integer && q != std::floor(q)) fail("ints are rounded to multiples of a whole number");
  if (!normal()) {
    for (const double end : {low(), high()}) {
      if (std::abs(end / q - std::nearbyint(end / q)) > 1e-9 * std::max(1.0, std::abs(end / q))) {
        fail("the ends of a range must be multiples of what its values are rounded to");
      }
    }
  }
  Rep rep = *rep_;
  rep.quantum = q;
  return Distribution(std::move(rep));
}

Distribution Distribution::as_grid() const {
  if (!is_categorical()) {
    throw Error({.what = "only choices can be tried one by one", .value = to_text(), .where = {}, .hint = {}});
  }
  Rep rep = *rep_;
  rep.grid = true;
  return Distribution(std::move(rep));
}

double Distribution::rounded(double internal) const {
  if (quantum() == 0) return internal;
  // Divided by the inverse where that is whole, 0.1 * 3 is 0.3.
  const double inverse = std::nearbyint(1 / quantum());
  const double count = std::nearbyint(internal / quantum());
  const double value = quantum() < 1 && std::abs(inverse * quantum() - 1) < 1e-12 ? count / inverse : count * quantum();
  return std::min(std::max(value, low()), high());
}

double Distribution::to_internal(const Value& value) const {
  if (is_categorical() || is_ordinal()) {
    // A choice of the very same type first: with {true, 1}, an int 1 is the second.
    for (std::size_t i = 0; i < choices().size(); ++i) {
      if (choices()[i].type() == value.type() && same_choice(choices()[i], value)) return static_cast<double>(i);
    }
    for (std::size_t i = 0; i < choices().size(); ++i) {
      if (same_choice(choices()[i], value)) return static_cast<double>(i);
    }
    std::vector<std::string> names;
    for (const auto& choice : choices()) names.push_back(choice.to_string());
    throw Error({.what = "not one of the choices",
                 .value = value.to_string(),
                 .where = {},
                 .hint = did_you_mean(value.to_string(), names)});
  }
  double number = 0;
  if (value.is_bool()) {
    number = value.as_bool() ? 1 : 0;
  } else if (value.is_number()) {
    number = value.as_double();
  } else {
    throw Error({.what = std::string("a ") + kind_name(kind()) + " parameter takes a number",
                 .value = value.type_name() + " " + value.to_string(),
                 .where = {},
                 .hint = {}});
  }
  if (std::isnan(number)) {
    throw Error({.what = "a parameter cannot be NaN", .value = "nan", .where = {}, .hint = {}});
  }
  if (log() && number <= 0) {
    throw Error({.what = "a parameter of a logarithmic range must be positive",
                 .value = format_double(number),
                 .where = {},
                 .hint = {}});
  }
  return number;
}

Value Distribution::to_external(double internal) const {
  switch (kind()) {
    case Kind::floating: return internal;
    case Kind::integer:
      if (!is_ordinal()) return static_cast<std::int64_t>(internal);
      break;
    case Kind::categorical: break;
  }
  if (!(internal >= 0 && internal < static_cast<double>(size()))) {
    throw Error({.what = "there is no choice of this index",
                 .value = format_double(internal) + " of " + std::to_string(size()) + " choices",
                 .where = {},
                 .hint = {}});
  }
  return choices()[static_cast<std::size_t>(internal)];
}

bool Distribution::contains(double internal) const {
  if (is_categorical()) return internal > -1 && internal < static_cast<double>(size());
  if (!(low() <= internal && internal <= high())) return false;
  if (step() == 0) return true;
  if (kind() == Kind::integer) return std::fmod(internal - low(), step()) == 0;
  const double k = (internal - low()) / step();
  return std::abs(k - std::nearbyint(k)) < 1e-8;
}

bool Distribution::single() const { return is_categorical() ? size() == 1 : low() == high(); }

Value Distribution::single_value() const { return to_external(is_categorical() ? 0 : low()); }

std::string Distribution::to_json() const {
  Map attributes;
  std::string name;
  switch (kind()) {
    case Kind::floating:
      name = "FloatDistribution";
      attributes = {{"step", step() == 0 ? Value() : Value(step())}, {"low", low()}, {"high", high()}, {"log", log()}};
      break;
    case Kind::integer: {
      const auto whole = [](double number) { return Value(static_cast<std::int64_t>(number)); };
      name = "IntDistribution";
      attributes = {{"log", log()}, {"step", whole(step())}, {"low", whole(low())}, {"high", whole(high())}};
      break;
    }
    case Kind::categorical:
      name = "CategoricalDistribution";
      attributes = {{"choices", choices()}};
      break;
  }
  Map out{{"name", name}, {"attributes", attributes}};
  // What Optuna has no place for stands beside its attributes, where it is skipped.
  Map extra;
  if (is_ordinal()) extra["ordinal"] = choices();
  if (is_grid()) extra["grid"] = true;
  if (quantum() != 0) extra["quantum"] = quantum();
  if (normal()) extra["normal"] = List{normal()->mean, normal()->sd};
  if (!extra.empty()) out["levin"] = extra;
  return levin::to_json(out);
}

Distribution Distribution::from_json(std::string_view json) {
  const Value parsed = parse_json(json);
  const Map& top = parsed.as_map();
  const auto number = [](const Map& map, const char* key, double fallback) {
    const Value* value = map.find(key);
    return value == nullptr || value->is_null() ? fallback : value->as_double();
  };
  const auto make_float = [&](const Map& map, bool log, const char* step_key) -> Distribution {
    FloatDistribution range{.low = map.get<double>("low"), .high = map.get<double>("high"), .log = log};
    if (const double step = number(map, step_key, 0); step != 0) range.step = step;
    return range;
  };
  const auto make_int = [&](const Map& map, bool log) -> Distribution {
    return IntDistribution{.low = map.get<std::int64_t>("low"),
                           .high = map.get<std::int64_t>("high"),
                           .log = log,
                           // Old logarithmic int records carry a step that never meant anything.
                           .step = log ? 1 : static_cast<std::int64_t>(number(map, "step", 1))};
  };
  const auto is_log = [](const Map& map) { return map.get<bool>("log", false); };

  if (const Value* name_value = top.find("name")) {
    const std::string& name = name_value->as_string();
    const Map& map = top.at("attributes").as_map();
    const Value* extra = top.find("levin");
    const auto with_extra = [&](Distribution plain) {
      if (extra == nullptr || !extra->is_map()) return plain;
      const Map& more = extra->as_map();
      if (const Value* choices = more.find("ordinal")) {
        Distribution ordinal = OrdinalDistribution{choices->as_list()};
        if (ordinal.low() == plain.low() && ordinal.high() == plain.high()) return ordinal;
      }
      if (const Value* normal = more.find("normal"); normal != nullptr && normal->as_list().size() == 2) {
        plain = Distribution(NormalPrior{normal->as_list()[0].as_double(), normal->as_list()[1].as_double()});
      }
      if (const Value* quantum = more.find("quantum")) plain = plain.rounded_to(quantum->as_double());
      return more.contains("grid") ? plain.as_grid() : plain;
    };
    if (name == "FloatDistribution") return with_extra(make_float(map, is_log(map), "step"));
    if (name == "IntDistribution") return with_extra(make_int(map, is_log(map)));
    if (name == "CategoricalDistribution") {
      return with_extra(CategoricalDistribution{map.at("choices").as_list()});
    }
    if (name == "UniformDistribution") return make_float(map, false, "step");
    if (name == "LogUniformDistribution") return make_float(map, true, "step");
    if (name == "DiscreteUniformDistribution") return make_float(map, false, "q");
    if (name == "IntUniformDistribution") return make_int(map, false);
    if (name == "IntLogUniformDistribution") return make_int(map, true);
    throw Error({.what = "unknown distribution class", .value = name, .where = {}, .hint = {}});
  }
  const std::string type = top.get<std::string>("type");
  if (type == "float") return make_float(top, is_log(top), "step");
  if (type == "int") return make_int(top, is_log(top));
  if (type == "categorical") return CategoricalDistribution{top.at("choices").as_list()};
  throw Error({.what = "unknown distribution type", .value = type, .where = {}, .hint = {}});
}

bool Distribution::same_in_all(const Distribution& other) const {
  if (rep_ == other.rep_) return true;
  const auto &x = *rep_, &y = *other.rep_;
  if (x.grid != y.grid || x.quantum != y.quantum || x.normal.has_value() != y.normal.has_value()) return false;
  if (x.normal && (x.normal->mean != y.normal->mean || x.normal->sd != y.normal->sd)) return false;
  return *this == other;
}

bool operator==(const Distribution& a, const Distribution& b) {
  if (a.rep_ == b.rep_) return true;
  const auto &x = *a.rep_, &y = *b.rep_;
  if (x.kind != y.kind || x.low != y.low || x.high != y.high || x.step != y.step || x.log != y.log) return false;
  if (x.choices.size() != y.choices.size()) return false;  // an ordinal is no plain int range
  for (std::size_t i = 0; i < x.choices.size(); ++i) {
    if (!same_choice(x.choices[i], y.choices[i])) return false;
  }
  return true;
}

void check_compatible(const std::string& name, const Distribution& before, const Distribution& next) {
  std::string what;
  if (before.kind() != next.kind()) {
    what = "a parameter cannot change its kind within a study";
  } else if (before.log() != next.log()) {
    what = "a parameter cannot change between linear and logarithmic within a study";
  } else if ((before.is_categorical() || (before.is_ordinal() && next.is_ordinal())) && !(before == next)) {
    what = "the choices of a parameter cannot change within a study";
  } else {
    return;
  }
  throw Error({.what = what,
               .value = next.to_text() + ", was " + before.to_text(),
               .where = "parameter \"" + name + "\"",
               .hint = "give the parameter another name, or start a new study"});
}

}  // namespace levin::tune
