// How fast a CSV table is read: csv_speed [rows] makes a file of ten columns (seven real, one integer, two of texts,
// one of them quoted), reads it five times and prints the medians of wall and processor time.
#include <levin/core/csv.h>
#include <levin/core/rng.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <vector>

int main(int argc, char** argv) {
  const long rows = argc > 1 ? std::atol(argv[1]) : 1000000;
  const auto path = std::filesystem::temp_directory_path() / "levin_csv_speed.csv";
  {
    std::ofstream out(path);
    levin::csv::Writer writer(out);
    writer.row({"a", "b", "c", "d", "e", "f", "g", "count", "colour", "city"});
    const std::array colours = {"red", "green", "blue"};
    levin::Rng rng(0, "csv");
    for (long row = 0; row < rows; ++row) {
      for (int i = 0; i < 7; ++i) writer.field(rng.normal());
      writer.field(static_cast<std::int64_t>(rng.below(1000000)));
      writer.field(colours[rng.below(3)]);
      writer.field("city, " + std::to_string(rng.below(500)));
      writer.end_row();
    }
  }
  std::vector<double> seconds, processor;
  std::size_t read = 0;
  for (int run = 0; run < 5; ++run) {
    const auto start = std::chrono::steady_clock::now();
    const std::clock_t clock = std::clock();
    read = levin::csv::read(path).rows;
    seconds.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    processor.push_back(static_cast<double>(std::clock() - clock) / CLOCKS_PER_SEC);
  }
  const double megabytes = static_cast<double>(std::filesystem::file_size(path)) * 1e-6;
  std::filesystem::remove(path);
  std::sort(seconds.begin(), seconds.end());
  std::sort(processor.begin(), processor.end());
  std::printf("%zu rows, %.0f MB: wall %.2f s (%.2f to %.2f), processor %.2f s, %.0f MB/s\n", read, megabytes,
              seconds[2], seconds[0], seconds[4], processor[2], megabytes / processor[2]);
}
