// Kernels of compiled steps against MKL's sgemm (of libtorch_cpu) and the memory's speed, one thread. Each figure is
// the fastest of interleaved rounds; the spread is the slowest quarter of them. argv: libtorch_cpu.so [instruction
// set].
#include <levin/compile/kernels/attention.h>
#include <levin/compile/kernels/conv.h>
#include <levin/compile/kernels/gemm.h>
#include <levin/compile/kernels/isa.h>
#include <levin/compile/kernels/loss.h>
#include <levin/compile/kernels/mlp.h>
#include <levin/compile/kernels/norm.h>
#include <levin/compile/kernels/optimizer.h>
#include <levin/compile/kernels/pointwise.h>
#include <levin/compile/kernels/random.h>
#include <levin/compile/kernels/reduce.h>

#include <dlfcn.h>
#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

#include "limit.h"

using namespace levin::compile::kernels;
using levin::benchmarks::Limit;

namespace {

using Sgemm = void (*)(const char*, const char*, const int*, const int*, const int*, const float*, const float*,
                       const int*, const float*, const int*, const float*, float*, const int*);

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
  const Case cases[] = {
      {"blog net, layer 1", 100, 16, 1, false, true},  {"blog net, layer 2", 100, 1, 16, false, true},
      {"blog net, dW1", 16, 1, 100, true, false},      {"blog net, dW2", 1, 16, 100, true, false},
      {"MLP layer 1", 64, 128, 784, false, true},      {"MLP dX", 64, 784, 128, false, false},
      {"MLP dW1", 128, 784, 64, true, false},          {"MLP layer 2", 64, 10, 128, false, true},
      {"MLP dX2", 64, 128, 10, false, false},          {"MLP dW2", 10, 128, 64, true, false},
      {"GPT qkv", 768, 384, 128, false, true},         {"GPT qkv dX", 768, 128, 384, false, false},
      {"GPT qkv dW", 384, 128, 768, true, false},      {"GPT mlp", 768, 512, 128, false, true},
      {"GPT mlp dX", 768, 128, 512, false, false},     {"GPT mlp dW", 512, 128, 768, true, false},
      {"GPT head", 768, 65, 128, false, true},         {"LSTM gates", 32, 256, 64, false, true},
      {"square 256", 256, 256, 256, false, false},     {"square 256, x W^T", 256, 256, 256, false, true},
      {"square 1024", 1024, 1024, 1024, false, false}, {"square 1024, x W^T", 1024, 1024, 1024, false, true}};
  std::printf("%-20s %16s %10s %8s %10s %8s %14s\n", "product", "m x n x k", "own us", "GF/s", "MKL us", "GF/s",
              "MKL / own (q3)");
  for (const Case& c : cases) {
    const Gemm g{.m = c.m,
                 .n = c.n,
                 .k = c.k,
                 .transpose_a = c.ta,
                 .transpose_b = c.tb,
                 .lda = c.ta ? c.m : c.k,
                 .ldb = c.tb ? c.k : c.n,
                 .ldc = c.n};
    const auto size = [](int x, int y) { return static_cast<std::size_t>(x) * static_cast<std::size_t>(y); };
    const std::vector<float> a = random_floats(size(c.m, c.k)), b = random_floats(size(c.k, c.n));
    std::vector<float> x(size(c.m, c.n)), y = x;
    std::vector<std::byte> workspace(gemm_workspace(g));
    const GemmFn own = select_gemm(g);
    const int lda = static_cast<int>(g.lda), ldb = static_cast<int>(g.ldb), ldc = static_cast<int>(g.ldc);
    const float one = 1, none = 0;
    std::vector<std::function<void()>> contenders = {
        [&] { own(g, {a.data(), b.data(), x.data(), nullptr, nullptr}, workspace.data(), 0, g.m); }};
    if (sgemm) {
      contenders.emplace_back([&] {
        sgemm(c.tb ? "T" : "N", c.ta ? "T" : "N", &c.n, &c.m, &c.k, &one, b.data(), &ldb, a.data(), &lda, &none,
              y.data(), &ldc);
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

/** The blog post's network: kernel by kernel, with the fused passes, and by hand. */
void network() {
  constexpr int batch = Limit::kBatch, width = Limit::kWidth, count = Limit::kParameters;
  const std::vector<float> start = random_floats(count), x = random_floats(batch), y = random_floats(batch);
  struct State {
    std::vector<float> p, g = std::vector<float>(count), m = g, v = g;
    float step = 0, loss = 0;
    double lr = 1e-3;
  } separate{start}, fused{start};
  std::vector<float> hidden(batch * width), d_hidden = hidden, out(batch), d_out(batch);

  const Gemm layer1{.m = batch,
                    .n = width,
                    .k = 1,
                    .transpose_b = true,
                    .lda = 1,
                    .ldb = 1,
                    .ldc = width,
                    .bias = true,
                    .epilogue = Gemm::Epilogue::relu};
  const Gemm layer2{
      .m = batch, .n = 1, .k = width, .transpose_b = true, .lda = width, .ldb = width, .ldc = 1, .bias = true};
  const Gemm of_hidden{.m = batch,
                       .n = width,
                       .k = 1,
                       .lda = 1,
                       .ldb = width,
                       .ldc = width,
                       .epilogue = Gemm::Epilogue::relu_mask,
                       .ld_mask = width};
  const Gemm of_w2{.m = 1, .n = width, .k = batch, .transpose_a = true, .lda = 1, .ldb = width, .ldc = width};
  const Gemm of_w1{.m = width, .n = 1, .k = batch, .transpose_a = true, .lda = width, .ldb = 1, .ldc = 1};
  const Mse mse{batch, 1};
  const Adam adam{};
  const Mlp mlp{batch, 1, width};
  const GemmFn run1 = select_gemm(layer1), run2 = select_gemm(layer2), run3 = select_gemm(of_hidden),
               run4 = select_gemm(of_w2), run5 = select_gemm(of_w1);
  const MseFn run_mse = select_mse(mse);
  const AdamFn run_adam = select_adam(adam);
  const MlpForwardFn forward = select_mlp_forward(mlp);
  const MlpBackwardFn backward = select_mlp_backward(mlp);
  std::vector<std::byte> workspace(4096);
  const auto update = [&](State& s) {
    s.step++;
    run_adam(adam, {s.p.data(), s.g.data(), s.m.data(), s.v.data(), nullptr, &s.lr, &s.step}, 0, count);
  };
  const auto step = [&] {
    State& s = separate;
    float *w1 = s.p.data(), *b1 = w1 + width, *w2 = b1 + width, *b2 = w2 + width, *g = s.g.data();
    run1(layer1, {x.data(), w1, hidden.data(), b1, nullptr}, workspace.data(), 0, batch);
    run2(layer2, {hidden.data(), w2, out.data(), b2, nullptr}, workspace.data(), 0, batch);
    run_mse(mse, {out.data(), y.data(), nullptr, &s.loss, d_out.data(), g + 3 * width});
    run3(of_hidden, {d_out.data(), w2, d_hidden.data(), nullptr, hidden.data()}, workspace.data(), 0, batch);
    run4(of_w2, {d_out.data(), hidden.data(), g + 2 * width, nullptr, nullptr}, workspace.data(), 0, 1);
    run5(of_w1, {d_hidden.data(), x.data(), g, nullptr, nullptr}, workspace.data(), 0, width);
    static const Reduce columns{.outer = 1, .reduced = batch, .inner = width};
    static const ReduceFn reduce = select_reduce(columns);
    reduce(columns, d_hidden.data(), g + width, 0, width);
    update(s);
  };
  const auto fused_step = [&] {
    State& s = fused;
    float *w1 = s.p.data(), *b1 = w1 + width, *w2 = b1 + width, *b2 = w2 + width, *g = s.g.data();
    forward(mlp, {x.data(), w1, b1, w2, b2, out.data()});
    run_mse(mse, {out.data(), y.data(), nullptr, &s.loss, d_out.data(), g + 3 * width});
    backward(mlp, {x.data(), w1, b1, w2, d_out.data(), g, g + width, g + 2 * width, nullptr});
    update(s);
  };
  Limit limit(start.data(), x.data(), y.data());
  for (int i = 0; i < 100; i++) step(), fused_step(), limit.step();
  std::printf("\nblog post's network, loss after 100 steps: %.7f kernels, %.7f fused, %.7f by hand\n",
              static_cast<double>(separate.loss), static_cast<double>(fused.loss), static_cast<double>(limit.loss()));
  const std::vector<Timing> t =
      race({step, fused_step, [&] { limit.step(); }, [&] { fused.step = 100, update(fused); },
            [&] { forward(mlp, {x.data(), start.data(), start.data(), start.data(), nullptr, out.data()}); },
            [&] { run_mse(mse, {out.data(), y.data(), nullptr, &fused.loss, d_out.data(), d_hidden.data()}); },
            [&] {
              backward(mlp, {x.data(), start.data(), start.data(), start.data(), d_out.data(), hidden.data(),
                             d_hidden.data(), d_hidden.data() + width, nullptr});
            }});
  std::printf(
      "us a step (q3): kernels %.3f (%.3f), fused %.3f (%.3f), by hand %.3f (%.3f); fused / by hand %.2f; of it Adam "
      "%.3f, forward %.3f, loss %.3f, backward %.3f\n",
      t[0].best, t[0].third_quartile, t[1].best, t[1].third_quartile, t[2].best, t[2].third_quartile,
      t[1].best / t[2].best, t[3].best, t[4].best, t[5].best, t[6].best);
}

/** Everything that the memory or the functions bound. */
void streams() {
  std::printf("\n%-44s %12s %14s\n", "kernel", "us", "rate");
  const auto report = [](const std::string& what, double us, double amount, const char* unit) {
    std::printf("%-44s %12.3f %9.1f %s\n", what.c_str(), us, amount / us * 1e-3, unit);
    std::fflush(stdout);
  };
  for (const std::size_t n : {std::size_t{1600}, std::size_t{100000}, std::size_t{4000000}}) {
    const auto size = static_cast<std::int64_t>(n);
    std::vector<float> p = random_floats(n), g = random_floats(n), m(n), v(n);
    const double lr = 1e-3;
    float step = 10;
    const Adam adam{};
    const AdamFn run = select_adam(adam);
    report(
        "Adam " + std::to_string(n),
        race({[&] { run(adam, {p.data(), g.data(), m.data(), v.data(), nullptr, &lr, &step}, 0, size); }}, 10)[0].best,
        28.0 * static_cast<double>(n), "GB/s");
    // gelu(x + y) * 0.5 - x, its relu, squared ...: eight operations
    const Pointwise chain{.inner = size,
                          .inputs = {{}, {}},
                          .ops = {{Opcode::add, 0, 1},
                                  {Opcode::mul, 2, 0},
                                  {Opcode::scale_shift, 3, -1, -1, 0.5F, 1},
                                  {Opcode::relu, 4},
                                  {Opcode::sub, 5, 1},
                                  {Opcode::square, 6},
                                  {Opcode::maximum, 7, 0},
                                  {Opcode::add, 8, 2}},
                          .outputs = {{.from = 9}}};
    const PointwiseProgram program(chain);
    std::vector<std::byte> workspace(program.workspace());
    const float* in[] = {p.data(), g.data()};
    float* out[] = {m.data()};
    const auto by_hand = [&] {
      const float *a = p.data(), *b = g.data();
      float* o = m.data();
      for (std::size_t i = 0; i < n; i++) {
        const float sum = a[i] + b[i], scaled = 0.5F * (sum * a[i]) + 1, e = (scaled > 0 ? scaled : 0) - b[i],
                    square = e * e;
        o[i] = (square > a[i] ? square : a[i]) + sum;
      }
    };
    const std::vector<Timing> t = race({[&] { program.run(in, out, workspace.data(), 0, size); }, by_hand}, 10);
    report("chain of 8 operations " + std::to_string(n), t[0].best, 12.0 * static_cast<double>(n), "GB/s");
    report("  one compiled loop (SSE2)", t[1].best, 12.0 * static_cast<double>(n), "GB/s");
    for (const Opcode code : {Opcode::relu, Opcode::gelu, Opcode::tanh, Opcode::exp}) {
      if (n > 100000) continue;
      const Pointwise single{.inner = size, .inputs = {{}}, .ops = {{code, 0}}, .outputs = {{.from = 1}}};
      const PointwiseProgram one(single);
      report(std::string(name_of(code)) + " " + std::to_string(n),
             race({[&] { one.run(in, out, nullptr, 0, size); }}, 10)[0].best, 8.0 * static_cast<double>(n), "GB/s");
    }
  }
  {
    std::vector<float> mask(4096);
    const DropoutMaskFn run = select_dropout_mask();
    RandomStream stream{1, 0};
    report("dropout mask 4096", race({[&] { stream.offset++, run(stream, 0.1F, mask.data(), 0, 4096); }}, 10)[0].best,
           4096, "G/s");
  }
  for (const auto& [rows, classes] : {std::pair(64, 10), std::pair(768, 65)}) {
    const auto n = static_cast<std::size_t>(rows * classes);
    const std::vector<float> logits = random_floats(n);
    std::vector<float> gradient(n);
    const std::vector<std::int64_t> target(static_cast<std::size_t>(rows), 3);
    float loss;
    const CrossEntropy ce{.rows = rows, .classes = classes};
    const CrossEntropyFn run = select_cross_entropy(ce);
    report("cross entropy + gradient " + std::to_string(rows) + "x" + std::to_string(classes),
           race({[&] { run(ce, {logits.data(), target.data(), nullptr, nullptr, &loss, gradient.data()}, nullptr); }},
                10)[0]
               .best,
           8.0 * static_cast<double>(n), "GB/s");
  }
  {
    const std::vector<float> x = random_floats(768 * 128), w = random_floats(128);
    std::vector<float> y(x.size()), mean(768), rstd(768), dx(x.size()), dw(128), db(128);
    const LayerNorm s{768, 128};
    const auto f = select_layer_norm_forward(s);
    const auto b = select_layer_norm_backward(s);
    report(
        "layer norm 768x128",
        race({[&] { f(s, {x.data(), w.data(), w.data(), y.data(), mean.data(), rstd.data()}, 0, 768); }}, 10)[0].best,
        8.0 * 768 * 128, "GB/s");
    report(
        "layer norm backward 768x128",
        race({[&] { b(s, {y.data(), x.data(), w.data(), mean.data(), rstd.data(), dx.data(), dw.data(), db.data()}); }},
             10)[0]
            .best,
        12.0 * 768 * 128, "GB/s");
    const BatchNorm bn{.batch = 64, .channels = 256};
    const auto fb = select_batch_norm_forward(bn);
    report("batch norm 64x256",
           race({[&] {
                  fb(bn, {x.data(), nullptr, nullptr, nullptr, nullptr, y.data(), mean.data(), rstd.data()}, 0, 256);
                }},
                10)[0]
               .best,
           8.0 * 64 * 256, "GB/s");
  }
  for (const auto& [channels, out, size, kernel, pad] :
       {std::array{1, 8, 28, 3, 1}, std::array{8, 16, 14, 3, 1}, std::array{1, 32, 28, 5, 2},
        std::array{32, 64, 14, 5, 2}, std::array{16, 16, 32, 3, 1}}) {
    const Conv c{.batch = 64,
                 .in_channels = channels,
                 .out_channels = out,
                 .height = size,
                 .width = size,
                 .kernel_h = kernel,
                 .kernel_w = kernel,
                 .padding_h = pad,
                 .padding_w = pad};
    const auto area = static_cast<std::size_t>(size * size);
    const std::vector<float> x = random_floats(64 * static_cast<std::size_t>(channels) * area),
                             w = random_floats(static_cast<std::size_t>(out * channels * kernel * kernel)),
                             dy = random_floats(64 * static_cast<std::size_t>(out) * area);
    std::vector<float> y(dy.size()), dx(x.size()), dw(w.size()), db(static_cast<std::size_t>(out));
    std::vector<std::byte> workspace(conv_workspace(c));
    const auto f = select_conv_forward(c);
    const auto i = select_conv_input(c);
    const auto g = select_conv_weight(c);
    const std::vector<Timing> t = race({[&] { f(c, x.data(), w.data(), nullptr, y.data(), workspace.data(), 0, 64); },
                                        [&] { i(c, dy.data(), w.data(), dx.data(), workspace.data(), 0, 64); },
                                        [&] { g(c, x.data(), dy.data(), dw.data(), db.data(), workspace.data()); }},
                                       10);
    const double flops = 2.0 * 64 * static_cast<double>(area) * out * channels * kernel * kernel;
    const std::string what = "conv " + std::to_string(channels) + "->" + std::to_string(out) + ", " +
                             std::to_string(size) + "^2, " + std::to_string(kernel) + "x" + std::to_string(kernel);
    report(what, t[0].best, flops, "GF/s");
    report("  its gradient of the input", t[1].best, flops, "GF/s");
    report("  its gradient of the weights", t[2].best, flops, "GF/s");
  }
  {
    const HeadStrides in{64 * 384, 32, 384}, out{64 * 128, 32, 128};
    const Attention s{12, 4, 64, 64, 32, 32, 0.18F, true, in, in, in, out, {}};
    const std::vector<float> qkv = random_floats(12 * 64 * 384), d_o = random_floats(12 * 64 * 128);
    std::vector<float> o(d_o.size()), lse(12 * 4 * 64), d(qkv.size());
    std::vector<std::byte> workspace(attention_workspace(s));
    const auto f = select_attention_forward(s);
    const auto b = select_attention_backward(s);
    const float* q = qkv.data();
    const double flops = 2.0 * 12 * 4 * 64 * 64 * 32;
    report("attention 12x4x64x32 causal",
           race({[&] { f(s, {q, q + 128, q + 256, nullptr, o.data(), lse.data()}, workspace.data(), 0, 48); }}, 10)[0]
               .best,
           2 * flops, "GF/s");
    report("attention backward",
           race({[&] {
                  b(s,
                    {d_o.data(), q, q + 128, q + 256, nullptr, o.data(), lse.data(), d.data(), d.data() + 128,
                     d.data() + 256, out, in, in, in},
                    workspace.data(), 0, 48);
                }},
                10)[0]
               .best,
           5 * flops, "GF/s");
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
#if defined(__x86_64__)
  _mm_setcsr(_mm_getcsr() | 0x8040);  // as compiled steps do: denormal numbers cost a hundred times as much
#endif
  std::printf("instruction set %s\n", std::string(instruction_set()).c_str());
  network();
  streams();
  std::printf("\n");
  products(sgemm);
}
