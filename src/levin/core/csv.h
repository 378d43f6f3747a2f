// Tables in CSV files: a fast typed reader and a writer.
#pragma once

#include <levin/core/export.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <iosfwd>
#include <string>
#include <string_view>
#include <vector>

namespace levin::csv {

/**
 * What the whole of a column holds. A column is `integer` when every value is a whole number of at most 2^53 in
 * size, `real` when every value is a number, else `categorical` (texts, dates, and also true/false).
 */
enum class Kind { integer, real, categorical };

struct LEVIN_API Column {
  std::string name;
  Kind kind = Kind::real;
  std::vector<double> numbers;          ///< integer and real columns: one a row, NaN where missing
  std::vector<std::int32_t> codes;      ///< categorical columns: one a row, -1 where missing
  std::vector<std::string> categories;  ///< categorical columns: the texts that codes point to, sorted by bytes
  std::size_t missing = 0;              ///< rows without a value
};

struct LEVIN_API Table {
  std::string path;  ///< where it was read, for messages
  std::size_t rows = 0;
  std::vector<Column> columns;

  /** The column called `name`; throws Error naming the nearest one when there is none. */
  const Column& column(std::string_view name) const;
};

struct CsvOptions {
  char delimiter = '\0';  ///< the character between fields; '\0': whichever of , ; and tab fits the first rows
  bool header = true;     ///< the first row holds the column names; without one they are column_0, column_1...
  /** Texts that stand for a missing value, in any case; "" is an empty field. Quoted fields count too. */
  std::vector<std::string> missing = {"", "NA", "N/A", "NaN", "null", "?"};
  /** Columns that are categorical even though their values are numbers, such as postcodes. */
  std::vector<std::string> categorical = {};
};

/**
 * Reads a CSV file (RFC 4180: quoted fields may hold delimiters, newlines and doubled quotes; LF or CRLF; an UTF-8
 * byte-order mark is skipped). Spaces around unquoted fields and blank lines are skipped. A column without any value
 * is `real`. Throws Error with file, line and column for ragged rows, unterminated quotes, missing or doubled column
 * names, files without rows, and files that are not UTF-8 text.
 */
LEVIN_API Table read(const std::filesystem::path& path, const CsvOptions& options = {});

/** As `read`, from text in memory; `name` stands for the file in messages. */
LEVIN_API Table parse(std::string_view text, const CsvOptions& options = {}, const std::string& name = "text");

/** `field` as it must stand in a row: in quotes (inner ones doubled) when it would not read back as it is. */
LEVIN_API std::string quote(std::string_view field, char delimiter = ',');

/** Writes rows to a stream. All rows must have as many fields as the first one. */
class LEVIN_API Writer {
 public:
  explicit Writer(std::ostream& out, char delimiter = ',') : out_(&out), delimiter_(delimiter) {}

  Writer& field(std::string_view text);
  Writer& field(const char* text) { return field(std::string_view(text)); }
  Writer& field(double number);  ///< shortest text that reads back to the same number; NaN is an empty field
  Writer& field(std::int64_t number);
  void end_row();
  void row(const std::vector<std::string>& fields);

 private:
  void put(std::string_view ready);

  std::ostream* out_;
  char delimiter_;
  std::string line_;
  std::size_t fields_ = 0;
  std::size_t width_ = 0;  // fields of the first row; 0: none written
};

}  // namespace levin::csv
