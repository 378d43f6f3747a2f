// PyTorch files: what Python wrote is read, what we write is read by Python, and damage is an error.
#include <levin/core/error.h>
#include <levin/core/rng.h>
#include <levin/optim/adam.h>
#include <levin/optim/lr_scheduler.h>
#include <levin/optim/optimizer_impl.h>
#include <levin/optim/sgd.h>
#include <levin/train/checkpoint_io/checkpoint_writer.h>
#include <levin/train/checkpoint_io/optimizer_pickle.h>
#include <levin/train/checkpoint_io/pickle.h>
#include <levin/train/checkpoint_io/torch_file.h>

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <chrono>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <limits>
#include <sys/resource.h>
#include <unistd.h>

namespace levin {
namespace {

namespace fs = std::filesystem;

fs::path golden(const std::string& name) { return fs::path(LEVIN_SOURCE_DIR) / "tests/golden/torch_file" / name; }

class TorchFile : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / ("levin_torch_file_" + std::to_string(::getpid()));
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  fs::path path(const std::string& name) const { return folder_ / name; }
  PickleValue round_trip(const PickleValue& value) const {
    save_torch_file(path("x.pt"), value);
    return load_torch_file(path("x.pt"));
  }
  void write(const std::string& name, std::string_view bytes) const {
    std::ofstream(path(name), std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  }

  fs::path folder_;
};
using TorchFileDamage = TorchFile;
using TorchFileInterop = TorchFile;

std::string read_bytes(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::string message(const std::function<void()>& run) {
  try {
    run();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

at::Tensor f32(std::vector<double> values) { return torch::tensor(values, at::kFloat); }

TEST_F(TorchFile, ReadsAModelsStateDict) {
  const auto file = load_torch_file(golden("state_dict.pt"));
  const auto& state = file.as_dict();
  EXPECT_TRUE(state.ordered);
  std::vector<std::string> keys;
  for (const auto& [key, value] : state) keys.push_back(key.as_string());
  EXPECT_EQ(keys, (std::vector<std::string>{"0.weight", "0.bias", "1.weight", "1.bias", "1.running_mean",
                                            "1.running_var", "1.num_batches_tracked"}));
  EXPECT_TRUE(at::equal(state.at("0.weight").as_tensor(), at::arange(6, at::kFloat).reshape({3, 2})));
  EXPECT_TRUE(at::equal(state.at("1.bias").as_tensor(), f32({30, 31, 32})));
  EXPECT_EQ(state.at("1.num_batches_tracked").as_tensor().scalar_type(), at::kLong);
  EXPECT_NE(message([&] { state.at("0.wieght"); }).find("did you mean \"0.weight\"?"), std::string::npos);
}

TEST_F(TorchFile, ReadsAnOptimizersState) {
  const auto file = load_torch_file(golden("optimizer.pt"));
  EXPECT_EQ(file.as_dict().at("epoch").as_int(), 3);
  const auto state = optimizer_state_from_pickle(file.as_dict().at("optimizer_states").as_list()[0]);
  EXPECT_EQ(state.state.size(), 1u);
  EXPECT_EQ(state.find(0, "step").item<float>(), 1);
  EXPECT_TRUE(at::allclose(state.find(0, "exp_avg"), at::full({3, 2}, 0.1)));
  EXPECT_EQ(state.param_groups[0].get<double>("lr"), 0.5);

  torch::nn::Sequential net(torch::nn::Linear(2, 3), torch::nn::BatchNorm1d(3));
  optim::AdamW adamw(net->parameters());
  adamw.load_state_dict(state);
  EXPECT_EQ(optimizer_state_to_pickle(adamw.state_dict()), file.as_dict().at("optimizer_states").as_list()[0]);
}

TEST_F(TorchFile, ReadsEveryKindOfValue) {
  const auto file = load_torch_file(golden("zoo.pt"));
  const auto& zoo = file.as_dict();
  EXPECT_TRUE(zoo.at("none").is_none());
  EXPECT_TRUE(zoo.at("true").as_bool());
  EXPECT_FALSE(zoo.at("false").as_bool());
  EXPECT_EQ(zoo.at("float").as_double(), 0.1);
  EXPECT_TRUE(std::isinf(zoo.at("inf").as_double()));
  EXPECT_TRUE(std::isnan(zoo.at("nan").as_double()));
  const std::vector<int64_t> ints = {0,
                                     255,
                                     256,
                                     65535,
                                     65536,
                                     -1,
                                     2147483647,
                                     -2147483648,
                                     2147483648,
                                     std::numeric_limits<int64_t>::min(),
                                     std::numeric_limits<int64_t>::max()};
  ASSERT_EQ(zoo.at("ints").as_list().size(), ints.size());
  for (size_t i = 0; i < ints.size(); ++i) EXPECT_EQ(zoo.at("ints").as_list()[i].as_int(), ints[i]);
  EXPECT_EQ(zoo.at("text").as_string(), "grüß 你好 😀");
  EXPECT_EQ(zoo.at("empty").as_string(), "");
  EXPECT_EQ(zoo.at("bytes").as_bytes().data, std::string("\x00\x7f\x80\xff", 4));
  EXPECT_EQ(zoo.at("no_bytes").as_bytes().data, "");
  EXPECT_EQ(zoo.at("bytearray").as_bytes().data, "ab\xff");
  EXPECT_EQ(zoo.at("tuple"), (PickleTuple{{1, PickleTuple{{2}}, PickleTuple{}}}));
  EXPECT_EQ(zoo.at("one"), PickleList{1});
  const auto& nested = zoo.at("nested").as_dict();
  ASSERT_EQ(nested.size(), 4u - 1u);  // True is the key 1 again
  EXPECT_EQ(nested.find(1)->as_string(), "t");
  EXPECT_EQ(zoo.at("size").as_size().sizes, (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(zoo.at("device").as_device(), at::Device("cuda:1"));
  EXPECT_EQ(zoo.at("cpu").as_device(), at::Device("cpu"));
  EXPECT_EQ(zoo.at("dtype").as_dtype(), at::kBFloat16);
  EXPECT_EQ(zoo.at("ordered").as_dict().begin()->first.as_string(), "b");
  EXPECT_TRUE(zoo.at("parameter").as_tensor().requires_grad());
  EXPECT_TRUE(at::equal(zoo.at("parameter").as_tensor().detach(), f32({1.5, -2})));
  EXPECT_FALSE(zoo.at("frozen").as_tensor().requires_grad());

  const auto base = at::arange(12, at::kFloat).reshape({3, 4});
  EXPECT_TRUE(at::equal(zoo.at("base").as_tensor(), base));
  EXPECT_TRUE(at::equal(zoo.at("row").as_tensor(), base[1]));
  EXPECT_TRUE(at::equal(zoo.at("transposed").as_tensor(), base.t()));
  EXPECT_EQ(zoo.at("transposed").as_tensor().strides(), base.t().strides());
  EXPECT_TRUE(at::equal(zoo.at("column").as_tensor(), base.select(1, 2)));
  for (const auto* name : {"row", "transposed", "column", "same"}) {
    EXPECT_TRUE(zoo.at(name).as_tensor().is_alias_of(zoo.at("base").as_tensor())) << name;
  }
  EXPECT_EQ(zoo.at("scalar").as_tensor().dim(), 0);
  EXPECT_EQ(zoo.at("scalar").as_tensor().item<double>(), 7);
  EXPECT_EQ(zoo.at("nothing").as_tensor().sizes(), (at::IntArrayRef{0, 3}));
  EXPECT_TRUE(at::equal(zoo.at("expanded").as_tensor(), f32({4, 4, 4})));
  EXPECT_EQ(zoo.at("f64").as_tensor().item<double>(), 1.0 / 3);
  EXPECT_TRUE(at::equal(zoo.at("f16").as_tensor(), f32({0.5, 65504}).to(at::kHalf)));
  EXPECT_TRUE(at::equal(zoo.at("bf16").as_tensor(), f32({1.5, -3}).to(at::kBFloat16)));
  EXPECT_TRUE(at::equal(zoo.at("i64").as_tensor(), torch::tensor({int64_t{1} << 40, int64_t{-1}}, at::kLong)));
  EXPECT_TRUE(at::equal(zoo.at("i32").as_tensor(), torch::tensor({7, -7}, at::kInt)));
  EXPECT_TRUE(at::equal(zoo.at("i16").as_tensor(), torch::tensor({300, -300}, at::kShort)));
  EXPECT_TRUE(at::equal(zoo.at("i8").as_tensor(), torch::tensor({-128, 127}, at::kChar)));
  EXPECT_TRUE(at::equal(zoo.at("u8").as_tensor(), torch::tensor({0, 255}, at::kByte)));
  EXPECT_TRUE(at::equal(zoo.at("bool").as_tensor(), torch::tensor({true, false, true})));
  EXPECT_EQ(zoo.at("c64").as_tensor().scalar_type(), at::kComplexFloat);
  EXPECT_EQ(zoo.at("u16").as_tensor().to(at::kInt).item<int>(), 65535);

  const auto again = round_trip(file);
  EXPECT_EQ(again, file);
  EXPECT_TRUE(again.as_dict().at("row").as_tensor().is_alias_of(again.as_dict().at("base").as_tensor()));
}

TEST_F(TorchFile, SaysWhyAFileIsRefused) {
  auto load = [](const fs::path& path) { return message([&] { load_torch_file(path); }); };
  EXPECT_NE(load(golden("needs_code.pt")).find("needs code to be executed to load \"__main__.Custom\""),
            std::string::npos);
  EXPECT_NE(load(golden("sparse.pt")).find("_rebuild_sparse_tensor"), std::string::npos);
  EXPECT_NE(load(golden("old_format.pt")).find("old format"), std::string::npos);
  EXPECT_NE(load(golden("script.pt")).find("TorchScript"), std::string::npos);
  EXPECT_NE(load(path("missing.pt")).find("cannot be opened"), std::string::npos);
  EXPECT_NE(load(path("missing.pt")).find("missing.pt"), std::string::npos);
  EXPECT_NE(load(folder_).find("cannot be opened"), std::string::npos);
  write("text.pt", "hello, world");
  EXPECT_NE(load(path("text.pt")).find("not a zip archive"), std::string::npos);
  write("empty.pt", "");
  EXPECT_NE(load(path("empty.pt")).find("not a zip archive"), std::string::npos);
}

TEST_F(TorchFile, ViewsBringOnlyWhatTheySpan) {
  auto arena = at::arange(100000, at::kFloat);
  auto a = arena.slice(0, 1000, 1010).view({2, 5}), b = arena.slice(0, 50000, 50004);
  auto column = at::arange(100000, at::kFloat).view({1000, 100}).select(1, 7);
  const auto out = round_trip(PickleList{a, b, column});
  EXPECT_LT(fs::file_size(path("x.pt")), 12000u);
  EXPECT_TRUE(at::equal(out.as_list()[0].as_tensor(), a));
  EXPECT_TRUE(at::equal(out.as_list()[1].as_tensor(), b));
  EXPECT_TRUE(at::equal(out.as_list()[2].as_tensor(), column));
  EXPECT_FALSE(out.as_list()[0].as_tensor().is_alias_of(out.as_list()[1].as_tensor()));
}

TEST_F(TorchFile, OverlappingTensorsStayShared) {
  auto whole = at::arange(10, at::kFloat);
  const auto out =
      round_trip(PickleList{whole.slice(0, 2, 6), whole.slice(0, 5, 9), whole.slice(0, 9, 10), whole.slice(0, 2, 6)});
  const auto& list = out.as_list();
  auto first = list[0].as_tensor();
  first.fill_(-1);
  EXPECT_TRUE(at::equal(list[1].as_tensor(), f32({-1, 6, 7, 8})));
  EXPECT_TRUE(at::equal(list[2].as_tensor(), f32({9})));
  EXPECT_TRUE(at::equal(list[3].as_tensor(), f32({-1, -1, -1, -1})));
  // The same memory seen as two types is two storages: PyTorch's readers know a storage by one type.
  const auto bits = round_trip(PickleList{whole, whole.view(at::kInt)});
  EXPECT_TRUE(at::equal(bits.as_list()[1].as_tensor(), whole.view(at::kInt)));
}

TEST_F(TorchFile, WritesPlainMemoryOfConjugates) {
  const auto z = at::complex(f32({1, 2}), f32({3, -4}));
  const auto out = round_trip(PickleList{z, z.conj(), at::imag(z.conj())});
  EXPECT_TRUE(at::equal(out.as_list()[1].as_tensor(), z.conj().resolve_conj()));
  EXPECT_TRUE(at::equal(out.as_list()[2].as_tensor(), f32({-3, 4})));
}

TEST_F(TorchFile, RefusesToWriteWhatCannotBeRead) {
  auto save = [&](const PickleValue& value) { return message([&] { save_torch_file(path("x.pt"), value); }); };
  EXPECT_NE(save(at::ones({2, 2}).to_sparse()).find("cannot be written"), std::string::npos);
  EXPECT_NE(save(at::Tensor()).find("undefined"), std::string::npos);
  EXPECT_NE(save("caf\xe9").find("not UTF-8"), std::string::npos);
  EXPECT_NE(save("\xed\xa0\x80").find("not UTF-8"), std::string::npos);
  EXPECT_FALSE(fs::exists(path("x.pt")));
  PickleValue deep;
  for (int i = 0; i < 300; ++i) deep = PickleList{deep};
  EXPECT_NE(save(deep).find("levels"), std::string::npos);
  EXPECT_THROW((PickleDict{{PickleList{}, 1}}), Error);
  EXPECT_THROW(save_torch_file(path("no/such/folder.pt"), 1), Error);
}

TEST_F(TorchFile, AFailedWriteLeavesTheOldFile) {
  save_torch_file(path("x.pt"), "old");
  EXPECT_THROW(save_torch_file(path("x.pt"), PickleList{1, at::Tensor()}), Error);
  EXPECT_EQ(load_torch_file(path("x.pt")).as_string(), "old");
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_), {}), 1);
}

TEST_F(TorchFile, ValuesGoThereAndBack) {
  const Map map = {{"lr", 0.1}, {"n", 3}, {"name", "x"}, {"none", nullptr}, {"list", List{1, 2.5, Map{{"a", true}}}}};
  EXPECT_EQ(round_trip(map).to_value(), Value(map));
  EXPECT_EQ(PickleValue(PickleTuple{{1, 2}}).to_value(), Value(List{1, 2}));
  EXPECT_THROW(PickleValue(at::ones({1})).to_value(), Error);
  EXPECT_EQ(PickleValue(PickleDict{{1, 2}}).to_value(), Value(Map{{"1", 2}}));  // the keys of a Map are strings
  EXPECT_NE(message([] { PickleValue("x").as_int(); }).find("expected an int but found str"), std::string::npos);
}

// A random value of at most `depth` levels.
PickleValue random_value(Rng& rng, int depth) {
  const auto sizes = [&] {
    std::vector<int64_t> out(rng.below(4));
    for (auto& size : out) size = static_cast<int64_t>(rng.below(5));
    return out;
  };
  const auto text = [&] {
    std::string out;
    for (auto n = rng.below(20); n > 0; --n) out += static_cast<char>(rng.below(128));
    return out;
  };
  switch (rng.below(depth > 0 ? 16 : 12)) {
    case 0: return nullptr;
    case 1: return rng.below(2) == 0;
    case 2: return static_cast<int64_t>(rng()) >> rng.below(64);
    case 3: return rng.normal() * std::pow(10, rng.uniform(-300, 300));
    case 4: return text();
    case 5: {
      PickleBytes bytes;
      for (auto n = rng.below(300); n > 0; --n) bytes.data += static_cast<char>(rng.below(256));
      return bytes;
    }
    case 6: return PickleSize{sizes()};
    case 7: return at::kHalf;
    case 8: return at::Device(at::kCPU);
    case 9: {
      constexpr std::array dtypes = {at::kFloat, at::kDouble, at::kHalf, at::kBFloat16,
                                     at::kLong,  at::kByte,   at::kBool};
      return at::ones(sizes(), dtypes[rng.below(dtypes.size())]);
    }
    case 10: {
      auto tensor = at::arange(24, at::kDouble).view({2, 3, 4}).permute({2, 0, 1});
      return tensor.slice(0, static_cast<int64_t>(rng.below(3)), 4).requires_grad_(rng.below(2) == 0);
    }
    case 11: return at::zeros({}, at::kFloat).fill_(rng.normal());
    case 12:
    case 13: {
      PickleList items;
      for (auto n = rng.below(5); n > 0; --n) items.push_back(random_value(rng, depth - 1));
      if (rng.below(2)) return PickleTuple{std::move(items)};
      return items;
    }
    default: {
      PickleDict dict;
      dict.ordered = rng.below(3) == 0;
      for (auto n = rng.below(5); n > 0; --n) {
        const auto value = random_value(rng, depth - 1);
        if (rng.below(3) == 0) {
          dict.set(static_cast<int64_t>(rng.below(1000)), value);
        } else {
          dict.set(text(), value);
        }
      }
      return dict;
    }
  }
}

TEST_F(TorchFile, RandomTreesSurvive) {
  for (uint64_t i = 0; i < 150; ++i) {
    Rng rng(11, "trees", i);
    const auto value = random_value(rng, 5);
    ASSERT_EQ(round_trip(value), value) << "tree " << i;
  }
}

// A pickle alone, with one storage of 4 floats named "0".
PickleValue load_pickle(std::string_view bytes) {
  return read_pickle(bytes, [](const StorageRef& ref) {
    if (ref.key != "0") throw Error("no such storage");
    return at::arange(4, at::kFloat).storage();
  });
}
std::string tensor_pickle(const std::string& offset, const std::string& sizes, const std::string& strides) {
  return std::string("\x80\x02") + "ctorch._utils\n_rebuild_tensor_v2\n((X\x07" + std::string(3, '\0') +
         "storagectorch\nFloatStorage\nX\x01" + std::string(3, '\0') + "0X\x03" + std::string(3, '\0') + "cpuK\x04tQ" +
         offset + sizes + strides + "\x89" + "ccollections\nOrderedDict\n)RtR.";
}

std::int64_t page_faults_of_this_thread() {
  rusage usage{};
  ::getrusage(RUSAGE_THREAD, &usage);
  return usage.ru_minflt;
}

TEST_F(TorchFile, APreparedWriterHasItsMemoryBeforeTheFirstSave) {
  const auto large = torch::arange(std::int64_t{16} << 20, torch::kFloat);  // 64 MB: 32 huge pages, or 16,384
  const PickleDict state{{"large", large}};
  const auto faults_of_save = [&](CheckpointWriter& writer) {
    writer.wait();
    const auto before = page_faults_of_this_thread();
    writer.save(state, {.paths = {path("async.pt")}});
    const auto faults = page_faults_of_this_thread() - before;
    writer.wait();
    EXPECT_TRUE(torch::equal(load_torch_file(path("async.pt")).as_dict().at("large").as_tensor(), large));
    return faults;
  };
  CheckpointWriter unprepared(/*async=*/true), prepared(true), grown(true);
  prepared.prepare(large.nbytes());
  EXPECT_GE(faults_of_save(unprepared), 32);
  EXPECT_LT(faults_of_save(prepared), 32);
  // A state larger than was thought: what is there is kept, the rest comes on top.
  grown.prepare(large.nbytes() - (std::size_t{4} << 20));
  EXPECT_LT(faults_of_save(grown), 1024 + 32);
}

TEST(OptimizerStateBytes, AreKnownBeforeTheFirstStep) {
  const auto bytes = [](optim::Optimizer optimizer, const torch::Tensor& a, const torch::Tensor& b) {
    const auto expected = optimizer.impl()->state_bytes();
    (a.sum() + b.to(torch::kFloat).sum()).backward();
    optimizer.step();
    std::size_t held = 0;
    for (const auto& parameter : optimizer.state_dict().state) {
      for (const auto& [name, tensor] : parameter.second) held += name == "step" ? 0 : tensor.nbytes();
    }
    EXPECT_EQ(expected, held);
    EXPECT_EQ(optimizer.impl()->state_bytes(), held);
    return held;
  };
  const auto one = [&](auto&& optimizer) {
    const auto a = torch::rand({5, 7}).requires_grad_(), b = torch::rand({11}, torch::kDouble).requires_grad_();
    return bytes(optimizer(std::vector<torch::Tensor>{a, b}), a, b);
  };
  using List = std::vector<torch::Tensor>;
  const std::size_t size = 35 * 4 + 11 * 8;
  EXPECT_EQ(one([](const List& p) { return optim::SGD(p, {.lr = 0.1}); }), 0u);
  EXPECT_EQ(one([](const List& p) { return optim::SGD(p, {.lr = 0.1, .momentum = 0.9}); }), size);
  EXPECT_EQ(one([](const List& p) { return optim::Adam(p); }), 2 * size);
  EXPECT_EQ(one([](const List& p) { return optim::Adam(p, {.amsgrad = true}); }), 3 * size);
}

TEST_F(TorchFileDamage, TensorsStayInTheirStorage) {
  EXPECT_TRUE(at::equal(load_pickle(tensor_pickle("K\x01", "K\x03\x85", "K\x01\x85")).as_tensor(), f32({1, 2, 3})));
  const std::string huge = std::string("\x8a\x08") + std::string(7, '\xff') + "\x7f";
  for (const auto& [offset, sizes, strides] : std::vector<std::array<std::string, 3>>{
           {"K\x02", "K\x03\x85", "K\x01\x85"},                            // one too far
           {"J\xff\xff\xff\xff", "K\x03\x85", "K\x01\x85"},                // before it
           {std::string("K\0", 2), "K\x03\x85", "K\x02\x85"},              // strides too wide
           {std::string("K\0", 2), "K\x02\x85", "J\xff\xff\xff\xff\x85"},  // backwards
           {std::string("K\0", 2), "J\xff\xff\xff\xff\x85", "K\x01\x85"},  // negative size
           {huge, "K\x01\x85", "K\x01\x85"},
           {std::string("K\0", 2), huge + "\x85", "K\x01\x85"},
           {std::string("K\0", 2), huge + huge + "\x86", std::string("K\0K\0\x86", 5)},
           {std::string("K\0", 2), "K\x02\x85", huge + "\x85"},
           {std::string("K\0", 2), "K\x02\x85", "K\x01K\x01\x86"}}) {
    EXPECT_THROW(load_pickle(tensor_pickle(offset, sizes, strides)), Error);
  }
}

TEST_F(TorchFileDamage, SmallFilesDoNotUnfoldToLargeOnes) {
  // Lists of ten references to the list before: 10^30 leaves, if they were copied out.
  std::string laughs("\x80\x02]q\x00", 5);
  for (int i = 1; i <= 30; ++i) {
    laughs += "](";
    for (int k = 0; k < 10; ++k) laughs += std::string("h") + static_cast<char>(i - 1);
    laughs += std::string("eq") + static_cast<char>(i);
  }
  // The stack holds all the lists: keep the last.
  laughs = laughs.substr(0, laughs.size()) + "0";
  EXPECT_THROW(load_pickle(laughs), Error);  // POP is no opcode of the subset
  std::string tower("\x80\x02(]q\x00", 6);
  for (int i = 1; i <= 30; ++i) {
    tower += "](";
    for (int k = 0; k < 10; ++k) tower += std::string("h") + static_cast<char>(i - 1);
    tower += std::string("eq") + static_cast<char>(i);
  }
  EXPECT_NE(message([&] { load_pickle(tower + "t."); }).find("unfolds"), std::string::npos);

  // A list that holds itself.
  EXPECT_NE(message([] {
              load_pickle(
                  std::string("\x80\x02]q\x00h\x00"
                              "a.",
                              9));
            }).find("circle"),
            std::string::npos);
  EXPECT_NE(message([] {
              load_pickle("\x80\x02" + std::string(100000, ']') + std::string(99999, 'a') + ".");
            }).find("levels deep"),
            std::string::npos);
  // A long string mentioned a million times.
  std::string echo =
      std::string("\x80\x02(X", 4) + std::string("\0\0\x10\0", 4) + std::string(1 << 20, 'x') + "q" + '\0';
  for (int i = 0; i < 1000000; ++i) echo += std::string("h\0", 2);
  EXPECT_NE(message([&] { load_pickle(echo + "t."); }).find("unfolds"), std::string::npos);
}

TEST_F(TorchFileDamage, UnknownNamesAndOpcodesAreNamed) {
  EXPECT_NE(message([] {
              load_pickle(
                  "\x80\x02"
                  "cos\nsystem\nX\x02" +
                  std::string(3, '\0') + "ls\x85R.");
            }).find("needs code to be executed to load \"os.system\""),
            std::string::npos);
  EXPECT_NE(message([] { load_pickle("\x80\x02i."); }).find("opcode 105"), std::string::npos);
  EXPECT_NE(message([] { load_pickle("\x80\x04N."); }).find("protocol 4"), std::string::npos);
  EXPECT_NE(message([] {
              load_pickle(
                  "\x80\x02"
                  "ctorch\nfloat32\nctorch\nSize\n.");
            }).find("left over"),
            std::string::npos);
}

// Flips, overwrites, cuts and repeats bytes of real files; each must load or throw Error, and nothing else. Fixed seed.
TEST_F(TorchFileDamage, MutatedFilesNeverCrash) {
  const auto start = std::chrono::steady_clock::now();
  const std::vector<std::string> seeds = {read_bytes(golden("zoo.pt")), read_bytes(golden("optimizer.pt")),
                                          read_bytes(golden("state_dict.pt"))};
  int loaded = 0, refused = 0;
  for (uint64_t i = 0; i < 3000; ++i) {
    if (std::chrono::steady_clock::now() - start > std::chrono::seconds(20)) break;
    Rng rng(7, "mutations", i);
    auto bytes = seeds[i % seeds.size()];
    // Half of the damage goes into the pickle itself, which lies near the front.
    const auto reach = rng.below(2) ? bytes.size() : std::min<size_t>(bytes.size(), 3000);
    for (auto n = 1 + rng.below(4); n > 0; --n) {
      const auto at = rng.below(reach);
      switch (rng.below(5)) {
        case 0: bytes[at] = static_cast<char>(bytes[at] ^ (1 << rng.below(8))); break;
        case 1: bytes[at] = static_cast<char>(rng.below(256)); break;
        case 2: bytes[at] = static_cast<char>(rng.below(2) ? 0xff : 0); break;
        case 3:
          if (rng.below(4) == 0) bytes.resize(at);
          break;
        default: bytes.insert(at, bytes.substr(at, rng.below(9)));
      }
      if (bytes.size() < reach) break;
    }
    write("fuzz.pt", bytes);
    try {
      load_torch_file(path("fuzz.pt"));
      ++loaded;
    } catch (const Error&) {
      ++refused;
    }
  }
  EXPECT_GT(loaded + refused, 300);
  EXPECT_GT(refused, loaded);  // the archive's checksums see most of it
}

// The pickle reader by itself, where no checksum stands guard.
TEST_F(TorchFileDamage, MutatedPicklesNeverCrash) {
  const auto tensors =
      PickleDict{{"w", at::arange(4, at::kFloat)}, {"list", PickleList{1, 2.5, "text", PickleTuple{{true, nullptr}}}},
                 {"size", PickleSize{{2, 3}}},     {"bytes", PickleBytes{"a\xff"}},
                 {"big", int64_t{1} << 60},        {"dtype", at::kHalf},
                 {"device", at::Device("cuda:1")}};
  const auto whole = write_pickle(tensors, [](const at::Tensor& tensor) {
    return StoredTensor{.key = "0", .storage_numel = 4, .offset = 0, .strides = tensor.strides().vec()};
  });
  EXPECT_EQ(load_pickle(whole), PickleValue(tensors));
  int refused = 0;
  for (uint64_t i = 0; i < 20000; ++i) {
    Rng rng(13, "pickles", i);
    auto bytes = whole;
    for (auto n = 1 + rng.below(3); n > 0; --n) {
      const auto at = rng.below(bytes.size());
      if (rng.below(3) == 0) {
        bytes.erase(at, 1 + rng.below(3));
      } else {
        bytes[at] = static_cast<char>(rng.below(256));
      }
      if (bytes.empty()) break;
    }
    try {
      load_pickle(bytes);
    } catch (const Error&) {
      ++refused;
    }
  }
  EXPECT_GT(refused, 10000);
  for (size_t length = 0; length < whole.size(); ++length) {
    EXPECT_THROW(load_pickle(std::string_view(whole).substr(0, length)), Error) << length;
  }
}

std::string python() {
  if (const char* given = std::getenv("LEVIN_ORACLE_PYTHON")) return given;
  const auto found = fs::path(LEVIN_SOURCE_DIR) / ".bench-venv/bin/python";
  return fs::exists(found) ? found.string() : "";
}

TEST_F(TorchFileInterop, PythonReadsContinuesAndWritesBack) {
  const auto interpreter = python();
  if (interpreter.empty()) {
    GTEST_SKIP() << "no Python with PyTorch: set LEVIN_ORACLE_PYTHON, or make .bench-venv with the benchmarks' script";
  }
  torch::nn::Linear net(3, 2);
  optim::SGD moved_into_an_arena(net->parameters());
  auto whole = at::arange(12, at::kFloat).view({3, 4});
  PickleDict state_dict;
  state_dict.ordered = true;
  for (const auto& item : net->named_parameters()) state_dict.append(item.key(), item.value().detach());
  PickleDict dtypes;
  for (const auto dtype :
       {at::kFloat, at::kDouble, at::kHalf, at::kBFloat16, at::kLong, at::kInt, at::kShort, at::kChar, at::kByte,
        at::kComplexFloat, at::kComplexDouble, at::kUInt16, at::kFloat8_e5m2}) {
    dtypes.append(std::string(name_of_dtype(dtype)), at::ones({3}).to(dtype));
  }
  PickleDict data = {{"plain", PickleDict{{"none", nullptr},
                                          {"flag", true},
                                          {"int", -5},
                                          {"big", int64_t{1} << 40},
                                          {"float", 0.1},
                                          {"text", "grüß"},
                                          {"list", PickleList{1}},
                                          {"tuple", PickleTuple{{1, PickleTuple{}, PickleList{}}}}}},
                     {"keys", PickleDict{{0, "zero"}, {1.5, "x"}, {nullptr, "none"}, {true, "t"}}},
                     {"bytes", PickleBytes{std::string("\x00\x80\xff", 3)}},
                     {"no_bytes", PickleBytes{}},
                     {"size", PickleSize{{2, 3}}},
                     {"dtype", at::kBFloat16},
                     {"device", at::Device(at::kCPU)},
                     {"state_dict", state_dict},
                     {"shared", PickleList{whole, whole[1]}},
                     {"dtypes", dtypes},
                     {"empty", at::empty({0, 3})},
                     {"scalar", at::full({}, 7.)},
                     {"transposed", at::ones({2, 3}).t()}};

  // Five steps here, saved; five more here and, from the file, in Python.
  PickleDict optimizers;
  auto follow = [&](const std::string& name, const std::function<optim::Optimizer(std::vector<at::Tensor>)>& make) {
    std::vector<at::Tensor> params = {f32({1, -2, 3}).requires_grad_(), f32({0.5, 4}).requires_grad_()};
    auto optimizer = make(params);
    optim::StepLR scheduler(optimizer, {.step_size = 3, .gamma = 0.5});
    auto steps = [&] {
      for (int i = 0; i < 5; ++i) {
        optimizer.zero_grad();
        (params[0].square().sum() + params[1].sin().sum() * params[0].sum()).backward();
        optimizer.step();
        scheduler.step();
      }
    };
    auto values = [&] { return PickleList{params[0].detach().clone(), params[1].detach().clone()}; };
    steps();
    PickleDict c = {{"kind", optimizer.name()},
                    {"params", values()},
                    {"state", optimizer_state_to_pickle(optimizer.state_dict().clone())},
                    {"scheduler", scheduler.state_dict()}};
    steps();
    c["after"] = values();
    c["lr_after"] = optimizer.param_groups()[0].lr;
    optimizers.append(name, c);
    return optimizer;
  };
  const auto sgd = follow("sgd", [](auto p) { return optim::SGD(p, {.lr = 0.05}); });
  follow("momentum", [](auto p) { return optim::SGD(p, {.lr = 0.05, .momentum = 0.9, .nesterov = true}); });
  const auto adam = follow("adam", [](auto p) { return optim::Adam(p, {.lr = 0.1, .weight_decay = 0.1}); });
  follow("adamw", [](auto p) { return optim::AdamW(p, {.lr = 0.1, .amsgrad = true}); });
  data["optimizers"] = optimizers;
  save_torch_file(path("ours.pt"), data);

  const auto script = fs::path(LEVIN_SOURCE_DIR) / "tests/train/torch_file_interop.py";
  const auto command =
      interpreter + " " + script.string() + " " + path("ours.pt").string() + " " + path("theirs.pt").string();
  ASSERT_EQ(std::system(command.c_str()), 0) << command;

  const auto theirs = load_torch_file(path("theirs.pt"));
  for (const auto& [key, value] : data) {
    if (key.as_string() == "optimizers") continue;
    EXPECT_EQ(theirs.as_dict().at(key.as_string()), value) << key.as_string();
  }
  // Python's state after its five steps is the state we reached.
  const auto state =
      optimizer_state_from_pickle(theirs.as_dict().at("optimizers").as_dict().at("adam").as_dict().at("state_after"));
  const auto ours = adam.state_dict();
  for (const auto* name : {"step", "exp_avg", "exp_avg_sq"}) {
    EXPECT_TRUE(at::allclose(state.find(1, name), ours.find(1, name), 1e-5, 1e-6)) << name;
  }
  EXPECT_EQ(state.param_groups[0], ours.param_groups[0]);
  EXPECT_TRUE(sgd.state_dict().state.empty());
}

}  // namespace
}  // namespace levin
