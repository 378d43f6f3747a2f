// Own kernels beside ATen's, one thread: what the rules of lowering choose between. Which of the two runs is decided by
// shape (src/levin/compile/lowering), never at run time, for the bits of a run must not hang on a stopwatch: this program
// is where the limits come from. Runs are interleaved; the figure is the ratio of the least times, ATen over own.
#include <levin/compile/kernels/conv.h>
#include <levin/compile/kernels/gemm.h>

#include <torch/torch.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <functional>
#include <vector>

namespace {

using namespace levin::compile::kernels;

double seconds_of(const std::function<void()>& f, int times) {
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < times; i++) f();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count() / times;
}

// ATen's least time, of two layouts the better one, over ours.
double ratio(const std::function<void()>& own, const std::vector<std::function<void()>>& aten) {
  own();
  double shortest = seconds_of(own, 1);
  for (const auto& one : aten) one(), shortest = std::min(shortest, seconds_of(one, 1));
  const int times = std::max(1, static_cast<int>(1e-3 / shortest));
  double best_own = 1e9, best_aten = 1e9;
  for (int round = 0; round < 15; round++) {
    best_own = std::min(best_own, seconds_of(own, times));
    for (const auto& one : aten) best_aten = std::min(best_aten, seconds_of(one, times));
  }
  return best_aten / best_own;
}

float* data(const torch::Tensor& tensor) { return tensor.data_ptr<float>(); }

void convolutions() {
  std::printf("%-34s %10s %10s %10s\n", "convolution, ATen over own", "forward", "by input", "by weight");
  for (const auto& [batch, in, out, size, kernel] :
       {std::array{64, 1, 8, 28, 3}, std::array{64, 1, 32, 28, 5}, std::array{64, 3, 16, 32, 3}, std::array{64, 4, 8, 28, 3},
        std::array{64, 8, 8, 28, 3}, std::array{64, 8, 16, 14, 3}, std::array{64, 8, 32, 14, 3}, std::array{64, 8, 64, 14, 3},
        std::array{64, 12, 16, 14, 3}, std::array{64, 16, 16, 14, 3}, std::array{64, 16, 16, 32, 3}, std::array{64, 1, 64, 28, 3},
        std::array{64, 3, 64, 32, 3}, std::array{4, 8, 16, 14, 3}, std::array{4, 1, 8, 28, 3}}) {
    const std::int64_t pad = kernel / 2;
    const Conv c{.batch = batch, .in_channels = in, .out_channels = out, .height = size, .width = size, .kernel_h = kernel,
                 .kernel_w = kernel, .padding_h = pad, .padding_w = pad};
    const auto x = torch::randn({batch, in, size, size}), w = torch::randn({out, in, kernel, kernel}), b = torch::randn({out}),
               dy = torch::randn({batch, out, size, size});
    auto y = torch::empty_like(dy), dx = torch::empty_like(x), dw = torch::empty_like(w), db = torch::empty_like(b);
    std::vector<std::byte> workspace(conv_workspace(c));
    const auto forward = select_conv_forward(c);
    const auto by_input = select_conv_input(c);
    const auto by_weight = select_conv_weight(c);
    // ATen's, in rows and with the channels of a pixel together.
    const auto last = at::MemoryFormat::ChannelsLast;
    const auto x_last = x.contiguous(last), w_last = w.contiguous(last), dy_last = dy.contiguous(last);
    const auto backward = [&](std::array<bool, 3> wanted) -> std::vector<std::function<void()>> {
      const auto run = [=](const torch::Tensor& d, const torch::Tensor& image, const torch::Tensor& weight) {
        at::convolution_backward(d, image, weight, at::IntArrayRef({weight.size(0)}), {1, 1}, {pad, pad}, {1, 1}, false, {0, 0}, 1, wanted);
      };
      return {[=] { run(dy, x, w); }, [=] { run(dy_last, x_last, w_last); }};
    };
    const double f = ratio([&] { forward(c, data(x), data(w), data(b), data(y), workspace.data(), 0, batch); },
                           {[&] { at::conv2d(x, w, b, {1, 1}, {pad, pad}); }, [&] { at::conv2d(x_last, w_last, b, {1, 1}, {pad, pad}); }});
    const double i = ratio([&] { by_input(c, data(dy), data(w), data(dx), workspace.data(), 0, batch); },
                           backward({true, false, false}));
    const double g = ratio([&] { by_weight(c, data(x), data(dy), data(dw), data(db), workspace.data()); },
                           backward({false, true, true}));
    char name[64];
    std::snprintf(name, sizeof(name), "%d x %d->%d, %d^2, %dx%d", batch, in, out, size, kernel, kernel);
    std::printf("%-34s %10.2f %10.2f %10.2f\n", name, f, i, g);
  }
}

void products() {
  std::printf("\n%-34s %10s %10s %10s\n", "product, ATen over own", "a b", "a b^T", "a^T b");
  for (const auto& [m, n, k] :
       {std::array{64, 128, 784}, std::array{64, 10, 128}, std::array{128, 128, 128}, std::array{256, 256, 256}, std::array{512, 512, 512},
        std::array{768, 512, 128}, std::array{768, 128, 512}, std::array{1024, 1024, 1024}, std::array{2048, 512, 2048}, std::array{64, 4096, 1024}}) {
    double ratios[3];
    for (int layout = 0; layout < 3; layout++) {
      const bool ta = layout == 2, tb = layout == 1;
      const auto a = ta ? torch::randn({k, m}).t() : torch::randn({m, k});
      const auto b = tb ? torch::randn({n, k}).t() : torch::randn({k, n});
      auto c = torch::empty({m, n}), other = torch::empty({m, n});
      const Gemm g{.m = m, .n = n, .k = k, .transpose_a = ta, .transpose_b = tb, .lda = ta ? m : k, .ldb = tb ? k : n, .ldc = n};
      std::vector<std::byte> workspace(gemm_workspace(g) + 1);
      const GemmFn own = select_gemm(g);
      ratios[layout] = ratio([&] { own(g, {data(a), data(b), data(c), nullptr, nullptr}, workspace.data(), 0, g.rows()); },
                             {[&] { at::mm_out(other, a, b); }});
    }
    char name[64];
    std::snprintf(name, sizeof(name), "%d x %d x %d", m, n, k);
    std::printf("%-34s %10.2f %10.2f %10.2f\n", name, ratios[0], ratios[1], ratios[2]);
  }
}

}  // namespace

int main() {
  torch::set_num_threads(1);
  const torch::NoGradGuard no_grad;
  convolutions();
  products();
}
