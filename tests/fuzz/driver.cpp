// A small coverage-guided driver for fuzz targets in libFuzzer's form, for compilers without libFuzzer (g++ with
// -fsanitize-coverage=trace-pc). Usage: TARGET SECONDS FOLDER_OF_SEEDS FILE_FOR_A_CRASHING_INPUT
#include <array>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <sys/resource.h>
#include <sys/time.h>
#include <unistd.h>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);
extern "C" void __sanitizer_set_death_callback(void (*callback)());

namespace {

constexpr std::size_t kMapSize = 1 << 18, kMaxInput = 1 << 16;
std::array<std::uint8_t, kMapSize> hits;  // edges of the run under way
std::size_t previous;
std::string current;
std::string crash_path;

void keep_input() { std::ofstream(crash_path, std::ios::binary) << current; }

[[noreturn]] void die(const char* why) {
  keep_input();
  std::fprintf(stderr, "%s; the input is in %s\n", why, crash_path.c_str());
  std::_Exit(1);
}

}  // namespace

extern "C" __attribute__((no_sanitize("address", "undefined"))) void __sanitizer_cov_trace_pc() {
  const auto here = reinterpret_cast<std::size_t>(__builtin_return_address(0));
  auto& hit = hits[(here ^ previous) % kMapSize];
  if (hit < 255) ++hit;
  previous = here >> 1;
}

namespace {

std::mt19937_64 random_bits(7);
std::size_t below(std::size_t limit) { return limit == 0 ? 0 : random_bits() % limit; }

void mutate(std::string& input, const std::vector<std::string>& pool) {
  static const std::vector<std::string> words = {"(",
                                                 ")",
                                                 "]",
                                                 "}",
                                                 "t",
                                                 "e",
                                                 "u",
                                                 "s",
                                                 "R",
                                                 "Q",
                                                 ".",
                                                 "X",
                                                 "\x85",
                                                 "\x86",
                                                 "\x87",
                                                 "h",
                                                 "q",
                                                 "r",
                                                 "j",
                                                 "\x8a",
                                                 "\x8b",
                                                 "\x80\x02",
                                                 "\"shape\":",
                                                 "\"dtype\":\"F32\"",
                                                 "\"data_offsets\":",
                                                 "[",
                                                 "{",
                                                 "ctorch\nFloatStorage\n",
                                                 "ctorch._utils\n_rebuild_tensor_v2\n",
                                                 "ccollections\nOrderedDict\n"};
  for (std::size_t n = 1 + below(6); n > 0; --n) {
    const std::size_t at = below(input.size() + 1);
    switch (below(9)) {
      case 0:
        if (at < input.size()) input[at] = static_cast<char>(input[at] ^ (1 << below(8)));
        break;
      case 1:
        if (at < input.size()) input[at] = static_cast<char>(below(256));
        break;
      case 2: input.erase(at, 1 + below(8)); break;
      case 3: input.insert(at, words[below(words.size())]); break;
      case 4: {
        static constexpr std::array<std::uint64_t, 8> numbers = {0,          1,          0x7f,       0xff,
                                                                 0x7fffffff, 0xffffffff, ~0ull >> 1, ~0ull};
        const std::uint64_t number = numbers[below(numbers.size())];
        const std::size_t width = std::size_t{1} << below(4);
        if (at + width <= input.size()) std::memcpy(input.data() + at, &number, width);
        break;
      }
      case 5: input.insert(at, input.substr(below(input.size() + 1), below(64))); break;
      case 6: {
        const std::string& other = pool[below(pool.size())];
        input = input.substr(0, at) + other.substr(below(other.size() + 1));
        break;
      }
      case 7:
        if (below(8) == 0) input.resize(at);
        break;
      default: {
        const std::string part = input.substr(at, below(16));
        for (std::size_t copies = below(32); copies > 0; --copies) input.insert(at, part);
      }
    }
  }
  if (input.size() > kMaxInput) input.resize(kMaxInput);
}

// Whether the run took an edge, or took it a number of times, as none before.
bool brings_news(std::array<std::uint8_t, kMapSize>& seen) {
  bool news = false;
  for (std::size_t i = 0; i < kMapSize; ++i) {
    if (hits[i] == 0) continue;
    std::uint8_t bucket = 1;
    for (std::uint8_t n = hits[i]; n > 1; n >>= 1) bucket = static_cast<std::uint8_t>(bucket << 1);
    if ((seen[i] & bucket) == 0) {
      seen[i] |= bucket;
      news = true;
    }
  }
  return news;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(std::atoll(argv[1]));
  crash_path = argv[3];
  __sanitizer_set_death_callback(keep_input);
  std::set_terminate([] { die("an exception that is no Error"); });
  std::signal(SIGPROF, [](int) { die("256 inputs take more than ten seconds of processor time"); });

  static std::array<std::uint8_t, kMapSize> seen;
  std::vector<std::string> pool;
  for (const auto& entry : std::filesystem::directory_iterator(argv[2])) {
    std::ifstream file(entry.path(), std::ios::binary);
    pool.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
  }
  if (pool.empty()) return 2;
  const std::size_t seeds = pool.size();
  std::size_t runs = 0;
  const auto run = [&](const std::string& input) {
    hits.fill(0);
    previous = 0;
    current = input;
    constexpr itimerval kTenSeconds{.it_interval = {}, .it_value = {.tv_sec = 10, .tv_usec = 0}};
    if (runs++ % 256 == 0) ::setitimer(ITIMER_PROF, &kTenSeconds, nullptr);
    LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(current.data()), current.size());
    return brings_news(seen);
  };
  for (std::size_t i = 0; i < seeds; ++i) run(pool[i]);
  while (std::chrono::steady_clock::now() < end) {
    std::string input =
        pool[below(2) ? below(pool.size()) : pool.size() - 1 - below(std::min<std::size_t>(pool.size(), 64))];
    mutate(input, pool);
    if (run(input)) pool.push_back(input);
  }
  std::size_t edges = 0;
  for (const auto bucket : seen) edges += bucket != 0;
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  std::printf("%zu inputs, %zu from %zu seeds kept for new paths, %zu edges, at most %ld MB of memory: no crash\n",
              runs, pool.size() - seeds, seeds, edges, usage.ru_maxrss / 1024);
}
