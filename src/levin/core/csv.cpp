#include <levin/core/csv.h>
#include <levin/core/error.h>
#include <levin/core/file.h>
#include <levin/core/text.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstring>
#include <deque>
#include <limits>
#include <numeric>
#include <ostream>
#include <unordered_map>

namespace levin::csv {
namespace {

constexpr double kExactIntegers = 9007199254740992.0;  // 2^53

// Splits text into fields, one call a field. Views stay valid as long as the text, but for unescaped ones, which
// live until the next call.
class Tokenizer {
 public:
  enum class End { field, row, file };

  Tokenizer(std::string_view text, char delimiter, const std::string& name)
      : name_(&name), at_(text.data()), end_(at_ + text.size()), line_start_(at_) {
    delimiter_ = delimiter;
    stop_[static_cast<unsigned char>(delimiter)] = stop_[static_cast<unsigned char>('\n')] = true;
  }

  // Moves over blank lines to the first field of a row; false at the end of the file.
  bool start_row() {
    while (at_ != end_) {
      const char* p = at_;
      while (p != end_ && is_space(*p)) ++p;
      if (p == end_) {
        at_ = p;
        return false;
      }
      if (*p != '\n') return true;
      at_ = p + 1;
      new_line();
    }
    return false;
  }

  // Reads one field and says what follows it.
  End next(std::string_view& field) {
    while (at_ != end_ && is_space(*at_)) ++at_;
    field_start_ = at_;
    field_line_ = line_;
    field_line_start_ = line_start_;
    if (at_ != end_ && *at_ == '"') {
      field = quoted();
    } else {
      const char* first = at_;
      while (at_ != end_ && !stop_[static_cast<unsigned char>(*at_)]) ++at_;
      const char* last = at_;
      while (last != first && is_space(last[-1])) --last;
      field = {first, static_cast<std::size_t>(last - first)};
    }
    if (at_ == end_) return End::file;
    if (*at_++ == delimiter_) return End::field;
    new_line();
    return End::row;
  }

  // file:line:column of the field read last.
  std::string where() const { return place(field_line_, field_start_, field_line_start_); }
  std::string where_line() const { return *name_ + ":" + std::to_string(field_line_); }

 private:
  bool is_space(char c) const { return (c == ' ' || c == '\t' || c == '\r') && c != delimiter_; }

  void new_line() {
    ++line_;
    line_start_ = at_;
  }

  std::string place(std::size_t line, const char* at, const char* line_start) const {
    return *name_ + ":" + std::to_string(line) + ":" + std::to_string(at - line_start + 1);
  }

  std::string_view quoted() {
    const char* first = ++at_;
    bool escaped = false;
    unescaped_.clear();
    while (true) {
      const char* p = at_;
      while (p != end_ && *p != '"' && *p != '\n') ++p;
      if (p == end_) {
        throw Error({.what = "a quoted field is never closed",
                     .value = {},
                     .where = where(),
                     .hint = "add the closing \" or double the quotes that belong to the text"});
      }
      if (*p == '\n') {
        at_ = p + 1;
        new_line();
        continue;
      }
      if (p + 1 != end_ && p[1] == '"') {
        unescaped_.append(first, p + 1);
        first = at_ = p + 2;
        escaped = true;
        continue;
      }
      at_ = p + 1;
      std::string_view field(first, static_cast<std::size_t>(p - first));
      if (escaped) field = unescaped_.append(field);
      while (at_ != end_ && is_space(*at_)) ++at_;
      if (at_ != end_ && !stop_[static_cast<unsigned char>(*at_)]) {
        throw Error({.what = "there is text after the closing quote of a field",
                     .value = "\"" + std::string(1, *at_) + "\"",
                     .where = place(line_, at_, line_start_),
                     .hint = "double the quotes that belong to the text, as in \"5\"\" disk\""});
      }
      return field;
    }
  }

  const std::string* name_;
  const char* at_;
  const char* end_;
  std::size_t line_ = 1;
  const char* line_start_;
  const char* field_start_ = nullptr;
  std::size_t field_line_ = 1;
  const char* field_line_start_ = nullptr;
  char delimiter_;
  std::array<bool, 256> stop_{};
  std::string unescaped_;
};

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

class MissingMarkers {
 public:
  explicit MissingMarkers(const std::vector<std::string>& markers) {
    for (std::string marker : markers) {
      std::transform(marker.begin(), marker.end(), marker.begin(), lower);
      longest_ = std::max(longest_, marker.size());
      empty_ |= marker.empty();
      if (!marker.empty()) first_[static_cast<unsigned char>(marker[0])] = true;
      markers_.push_back(std::move(marker));
    }
  }

  bool match(std::string_view field) const {
    if (field.empty()) return empty_;
    if (field.size() > longest_ || !first_[static_cast<unsigned char>(lower(field[0]))]) return false;
    return std::any_of(markers_.begin(), markers_.end(), [&](const std::string& marker) {
      return marker.size() == field.size() &&
             std::equal(field.begin(), field.end(), marker.begin(), [](char a, char b) { return lower(a) == b; });
    });
  }

 private:
  std::vector<std::string> markers_;
  std::array<bool, 256> first_{};
  std::size_t longest_ = 0;
  bool empty_ = false;
};

// A decimal number, "inf" or "nan"; nothing may follow it.
bool to_number(std::string_view field, double& number) {
  if (!field.empty() && field[0] == '+') {
    field.remove_prefix(1);
    if (!field.empty() && (field[0] == '-' || field[0] == '+')) return false;
  }
  const char* last = field.data() + field.size();
  const auto [end, error] = std::from_chars(field.data(), last, number);
  if (end != last || field.empty() || field.back() == ')') return false;
  if (error == std::errc()) return true;
  if (error != std::errc::result_out_of_range) return false;
  // Too large or too small for a double: the nearest it has.
  const bool negative = field[0] == '-';
  const auto exponent = field.find_first_of("eE");
  const bool tiny = exponent != std::string_view::npos && exponent + 1 < field.size() && field[exponent + 1] == '-';
  number = tiny ? 0.0 : std::numeric_limits<double>::infinity();
  if (negative) number = -number;
  return true;
}

bool is_whole(std::string_view field, double number) {
  return std::abs(number) <= kExactIntegers && field.find_first_not_of("+-0123456789") == std::string_view::npos;
}

void check_text(std::string_view text, const std::string& name) {
  const auto starts = [&](std::string_view bytes) { return text.substr(0, bytes.size()) == bytes; };
  std::string hint;
  if (starts("\xff\xfe") || starts("\xfe\xff")) {
    hint = "it is UTF-16; save it as UTF-8";
  } else if (starts("\x1f\x8b")) {
    hint = "it is compressed by gzip; decompress it first";
  } else if (starts("PK\x03\x04")) {
    hint = "it is a zip archive or a spreadsheet; export it as CSV";
  } else if (const auto zero = text.find('\0'); zero != std::string_view::npos) {
    hint = "byte " + std::to_string(zero + 1) + " is zero; export the table as CSV in UTF-8";
  } else {
    return;
  }
  throw Error({.what = "the file is not a CSV text", .value = {}, .where = name, .hint = hint});
}

void check_utf8(std::string_view text, const std::string& what, const std::string& where) {
  if (is_utf8(text)) return;
  throw Error({.what = what + " is not UTF-8 text", .value = {}, .where = where, .hint = "save the file as UTF-8"});
}

std::vector<std::size_t> fields_of_first_rows(std::string_view text, char delimiter, const std::string& name) {
  std::vector<std::size_t> counts;
  Tokenizer tokens(text, delimiter, name);
  std::string_view field;
  try {
    while (counts.size() < 20 && tokens.start_row()) {
      std::size_t count = 1;
      while (tokens.next(field) == Tokenizer::End::field) ++count;
      counts.push_back(count);
    }
  } catch (const Error&) {
    // A delimiter that makes no sense of the quotes; the chosen one reports what is wrong.
    counts.assign(1, 0);
  }
  return counts;
}

// The candidate that splits the first rows into most fields, all alike; else the one that splits the first row most.
char detect_delimiter(std::string_view text, const std::string& name) {
  char best = ',';
  std::size_t best_score = 0;
  for (char candidate : {',', ';', '\t'}) {
    const auto counts = fields_of_first_rows(text, candidate, name);
    if (counts.empty() || counts[0] < 2) continue;
    const bool alike = std::all_of(counts.begin(), counts.end(), [&](std::size_t n) { return n == counts[0]; });
    const std::size_t score = counts[0] + (alike ? std::size_t{1} << 32 : 0);
    if (score > best_score) best = candidate, best_score = score;
  }
  return best;
}

std::vector<std::string> read_row(Tokenizer& tokens) {
  std::vector<std::string> row;
  std::string_view field;
  Tokenizer::End end{};
  do {
    end = tokens.next(field);
    row.emplace_back(field);
  } while (end == Tokenizer::End::field);
  return row;
}

void check_names(const std::vector<std::string>& names, const std::string& where) {
  std::unordered_map<std::string_view, std::size_t> seen;
  bool all_numbers = true, counting = true;
  for (std::size_t i = 0; i < names.size(); ++i) {
    const auto& name = names[i];
    check_utf8(name, "the name of column " + std::to_string(i + 1), where);
    if (name.empty()) {
      throw Error({.what = "column " + std::to_string(i + 1) + " has no name",
                   .value = {},
                   .where = where,
                   .hint = i == 0 ? "name it or drop it; pandas leaves its index out with to_csv(index=False)"
                                  : "name it, or remove the delimiter at the end of the rows"});
    }
    double number = 0;
    all_numbers &= to_number(name, number);
    counting &= name == std::to_string(i);
  }
  // Plain 0, 1, 2... is how numbered columns are written; other numbers are a first row of data.
  if (all_numbers && !counting) {
    throw Error({.what = "the first row should hold the column names but holds numbers",
                 .value = "\"" + names[0] + "\"",
                 .where = where,
                 .hint = "add a row of names on top of the file"});
  }
  for (std::size_t i = 0; i < names.size(); ++i) {
    const auto [first, inserted] = seen.emplace(names[i], i);
    if (inserted) continue;
    throw Error({.what = "columns " + std::to_string(first->second + 1) + " and " + std::to_string(i + 1) +
                         " have the same name",
                 .value = "\"" + names[i] + "\"",
                 .where = where,
                 .hint = "give every column its own name"});
  }
}

// Gives codes to texts in order of appearance; sorted() then renumbers them.
class Interner {
 public:
  std::int32_t code(std::string_view text) {
    const auto found = codes_.find(text);
    if (found != codes_.end()) return found->second;
    const auto code = static_cast<std::int32_t>(texts_.size());
    codes_.emplace(texts_.emplace_back(text), code);
    return code;
  }

  void finish(Column& column) {
    std::vector<std::int32_t> order(texts_.size()), rank(texts_.size());
    std::iota(order.begin(), order.end(), 0);
    const auto text = [&](std::int32_t i) -> std::string& { return texts_[static_cast<std::size_t>(i)]; };
    std::sort(order.begin(), order.end(), [&](std::int32_t a, std::int32_t b) { return text(a) < text(b); });
    codes_.clear();
    for (std::size_t i = 0; i < order.size(); ++i) {
      rank[static_cast<std::size_t>(order[i])] = static_cast<std::int32_t>(i);
      column.categories.push_back(std::move(text(order[i])));
    }
    for (auto& code : column.codes) {
      if (code >= 0) code = rank[static_cast<std::size_t>(code)];
    }
  }

 private:
  std::deque<std::string> texts_;  // stable addresses for the views in codes_
  std::unordered_map<std::string_view, std::int32_t> codes_;
};

class Reader {
 public:
  Reader(std::string_view text, const CsvOptions& options, const std::string& name)
      : options_(options), name_(name), missing_(options.missing), text_(text) {
    check_text(text_, name_);
    if (text_.substr(0, 3) == "\xef\xbb\xbf") text_.remove_prefix(3);
    delimiter_ = options.delimiter != '\0' ? options.delimiter : detect_delimiter(text_, name_);
    if (delimiter_ == '"' || delimiter_ == '\n' || delimiter_ == '\r') {
      throw Error("a quote or the end of a line cannot be the delimiter of a CSV file");
    }
  }

  Table read() {
    table_.path = name_;
    Tokenizer tokens(text_, delimiter_, name_);
    read_header(tokens);
    read_numbers(tokens);
    read_categories();
    return std::move(table_);
  }

 private:
  void read_header(Tokenizer& tokens) {
    if (!tokens.start_row()) {
      throw Error({.what = "the file is empty",
                   .value = {},
                   .where = name_,
                   .hint = "a table has a row of column names and rows of values"});
    }
    Tokenizer first = tokens;
    auto names = read_row(first);
    if (options_.header) {
      tokens = first;
      check_names(names, tokens.where_line());
    } else {
      for (std::size_t i = 0; i < names.size(); ++i) names[i] = "column_" + std::to_string(i);
    }
    for (auto& name : names) table_.columns.emplace_back().name = std::move(name);
    for (const auto& name : options_.categorical) {
      table_.column(name);  // a wrong name is an error
      for (auto& column : table_.columns) {
        if (column.name == name) column.kind = Kind::categorical;
      }
    }
  }

  // One pass over the file for the number of rows, the kinds, and all numeric columns.
  void read_numbers(Tokenizer& tokens) {
    auto& columns = table_.columns;
    std::vector<bool> fractional(columns.size(), false);
    std::string_view field;
    const double nan = std::numeric_limits<double>::quiet_NaN();
    while (tokens.start_row()) {
      std::size_t i = 0;
      Tokenizer::End end{};
      do {
        end = tokens.next(field);
        if (i == columns.size()) throw_ragged(tokens, i + 1, end);
        auto& column = columns[i++];
        if (column.kind == Kind::categorical) continue;
        double number = nan;
        if (missing_.match(field)) {
          ++column.missing;
        } else if (!to_number(field, number)) {
          column.kind = Kind::categorical;
          column.numbers = {};
          column.missing = 0;
          continue;
        } else if (std::isnan(number)) {
          ++column.missing;
        } else if (!fractional[i - 1] && !is_whole(field, number)) {
          fractional[i - 1] = true;
        }
        column.numbers.push_back(number);
      } while (end == Tokenizer::End::field);
      if (i != columns.size()) throw_ragged(tokens, i, end);
      if (table_.rows++ == 0) reserve_rows();
    }
    if (table_.rows == 0) {
      throw Error({.what = "the file has column names but no rows", .value = {}, .where = name_, .hint = {}});
    }
    for (std::size_t i = 0; i < columns.size(); ++i) {
      if (columns[i].kind == Kind::categorical) continue;
      const bool whole = !fractional[i] && columns[i].missing < table_.rows;
      columns[i].kind = whole ? Kind::integer : Kind::real;
    }
  }

  // A second pass for the columns that turned out not to be numbers, if any.
  void read_categories() {
    auto& columns = table_.columns;
    std::vector<Interner> interners(columns.size());
    bool any = false;
    for (auto& column : columns) {
      if (column.kind != Kind::categorical) continue;
      column.codes.reserve(table_.rows);
      any = true;
    }
    if (!any) return;
    Tokenizer tokens(text_, delimiter_, name_);
    std::string_view field;
    if (options_.header) {
      tokens.start_row();
      while (tokens.next(field) == Tokenizer::End::field) {
      }
    }
    while (tokens.start_row()) {
      std::size_t i = 0;
      Tokenizer::End end{};
      do {
        end = tokens.next(field);
        auto& column = columns[i];
        if (column.kind == Kind::categorical) {
          const bool is_missing = missing_.match(field);
          column.missing += is_missing ? 1 : 0;
          column.codes.push_back(is_missing ? -1 : interners[i].code(field));
        }
        ++i;
      } while (end == Tokenizer::End::field);
    }
    for (std::size_t i = 0; i < columns.size(); ++i) {
      if (columns[i].kind != Kind::categorical) continue;
      interners[i].finish(columns[i]);
      for (const auto& category : columns[i].categories) {
        check_utf8(category, "a value of column \"" + columns[i].name + "\"", name_);
      }
    }
  }

  void reserve_rows() {
    // The first row's share of the file, as a guess.
    const auto lines = static_cast<std::size_t>(std::count(text_.begin(), text_.end(), '\n')) + 1;
    for (auto& column : table_.columns) {
      if (column.kind != Kind::categorical) column.numbers.reserve(lines);
    }
  }

  [[noreturn]] void throw_ragged(Tokenizer& tokens, std::size_t fields, Tokenizer::End end) const {
    std::string_view field;
    const auto where = tokens.where();
    while (end == Tokenizer::End::field) {
      end = tokens.next(field);
      ++fields;
    }
    std::string delimiter = delimiter_ == '\t' ? "tab" : std::string(1, delimiter_);
    throw Error({.what = "the row has " + std::to_string(fields) + (fields == 1 ? " field" : " fields") + " but the " +
                         (options_.header ? "header" : "first row") + " has " + std::to_string(table_.columns.size()),
                 .value = {},
                 .where = where,
                 .hint = "fields are divided by \"" + delimiter + "\"; quote a field that holds one"});
  }

  const CsvOptions& options_;
  const std::string& name_;
  MissingMarkers missing_;
  std::string_view text_;
  char delimiter_ = ',';
  Table table_;
};

}  // namespace

const Column& Table::column(std::string_view name) const {
  std::vector<std::string> names;
  for (const auto& column : columns) {
    if (column.name == name) return column;
    names.push_back(column.name);
  }
  throw Error({.what = "the table has no column \"" + std::string(name) + "\"",
               .value = {},
               .where = path,
               .hint = did_you_mean(name, names)});
}

Table parse(std::string_view text, const CsvOptions& options, const std::string& name) {
  return Reader(text, options, name).read();
}

Table read(const std::filesystem::path& path, const CsvOptions& options) {
  return parse(read_file(path), options, path.string());
}

std::string quote(std::string_view field, char delimiter) {
  const auto edge = [](char c) { return c == ' ' || c == '\t'; };
  const bool special = field.find_first_of(std::string("\"\r\n") + delimiter) != std::string_view::npos;
  if (!special && (field.empty() || (!edge(field.front()) && !edge(field.back())))) return std::string(field);
  std::string out = "\"";
  for (char c : field) {
    if (c == '"') out += '"';
    out += c;
  }
  return out + '"';
}

void Writer::put(std::string_view ready) {
  if (fields_++ > 0) line_ += delimiter_;
  line_ += ready;
}

Writer& Writer::field(std::string_view text) {
  put(quote(text, delimiter_));
  return *this;
}

Writer& Writer::field(double number) {
  if (std::isnan(number)) {
    put("");
    return *this;
  }
  char buffer[40];
  put({buffer, std::to_chars(buffer, buffer + sizeof buffer, number).ptr});
  return *this;
}

Writer& Writer::field(std::int64_t number) {
  put(std::to_string(number));
  return *this;
}

void Writer::end_row() {
  if (width_ == 0) width_ = fields_;
  if (fields_ != width_ || fields_ == 0) {
    throw Error({.what = "a CSV row must have " + std::to_string(width_) + " fields, as the first row has",
                 .value = std::to_string(fields_),
                 .where = {},
                 .hint = {}});
  }
  // A row of one empty field would be a blank line.
  if (line_.empty()) line_ = "\"\"";
  line_ += '\n';
  out_->write(line_.data(), static_cast<std::streamsize>(line_.size()));
  line_.clear();
  fields_ = 0;
}

void Writer::row(const std::vector<std::string>& fields) {
  for (const auto& text : fields) field(text);
  end_row();
}

}  // namespace levin::csv
