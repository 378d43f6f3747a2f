// Kernels of compiled steps against MKL's sgemm (of libtorch_cpu) and the memory's speed, one thread. Each figure is
// the fastest of interleaved rounds; the spread is the slowest quarter of them. argv: libtorch_cpu.so [instruction set].
#include <levin/compile/kernels/gemm.h>
#include <levin/compile/kernels/isa.h>

#include <dlfcn.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

using namespace levin::compile::kernels;

namespace {

using Sgemm = void (*)(const char*, const char*, const int*, const int*, const int*, const float*, const float*, const int*,
                       const float*, const int*, const float*, float*, const int*);

struct Timing {
  double best = 1e9, third_quartile = 0;
};

/** Microseconds a call of each contender, in interleaved rounds of about a millisecond. */
std::vector<Timing> race(const std::vector<std::function<void()>>& contenders, int rounds = 40) {
  using Clock = std::chrono::steady_clock;
  std::vector<std::vector<double>> times(contenders.size());
  std::vector<int> repeats(contenders.size(), 1);
  const auto timed = [&](std::size_t c) {
    const auto start = Clock::now();
    for (int i = 0; i < repeats[c]; i++) contenders[c]();
    return std::chrono::duration<double, std::micro>(Clock::now() - start).count();
  };
  for (std::size_t c = 0; c < contenders.size(); c++) {
    timed(c);
    while (timed(c) < 500 && repeats[c] < 1 << 24) repeats[c] *= 2;
  }
  for (int round = 0; round < rounds; round++) {
    for (std::size_t c = 0; c < contenders.size(); c++) times[c].push_back(timed(c) / repeats[c]);
  }
  std::vector<Timing> result;
  for (auto& t : times) {
    std::sort(t.begin(), t.end());
    result.push_back({t.front(), t[t.size() * 3 / 4]});
  }
  return result;
}

std::vector<float> random_floats(std::size_t size) {
  std::vector<float> x(size);
  for (float& value : x) value = static_cast<float>(std::rand()) / static_cast<float>(RAND_MAX) - 0.5F;
  return x;
}

void products(Sgemm sgemm) {
  struct Case {
    const char* what;
    int m, n, k;
    bool ta, tb;
  };
  const Case cases[] = {{"blog net, layer 1", 100, 16, 1, false, true},
                        {"blog net, layer 2", 100, 1, 16, false, true},
                        {"blog net, dW1", 16, 1, 100, true, false},
                        {"blog net, dW2", 1, 16, 100, true, false},
                        {"MLP layer 1", 64, 128, 784, false, true},
                        {"MLP dX", 64, 784, 128, false, false},
                        {"MLP dW1", 128, 784, 64, true, false},
                        {"MLP layer 2", 64, 10, 128, false, true},
                        {"MLP dX2", 64, 128, 10, false, false},
                        {"MLP dW2", 10, 128, 64, true, false},
                        {"GPT qkv", 768, 384, 128, false, true},
                        {"GPT qkv dX", 768, 128, 384, false, false},
                        {"GPT qkv dW", 384, 128, 768, true, false},
                        {"GPT mlp", 768, 512, 128, false, true},
                        {"GPT mlp dX", 768, 128, 512, false, false},
                        {"GPT mlp dW", 512, 128, 768, true, false},
                        {"GPT head", 768, 65, 128, false, true},
                        {"LSTM gates", 32, 256, 64, false, true},
                        {"square 256", 256, 256, 256, false, false},
                        {"square 256, x W^T", 256, 256, 256, false, true},
                        {"square 1024", 1024, 1024, 1024, false, false},
                        {"square 1024, x W^T", 1024, 1024, 1024, false, true}};
  std::printf("%-20s %16s %10s %8s %10s %8s %14s\n", "product", "m x n x k", "own us", "GF/s", "MKL us", "GF/s", "MKL / own (q3)");
  for (const Case& c : cases) {
    const Gemm g{.m = c.m, .n = c.n, .k = c.k, .transpose_a = c.ta, .transpose_b = c.tb, .lda = c.ta ? c.m : c.k,
                 .ldb = c.tb ? c.k : c.n, .ldc = c.n};
    const auto size = [](int x, int y) { return static_cast<std::size_t>(x) * static_cast<std::size_t>(y); };
    const std::vector<float> a = random_floats(size(c.m, c.k)), b = random_floats(size(c.k, c.n));
    std::vector<float> x(size(c.m, c.n)), y = x;
    std::vector<std::byte> workspace(gemm_workspace(g));
    const GemmFn own = select_gemm(g);
    const int lda = static_cast<int>(g.lda), ldb = static_cast<int>(g.ldb), ldc = static_cast<int>(g.ldc);
    const float one = 1, none = 0;
    std::vector<std::function<void()>> contenders = {[&] { own(g, {a.data(), b.data(), x.data(), nullptr, nullptr}, workspace.data(), 0, g.m); }};
    if (sgemm) {
      contenders.emplace_back([&] {
        sgemm(c.tb ? "T" : "N", c.ta ? "T" : "N", &c.n, &c.m, &c.k, &one, b.data(), &ldb, a.data(), &lda, &none, y.data(), &ldc);
      });
    }
    const std::vector<Timing> t = race(contenders, c.m >= 1024 ? 10 : 40);
    const double flops = 2.0 * c.m * c.n * c.k;
    char shape[40];
    std::snprintf(shape, sizeof shape, "%dx%dx%d%s%s", c.m, c.n, c.k, c.ta ? " T." : "", c.tb ? " .T" : "");
    std::printf("%-20s %16s %10.3f %8.1f", c.what, shape, t[0].best, flops / t[0].best * 1e-3);
    if (sgemm) {
      std::printf(" %10.3f %8.1f %7.2f (%.2f)", t[1].best, flops / t[1].best * 1e-3, t[1].best / t[0].best,
                  t[1].third_quartile / t[0].third_quartile);
    }
    std::printf("\n");
    std::fflush(stdout);
  }
}

}  // namespace

int main(int argc, char** argv) {
  setenv("MKL_NUM_THREADS", "1", 1);
  setenv("OMP_NUM_THREADS", "1", 1);
  Sgemm sgemm = nullptr;
  if (argc > 1) {
    if (void* library = dlopen(argv[1], RTLD_NOW)) sgemm = reinterpret_cast<Sgemm>(dlsym(library, "sgemm_"));
    if (!sgemm) std::fprintf(stderr, "no sgemm_ in %s: %s\n", argv[1], dlerror());
  }
  if (argc > 2) use_instruction_set(argv[2]);
  std::printf("instruction set %s\n", std::string(instruction_set()).c_str());
  products(sgemm);
}
