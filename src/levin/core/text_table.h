// A table of text for terminals and files.
#pragma once

#include <levin/core/export.h>

#include <string>
#include <vector>

namespace levin {

/** Rows of cells under a header, columns as wide as their widest cell; columns of numbers are set to the right. */
class LEVIN_API TextTable {
 public:
  explicit TextTable(std::vector<std::string> header) : header_(std::move(header)) {}

  /** Adds a row; missing cells are empty. */
  void add_row(std::vector<std::string> cells) { rows_.push_back(std::move(cells)); }
  bool empty() const { return rows_.empty(); }
  /** The table, each line ended by a newline: header, a rule, the rows. */
  std::string to_string() const;

 private:
  std::vector<std::string> header_;
  std::vector<std::vector<std::string>> rows_;
};

/** A measured number for people: four digits after the point, or 1.234e-05 where these would say little. */
LEVIN_API std::string format_metric(double value);

}  // namespace levin
