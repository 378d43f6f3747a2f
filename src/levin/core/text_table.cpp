#include <levin/core/text_table.h>

#include <levin/core/text.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace levin {
namespace {

bool is_numeric(const std::string& cell) {
  const bool digits = std::any_of(cell.begin(), cell.end(), [](unsigned char c) { return c >= '0' && c <= '9'; });
  return cell.empty() || cell == "-" || cell == "nan" || cell == "inf" || cell == "-inf" ||
         (digits && cell.find_first_not_of("0123456789+-.eE%,") == std::string::npos);
}

}  // namespace

std::string TextTable::to_string() const {
  const std::size_t columns = header_.size();
  std::vector<std::size_t> widths(columns);
  std::vector<bool> numeric(columns, true);
  for (std::size_t c = 0; c < columns; ++c) widths[c] = display_width(header_[c]);
  for (const auto& row : rows_) {
    for (std::size_t c = 0; c < std::min(columns, row.size()); ++c) {
      widths[c] = std::max(widths[c], display_width(row[c]));
      numeric[c] = numeric[c] && is_numeric(row[c]);
    }
  }
  const auto line = [&](const std::vector<std::string>& cells) {
    std::string text;
    for (std::size_t c = 0; c < columns; ++c) {
      if (c > 0) text += "  ";
      text += pad_to_width(c < cells.size() ? cells[c] : "", widths[c], numeric[c] && !rows_.empty());
    }
    text.erase(text.find_last_not_of(' ') + 1);
    return text + '\n';
  };
  std::string out = line(header_);
  for (std::size_t c = 0; c < columns; ++c) out += (c > 0 ? "  " : "") + std::string(widths[c], '-');
  out += '\n';
  for (const auto& row : rows_) out += line(row);
  return out;
}

std::string format_metric(double value) {
  char text[64];
  const double size = std::abs(value);
  std::snprintf(text, sizeof text, value != 0 && (size < 0.01 || size >= 1e6) ? "%.3e" : "%.4f", value);
  return text;
}

}  // namespace levin
