// The code blocks of docs/data.md, compiled and run. check_docs.py looks for each block here, word for word.
#include <levin/data/combined_loader.h>
#include <levin/data/idx.h>
#include <levin/data/image_folder.h>
#include <levin/data/image_transforms.h>
#include <levin/data/loader.h>
#include <levin/data/npy.h>
#include <levin/data/sample_rng.h>
#include <levin/data/tensor_dataset.h>
#include <levin/data/text.h>
#include <levin/data/transforms.h>

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <filesystem>
#include <fstream>

namespace {

// A dataset of one's own: samples by index, safe from several threads at once.
struct Waves : levin::DatasetImpl {
  int64_t size() const override { return 1000; }
  levin::Batch get(int64_t index) const override {
    auto rng = levin::sample_rng(index);  // the same for this sample and epoch on any worker
    auto phase = torch::arange(64) * 0.1 + rng.uniform(0, 6.28);
    return {phase.sin(), torch::tensor(index % 2)};
  }
};

// Samples one after the other; the loader asks for a new stream every epoch.
struct Lines : levin::IterableDatasetImpl {
  struct Stream : levin::SampleStream {
    explicit Stream(const std::string& path) : file(path) {}
    bool next(levin::Batch& sample) override {
      double value = 0;
      if (!(file >> value)) return false;
      sample = {torch::tensor(value)};
      return true;
    }
    std::ifstream file;
  };
  std::unique_ptr<levin::SampleStream> open(const levin::StreamContext&) const override {
    return std::make_unique<Stream>("numbers.txt");
  }
};

class DataDocs : public ::testing::Test {
 protected:
  void SetUp() override {
    before_ = std::filesystem::current_path();
    std::string pattern = (std::filesystem::temp_directory_path() / "levin_docs_XXXXXX").string();
    folder_ = ::mkdtemp(pattern.data());
    std::filesystem::current_path(folder_);
  }
  void TearDown() override {
    std::filesystem::current_path(before_);
    std::filesystem::remove_all(folder_);
  }
  std::filesystem::path before_, folder_;
};

TEST_F(DataDocs, Loaders) {
  levin::Dataset waves(std::make_shared<Waves>());
  levin::DataLoader loader(waves, {.batch_size = 50, .shuffle = true, .num_workers = 2, .seed = 1});
  int64_t seen = 0;
  for (const auto& batch : loader) {
    auto [x, y] = batch.unpack<2>();
    seen += y.size(0);
    if (loader.batches_given() == 10) break;
  }
  levin::Map position = loader.state();  // goes into a checkpoint
  levin::DataLoader resumed(waves, {.batch_size = 50, .shuffle = true});
  resumed.load_state(position);
  auto eleventh = resumed.next();
  EXPECT_EQ(seen, 500);
  EXPECT_EQ(resumed.batches_given(), 11);
  EXPECT_TRUE(torch::equal((*eleventh)[0], (*loader.next())[0]));

  std::ofstream("numbers.txt") << "1 2 3 4 5";
  levin::DataLoader lines(levin::IterableDataset(std::make_shared<Lines>()), {.batch_size = 2});
  EXPECT_FALSE(lines.has_size());
  int64_t batches = 0;
  for ([[maybe_unused]] const auto& batch : lines) ++batches;
  EXPECT_EQ(batches, 3);
}

TEST_F(DataDocs, SamplersAndCombining) {
  levin::TensorDataset labelled({torch::randn({100, 4}), torch::randint(3, {100})});
  levin::TensorDataset unlabelled({torch::randn({1000, 4})});
  std::vector<double> weights(100, 1.0);
  weights[7] = 20;
  levin::DataLoader few(labelled, {.batch_size = 10, .sampler = levin::WeightedRandomSampler(weights, 100)});
  levin::DataLoader many(unlabelled, {.batch_size = 50, .shuffle = true});
  levin::CombinedLoader both({{"labelled", few}, {"unlabelled", many}}, {.mode = levin::CombineMode::max_size_cycle});
  int64_t samples = 0;
  for (const auto& batch : both) {
    auto [x, y] = batch.part("labelled").unpack<2>();
    auto u = batch.part("unlabelled")[0];
    samples += x.size(0) + u.size(0);
  }
  EXPECT_EQ(samples, 20 * 60);
  EXPECT_EQ(both.size(), 20);

  std::vector<int64_t> lengths(100, 5);
  levin::DataLoader by_length(labelled, {.batch_sampler = levin::BucketBatchSampler(lengths, {.max_tokens = 50}),
                                         .collate_fn = levin::PadCollate()});
  EXPECT_EQ(by_length.size(), 10);
}

TEST_F(DataDocs, Augmentation) {
  levin::TensorDataset pictures({torch::randint(256, {40, 3, 32, 32}, torch::kByte), torch::randint(10, {40})});
  levin::DataLoader loader(pictures, {.batch_size = 8,
                                      .shuffle = true,
                                      .num_workers = 2,
                                      .transform = levin::Compose{levin::RandomCrop({.size = {32, 32}, .padding = 4}),
                                                                  levin::RandomHorizontalFlip(), levin::ToFloat(),
                                                                  levin::Normalize({0.5, 0.5, 0.5}, {0.25, 0.25, 0.25}),
                                                                  levin::CutMix({.alpha = 1.0, .num_classes = 10})}});
  auto batch = *loader.next();
  EXPECT_EQ(batch[1].sizes(), (std::vector<int64_t>{8, 10}));
}

TEST_F(DataDocs, Files) {
  auto x = torch::rand({10, 3}), y = torch::arange(10);
  levin::write_npz("data.npz", {{"x", x}, {"y", y}});
  levin::TensorDataset arrays(levin::read_npz("data.npz"));
  levin::write_npy("large.npy", x);
  auto mapped = levin::read_npy("large.npy", {.mmap = true});
  EXPECT_TRUE(torch::equal(mapped, x));

  std::string text = "To be, or not to be, that is the question";
  levin::Vocabulary vocabulary(text);
  levin::TextWindows windows(vocabulary.encode(text), {.length = 16});
  EXPECT_EQ(vocabulary.decode(windows.get(3)["x"]), text.substr(3, 16));
}

}  // namespace
