#include <levin/data/batch.h>

#include <levin/core/error.h>

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <functional>

namespace levin {
namespace {

std::string message_of(const std::function<void()>& code) {
  try {
    code();
  } catch (const Error& error) {
    return error.what();
  }
  return "no Error was thrown";
}

Batch predict(const torch::Tensor& tensor) { return {tensor}; }

TEST(Batch, HoldsTensorsInOrder) {
  auto x = torch::arange(6).view({3, 2}), y = torch::ones({3});
  Batch batch{x, y};
  EXPECT_EQ(batch.size(), 2);
  EXPECT_EQ(batch.batch_size(), 3);
  EXPECT_TRUE(batch[0].is_same(x));
  EXPECT_TRUE(batch[1].is_same(y));
  auto [a, b] = batch.unpack<2>();
  EXPECT_TRUE(a.is_same(x));
  EXPECT_TRUE(b.is_same(y));
  EXPECT_TRUE(batch.names().empty());

  const auto one = predict(x);
  EXPECT_EQ(one.size(), 1);
  EXPECT_TRUE(one[0].is_same(x));
}

TEST(Batch, FindsTensorsByName) {
  auto x = torch::zeros({4, 2}), y = torch::ones({4});
  Batch batch{{"x", x}, {"y", y}};
  EXPECT_TRUE(batch["x"].is_same(x));
  EXPECT_TRUE(batch["y"].is_same(y));
  EXPECT_TRUE(batch[1].is_same(y));
  EXPECT_TRUE(batch.contains("x"));
  EXPECT_FALSE(batch.contains("z"));
  batch.push_back("weight", torch::full({4}, 2.0));
  EXPECT_EQ(batch.names(), (std::vector<std::string>{"x", "y", "weight"}));
  EXPECT_EQ(batch["weight"].sum().item<float>(), 8);
  EXPECT_EQ((Batch{{"only", x}}).size(), 1);
}

TEST(Batch, UnnamedTensorsMayJoinNamedOnes) {
  Batch batch{{"x", torch::zeros({2})}};
  batch.push_back(torch::ones({2}));
  EXPECT_EQ(batch.names(), (std::vector<std::string>{"x", ""}));
  EXPECT_FALSE(batch.contains(""));
  Batch plain{torch::zeros({2})};
  plain.push_back("y", torch::ones({2}));
  EXPECT_EQ(plain.names(), (std::vector<std::string>{"", "y"}));
  EXPECT_EQ(plain["y"].sum().item<float>(), 2);
}

TEST(Batch, CopiesShareTensorsButNotTheSet) {
  Batch batch{torch::zeros({2})};
  Batch copy = batch;
  copy[0].fill_(5);
  EXPECT_EQ(batch[0].sum().item<float>(), 10);
  copy[0] = torch::ones({2});
  copy.push_back(torch::ones({2}));
  EXPECT_EQ(batch.size(), 1);
  EXPECT_EQ(batch[0].sum().item<float>(), 10);
}

TEST(Batch, ToKeepsWhatIsThere) {
  Batch batch{{"x", torch::ones({2, 3})}};
  auto same = batch.to(torch::kCPU);
  EXPECT_TRUE(same["x"].is_same(batch["x"]));
  auto meta = batch.to(torch::Device(torch::kMeta));
  EXPECT_TRUE(meta["x"].is_meta());
  EXPECT_EQ(meta["x"].sizes(), (std::vector<int64_t>{2, 3}));
}

TEST(Batch, BatchSizeOfScalarIsOne) { EXPECT_EQ((Batch{torch::tensor(3.0)}).batch_size(), 1); }

TEST(Batch, ErrorsSayWhatIsThere) {
  Batch plain{torch::zeros({2}), torch::zeros({2})};
  Batch named{{"input", torch::zeros({2})}, {"target", torch::zeros({2})}};
  EXPECT_EQ(message_of([&] { plain[2]; }),
            "a batch of 2 tensors has no tensor at this index: got 2; indices run from 0 to 1");
  EXPECT_NE(message_of([&] { named["targt"]; }).find("did you mean \"target\"?"), std::string::npos);
  EXPECT_NE(message_of([&] { plain["x"]; }).find("have no names"), std::string::npos);
  EXPECT_NE(message_of([&] { named.unpack<3>(); }).find("this batch holds 2 tensors (input and target)"),
            std::string::npos);
  EXPECT_THROW((Batch{{"x", torch::zeros({1})}, {"x", torch::zeros({1})}}), Error);
  EXPECT_THROW(Batch().batch_size(), Error);
  EXPECT_THROW(named.with_names({"a"}), Error);
  EXPECT_THROW(named.with_tensors({torch::zeros({1})}), Error);
}

}  // namespace
}  // namespace levin
