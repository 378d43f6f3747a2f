#include <levin/core/csv.h>
#include <levin/core/error.h>
#include <levin/core/rng.h>

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <sstream>

namespace levin {
namespace {

using csv::Kind;

csv::Table parse(const std::string& text, const csv::CsvOptions& options = {}) {
  return csv::parse(text, options, "t.csv");
}

std::string error_of(const std::string& text, const csv::CsvOptions& options = {}) {
  try {
    parse(text, options);
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

std::string category(const csv::Column& column, std::size_t row) {
  const auto code = column.codes.at(row);
  return code < 0 ? "<missing>" : column.categories.at(static_cast<std::size_t>(code));
}

TEST(Csv, TellsKindsApartOverTheWholeFile) {
  const auto table = parse("i,r,c,late\n1,1.5,x,1\n-2,3,y,2\n+3,1e-3,x,three\n");
  ASSERT_EQ(table.rows, 3U);
  EXPECT_EQ(table.columns[0].kind, Kind::integer);
  EXPECT_EQ(table.columns[0].numbers, (std::vector<double>{1, -2, 3}));
  EXPECT_EQ(table.columns[1].kind, Kind::real);
  EXPECT_EQ(table.columns[1].numbers, (std::vector<double>{1.5, 3, 1e-3}));
  EXPECT_EQ(table.columns[2].categories, (std::vector<std::string>{"x", "y"}));
  EXPECT_EQ(table.columns[2].codes, (std::vector<std::int32_t>{0, 1, 0}));
  // Numbers in the first rows do not decide; all values become texts.
  EXPECT_EQ(table.columns[3].kind, Kind::categorical);
  EXPECT_EQ(table.columns[3].categories, (std::vector<std::string>{"1", "2", "three"}));
  EXPECT_TRUE(table.columns[3].numbers.empty());
}

TEST(Csv, CountsMissingValuesOfEveryKind) {
  const auto table = parse("a,b,c,d\n1,,x,\nNA,2.5,?,\nnan,null,NaN,NULL\n");
  EXPECT_EQ(table.columns[0].kind, Kind::integer);
  EXPECT_EQ(table.columns[0].missing, 2U);
  EXPECT_TRUE(std::isnan(table.columns[0].numbers[1]));
  EXPECT_EQ(table.columns[1].missing, 2U);
  EXPECT_EQ(table.columns[2].kind, Kind::categorical);
  EXPECT_EQ(table.columns[2].codes, (std::vector<std::int32_t>{0, -1, -1}));
  EXPECT_EQ(table.columns[2].missing, 2U);
  EXPECT_EQ(table.columns[3].kind, Kind::real);
  EXPECT_EQ(table.columns[3].missing, 3U);
}

TEST(Csv, MissingMarkersCanBeChosen) {
  const auto table = parse("a,b\n-999,NA\n5,y\n", {.missing = {"-999"}});
  EXPECT_EQ(table.columns[0].missing, 1U);
  EXPECT_EQ(table.columns[0].numbers[1], 5);
  EXPECT_EQ(table.columns[1].categories, (std::vector<std::string>{"NA", "y"}));
  EXPECT_EQ(table.columns[1].missing, 0U);
}

TEST(Csv, ReadsQuotedFieldsAsRfc4180Says) {
  const auto table = parse("\"a, b\",c\r\n\"line 1\nline 2\",\"say \"\"hi\"\"\"\r\n\"\",\"7\"\r\n\"x\" , 8 \r\n");
  ASSERT_EQ(table.rows, 3U);
  EXPECT_EQ(table.columns[0].name, "a, b");
  EXPECT_EQ(category(table.columns[0], 0), "line 1\nline 2");
  EXPECT_EQ(category(table.columns[0], 1), "<missing>");
  EXPECT_EQ(category(table.columns[0], 2), "x");
  EXPECT_EQ(category(table.columns[1], 0), "say \"hi\"");
  EXPECT_EQ(category(table.columns[1], 1), "7");
  EXPECT_EQ(category(table.columns[1], 2), "8");
}

TEST(Csv, SkipsByteOrderMarkBlankLinesAndSpaces) {
  const auto table = parse("\xef\xbb\xbf a , b\r\n\r\n 1 , 2\r\n   \r\n3,4");
  EXPECT_EQ(table.columns[0].name, "a");
  EXPECT_EQ(table.columns[1].name, "b");
  EXPECT_EQ(table.rows, 2U);
  EXPECT_EQ(table.columns[1].numbers, (std::vector<double>{2, 4}));
}

TEST(Csv, DetectsTheDelimiter) {
  EXPECT_EQ(parse("a;b\n1;2,5\n3;4\n").columns[1].categories, (std::vector<std::string>{"2,5", "4"}));
  EXPECT_EQ(parse("a\tb\tc\n1\t\t3\n").columns[1].missing, 1U);
  EXPECT_EQ(parse("name, first;age\nx;3\n").columns[0].name, "name, first");
  EXPECT_EQ(parse("only\n1\n2\n").columns.size(), 1U);
  EXPECT_EQ(parse("a|b\n1|2\n", {.delimiter = '|'}).columns.size(), 2U);
}

TEST(Csv, NumbersThatAreNamesOfThingsCanStayTexts) {
  const auto table = parse("zip,n\n01234,1\n99999,2\n", {.categorical = {"zip"}});
  EXPECT_EQ(table.columns[0].categories, (std::vector<std::string>{"01234", "99999"}));
  EXPECT_EQ(table.columns[1].kind, Kind::integer);
}

TEST(Csv, BooleansAndDatesAreCategories) {
  const auto table = parse("b,d\ntrue,2020-01-01\nfalse,2020-01-02\n");
  EXPECT_EQ(table.columns[0].categories, (std::vector<std::string>{"false", "true"}));
  EXPECT_EQ(table.columns[1].kind, Kind::categorical);
}

TEST(Csv, IntegersBeyondExactDoublesAreReal) {
  EXPECT_EQ(parse("a\n9007199254740992\n").columns[0].kind, Kind::integer);
  EXPECT_EQ(parse("a\n9007199254740994\n").columns[0].kind, Kind::real);
  const auto column = parse("a\n1e999\n-1e999\n1e-999\ninf\n").columns[0];
  EXPECT_EQ(column.numbers[0], INFINITY);
  EXPECT_EQ(column.numbers[1], -INFINITY);
  EXPECT_EQ(column.numbers[2], 0);
  EXPECT_EQ(column.numbers[3], INFINITY);
}

TEST(Csv, TextsThatLookLikeNumbersOnlyAtFirstAreTexts) {
  for (const char* text : {"1x", "0x10", "1 2", "--1", "+-1", "1,5", "1e", ".", "-", "nan(1)"}) {
    const auto table = parse("a;b\n1;" + std::string(text) + "\n");
    EXPECT_EQ(table.columns[1].kind, Kind::categorical) << text;
  }
}

TEST(Csv, FileWithoutHeader) {
  const auto table = parse("1,2\n3,4\n", {.header = false});
  EXPECT_EQ(table.rows, 2U);
  EXPECT_EQ(table.columns[1].name, "column_1");
  EXPECT_EQ(parse("a,b\nc,b\n", {.header = false}).columns[0].categories, (std::vector<std::string>{"a", "c"}));
}

TEST(Csv, ErrorsSayWhere) {
  EXPECT_EQ(error_of("a,b\n1,2\n3\n"),
            "the row has 1 field but the header has 2 (t.csv:3:1); fields are divided by \",\"; quote a field that "
            "holds one");
  EXPECT_EQ(error_of("a,b\n\"x\ny\",2\n3,4,5,6\n"),
            "the row has 4 fields but the header has 2 (t.csv:4:5); fields are divided by \",\"; quote a field that "
            "holds one");
  EXPECT_NE(error_of("a,b\n1,\"2\n3,4\n").find("a quoted field is never closed (t.csv:2:3)"), std::string::npos);
  EXPECT_NE(error_of("a,b\n1,\"2\"x\n").find("text after the closing quote of a field: got \"x\" (t.csv:2:6)"),
            std::string::npos);
  EXPECT_NE(error_of("").find("the file is empty (t.csv)"), std::string::npos);
  EXPECT_NE(error_of(" \n\r\n").find("the file is empty"), std::string::npos);
  EXPECT_NE(error_of("a,b\n").find("column names but no rows"), std::string::npos);
  EXPECT_NE(error_of("a,b,a\n1,2,3\n").find("columns 1 and 3 have the same name: got \"a\" (t.csv:1)"),
            std::string::npos);
  EXPECT_NE(error_of("a,,b\n1,2,3\n").find("column 2 has no name"), std::string::npos);
  EXPECT_NE(error_of(",a\n0,1\n").find("to_csv(index=False)"), std::string::npos);
  EXPECT_NE(error_of("5.1,3.5\n4.9,3.0\n").find("the first row should hold the column names"), std::string::npos);
  EXPECT_NE(error_of(std::string("a,b\n1,\0\n", 8)).find("byte 7 is zero"), std::string::npos);
  EXPECT_NE(error_of("\xff\xfe"
                     "a")
                .find("UTF-16"),
            std::string::npos);
  EXPECT_NE(error_of("\x1f\x8b\x08").find("gzip"), std::string::npos);
  EXPECT_NE(error_of("a\ncaf\xe9\n").find("a value of column \"a\" is not UTF-8"), std::string::npos);
  EXPECT_NE(error_of("a\n1\n", {.categorical = {"b"}}).find("no column \"b\""), std::string::npos);
  EXPECT_EQ(parse("0,1,2\n7,8,9\n").columns[2].name, "2");  // how numbered columns are written
}

TEST(Csv, ErrorsOfPaths) {
  const auto folder = std::filesystem::temp_directory_path() / "levin_csv_test";
  std::filesystem::create_directories(folder);
  std::ofstream(folder / "digits.csv") << "a\n1\n";
  EXPECT_EQ(csv::read(folder / "digits.csv").rows, 1U);
  const auto message = [](const std::filesystem::path& path) {
    try {
      csv::read(path);
      return std::string("no error");
    } catch (const Error& error) {
      return std::string(error.what());
    }
  };
  EXPECT_NE(message(folder / "digit.csv").find("did you mean \"" + (folder / "digits.csv").string() + "\"?"),
            std::string::npos);
  EXPECT_NE(message(folder).find("this is a directory, not a file"), std::string::npos);
  EXPECT_NE(message(folder / "no" / "x.csv").find("does not exist either"), std::string::npos);
  std::filesystem::remove_all(folder);
}

TEST(Csv, ColumnByName) {
  const auto table = parse("lr,width\n1,2\n");
  EXPECT_EQ(table.column("width").numbers[0], 2);
  try {
    table.column("widht");
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("did you mean \"width\"?"), std::string::npos);
  }
}

TEST(Csv, WriterRejectsRaggedRows) {
  std::ostringstream out;
  csv::Writer writer(out);
  writer.row({"a", "b"});
  writer.field(0.1).field(std::int64_t{-3}).end_row();
  writer.field(NAN).field(1.0).end_row();
  EXPECT_EQ(out.str(), "a,b\n0.1,-3\n,1\n");
  writer.field("x");
  EXPECT_THROW(writer.end_row(), Error);
}

// Random tables, written and read back: names, kinds and values are the same, whatever the texts hold.
TEST(Csv, RoundTripOfRandomTables) {
  const std::vector<std::string> pieces = {"a", "\"",       ",",  ";", "\t", "\n", "\r\n",
                                           " ", "\xc3\xa9", "x1", "7", "-",  "'"};
  for (std::uint64_t seed = 0; seed < 300; ++seed) {
    Rng rng(seed, "csv");
    const char delimiter = ",;\t"[rng.below(3)];
    const std::size_t rows = 1 + rng.below(6), columns = 1 + rng.below(5);
    const auto random_text = [&] {
      std::string text = "t";  // never a number or a missing marker
      for (std::uint64_t n = rng.below(6); n > 0; --n)
        text.insert(rng.below(2) ? text.size() : 0, pieces[rng.below(pieces.size())]);
      return text;
    };
    std::vector<int> kinds(columns);
    std::vector<std::string> names;
    for (std::size_t c = 0; c < columns; ++c) {
      kinds[c] = static_cast<int>(rng.below(3));
      names.push_back(random_text() + std::to_string(c));
    }
    std::vector<std::vector<std::string>> texts(rows, std::vector<std::string>(columns));
    std::vector<std::vector<double>> numbers(rows, std::vector<double>(columns, NAN));
    std::ostringstream out;
    csv::Writer writer(out, delimiter);
    writer.row(names);
    for (std::size_t r = 0; r < rows; ++r) {
      for (std::size_t c = 0; c < columns; ++c) {
        const bool missing = rng.below(5) == 0;
        if (kinds[c] == 0) {
          if (!missing) texts[r][c] = random_text();
          writer.field(texts[r][c]);
        } else {
          if (!missing)
            numbers[r][c] = kinds[c] == 1 ? std::floor(rng.uniform(-1e6, 1e6))
                                          : rng.normal() * std::pow(10, rng.uniform(-300, 300));
          writer.field(numbers[r][c]);
        }
      }
      writer.end_row();
    }
    const auto table = parse(out.str(), {.delimiter = delimiter});
    ASSERT_EQ(table.rows, rows) << out.str();
    ASSERT_EQ(table.columns.size(), columns);
    for (std::size_t c = 0; c < columns; ++c) {
      const auto& column = table.columns[c];
      EXPECT_EQ(column.name, names[c]);
      for (std::size_t r = 0; r < rows; ++r) {
        if (kinds[c] == 0 && column.kind == Kind::categorical) {
          EXPECT_EQ(category(column, r), texts[r][c].empty() ? "<missing>" : texts[r][c]) << "seed " << seed;
        } else if (kinds[c] == 0) {
          EXPECT_EQ(column.missing, rows);  // a column without any value has no kind of its own
        } else if (std::isnan(numbers[r][c])) {
          EXPECT_TRUE(std::isnan(column.numbers[r]));
        } else {
          EXPECT_EQ(column.numbers[r], numbers[r][c]) << "seed " << seed;
        }
      }
    }
  }
}

// Whatever the bytes, the reader answers with a table or an Error.
TEST(Csv, ArbitraryBytesNeverCrash) {
  const std::string alphabet = "a1,;\t\"\n\r .-e\xc3?";
  std::size_t tables = 0;
  for (std::uint64_t seed = 0; seed < 5000; ++seed) {
    Rng rng(seed, "bytes");
    std::string text;
    for (std::uint64_t n = rng.below(40); n > 0; --n) text += alphabet[rng.below(alphabet.size())];
    try {
      const auto table = parse(text);
      ++tables;
      for (const auto& column : table.columns) {
        EXPECT_EQ(column.kind == Kind::categorical ? column.codes.size() : column.numbers.size(), table.rows);
      }
    } catch (const Error&) {
    }
  }
  EXPECT_GT(tables, 50U);
}

}  // namespace
}  // namespace levin
