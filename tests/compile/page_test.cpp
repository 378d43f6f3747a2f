// docs/compiled-step.md shows what LEVIN_COMPILE_DEBUG really prints, docs/compiled-operators.md the rules there are.
#include <levin/levin.h>

#include <levin/compile/operators_page.h>

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <sstream>

namespace nn = torch::nn;

namespace {

std::string block_after(const std::string& text, const std::string& heading) {
  const auto begin = text.find(heading);
  if (begin == std::string::npos) return "no block \"" + heading + "\"";
  const auto first = text.find('\n', begin) + 1;
  const auto end = text.find("\n-- ", first);
  return text.substr(first, end == std::string::npos ? std::string::npos : end - first);
}

TEST(CompiledStepPage, ShowsTheRealDump) {
  ::setenv("LEVIN_COMPILE_DEBUG", "all", 1);
  testing::internal::CaptureStderr();
  levin::seed_everything(42);
  auto x = torch::linspace(-1, 1, 100).unsqueeze(1);
  nn::Sequential model(nn::Linear(1, 16), nn::ReLU(), nn::Linear(16, 1));
  levin::optim::Adam optimizer(model->parameters(), {.lr = 0.01});
  nn::MSELoss loss_fn;
  auto step = levin::compile_step(optimizer, [&](const levin::Batch& batch) {
    return loss_fn(model->forward(batch[0]), batch[1]);
  });
  step({x, 2 * x + 1});
  const std::string dump = testing::internal::GetCapturedStderr();
  ::unsetenv("LEVIN_COMPILE_DEBUG");

  std::ifstream file(LEVIN_SOURCE_DIR "/docs/compiled-step.md");
  std::stringstream page;
  page << file.rdbuf();
  for (const char* stage : {"-- after lift", "-- after place gradients", "-- program"}) {
    std::string block = block_after(dump, stage);
    while (block.ends_with('\n')) block.pop_back();
    EXPECT_NE(page.str().find(block), std::string::npos) << stage << " is now:\n" << block;
  }
}

TEST(CompiledOperatorsPage, IsWhatTheRulesSay) {
  const std::string path = LEVIN_SOURCE_DIR "/docs/compiled-operators.md", text = levin::compile::operators_page();
  if (std::getenv("LEVIN_WRITE_PAGES") != nullptr) std::ofstream(path) << text;
  std::ifstream file(path);
  std::stringstream page;
  page << file.rdbuf();
  EXPECT_TRUE(page.str() == text) << "docs/compiled-operators.md is not what the rules say now; write it anew:\n"
                                     "  LEVIN_WRITE_PAGES=1 compile_test --gtest_filter=CompiledOperatorsPage.*";
}

}  // namespace
