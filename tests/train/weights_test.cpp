// Weights in and out of files: formats, partial and renamed loading, modules built again from their hyperparameters.
#include "train/interop_net.h"
#include "train/toy.h"

#include <levin/core/json.h>
#include <levin/core/rng.h>
#include <levin/train/checkpoint.h>
#include <levin/train/checkpoint_io/safetensors.h>
#include <levin/train/checkpoint_io/torch_file.h>

#include <gtest/gtest.h>

#include <fstream>

namespace levin {
namespace {

namespace fs = std::filesystem;
using testing::InteropNet;
using testing::TempDir;

std::string golden(const std::string& name) {
  return (fs::path(LEVIN_SOURCE_DIR) / "tests/golden/checkpoint" / name).string();
}

std::string read_bytes(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::string message(const std::function<void()>& run) {
  try {
    run();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

void expect_says(const std::string& text, std::initializer_list<const char*> parts) {
  for (const char* part : parts) EXPECT_NE(text.find(part), std::string::npos) << part << " is not in: " << text;
}

// --- safetensors

TEST(Safetensors, ReadsWhatPythonWrote) {
  const auto file = load_safetensors(golden("weights.safetensors"));
  const auto& t = file.tensors;
  EXPECT_EQ(file.metadata.size(), 2u);
  EXPECT_EQ(file.metadata.get<std::string>("format"), "pt");
  EXPECT_EQ(file.metadata.get<std::string>("by"), "grüß");
  EXPECT_EQ(t.size(), 8u);
  EXPECT_TRUE(at::equal(t.at("a").as_tensor(), at::arange(6, at::kFloat).reshape({2, 3})));
  EXPECT_TRUE(at::equal(t.at("half").as_tensor(), torch::tensor({0.5, -2.0}, at::kHalf)));
  EXPECT_TRUE(at::equal(t.at("bf").as_tensor(), torch::full({1, 1}, 1.5, at::kBFloat16)));
  EXPECT_TRUE(at::equal(t.at("flags").as_tensor(), torch::tensor({true, false, true})));
  EXPECT_EQ(t.at("long").as_tensor().dim(), 0);
  EXPECT_EQ(t.at("long").as_tensor().item<int64_t>(), 7);
  EXPECT_EQ(t.at("empty").as_tensor().sizes(), (std::vector<int64_t>{0, 3}));
  EXPECT_TRUE(at::equal(t.at("byte").as_tensor(), torch::tensor({1, 255}, at::kByte)));
  EXPECT_EQ(t.at("double").as_tensor().item<double>(), 0.1);
}

TEST(Safetensors, RoundTripsAndKeepsTheFileWholeOnErrors) {
  TempDir dir;
  const auto file = load_safetensors(golden("weights.safetensors"));
  PickleDict more = file.tensors;
  more.append("view", at::arange(12, at::kFloat).reshape({3, 4}).t());
  save_safetensors(dir / "x.safetensors", more, file.metadata);
  const auto again = load_safetensors(dir / "x.safetensors");
  EXPECT_EQ(again.metadata, file.metadata);
  EXPECT_EQ(again.tensors.size(), more.size());
  for (const auto& [name, value] : more) EXPECT_EQ(again.tensors.at(name.as_string()), value) << name.as_string();
  const std::string bytes = read_bytes(dir / "x.safetensors");
  EXPECT_THROW(save_safetensors(dir / "x.safetensors", {{"a", at::ones(2)}, {"b", "text"}}), Error);
  EXPECT_THROW(save_safetensors(dir / "x.safetensors", {{"a", at::ones({2, 2}).to_sparse()}}), Error);
  EXPECT_EQ(read_bytes(dir / "x.safetensors"), bytes);
}

std::string safetensors(const std::string& header, std::size_t data) {
  const std::uint64_t size = header.size();
  return std::string(reinterpret_cast<const char*>(&size), 8) + header + std::string(data, '\1');
}

TEST(Safetensors, RefusesWhatDoesNotAddUp) {
  TempDir dir;
  const auto load = [&](const std::string& bytes) {
    std::ofstream(dir / "bad.safetensors", std::ios::binary) << bytes;
    return message([&] { load_safetensors(dir / "bad.safetensors"); });
  };
  const std::string a = R"("a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]})";
  EXPECT_EQ(load(safetensors("{" + a + "}", 8)), "no error");
  EXPECT_EQ(load(safetensors("{" + a + "}   ", 8)), "no error");
  const std::vector<std::pair<std::string, const char*>> bad = {
      {"", "no safetensors file"},
      {"1234567", "no safetensors file"},
      {safetensors("[]", 0), "no JSON object"},
      {safetensors("{" + a, 8), "bad.safetensors"},
      {safetensors("{" + a + "}", 7), "outside of the file"},
      {safetensors("{" + a + "}", 9), "belong to no tensor"},
      {safetensors("{" + a + R"(,"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}})", 12), "overlap"},
      {safetensors("{" + a + R"(,"b":{"dtype":"F32","shape":[1],"data_offsets":[12,16]}})", 16), "hole"},
      {safetensors(R"({"a":{"dtype":"F33","shape":[2],"data_offsets":[0,8]}})", 8), "unknown dtype"},
      {safetensors(R"({"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}})", 8), "contradict"},
      {safetensors(R"({"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}})", 8), "negative"},
      {safetensors(R"({"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,8]}})", 8), "larger than"},
      {safetensors(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}})", 8), "no range"},
      {safetensors(R"({"a":{"dtype":"F32","shape":[2]}})", 8), "data_offsets"},
      {safetensors(R"({"a":7})", 8), "something else than an object"},
      {safetensors(R"({"__metadata__":{"x":1}})", 0), "bad.safetensors"},
      {std::string("\xff\xff\xff\xff\xff\xff\xff\x7f{}", 10), "no safetensors file"},
  };
  for (const auto& [bytes, says] : bad) expect_says(load(bytes), {says, "bad.safetensors"});
}

// Flips, cuts and repeats bytes of the header; each must load or throw Error, and nothing else. Fixed seed.
TEST(Safetensors, MutatedFilesNeverCrash) {
  TempDir dir;
  const std::string whole = read_bytes(golden("weights.safetensors"));
  int refused = 0;
  constexpr int runs = 3000;
  for (std::uint64_t i = 0; i < runs; ++i) {
    Rng rng(19, "safetensors", i);
    std::string bytes = whole;
    for (auto n = 1 + rng.below(3); n > 0 && !bytes.empty(); --n) {
      const auto at = rng.below(bytes.size());
      switch (rng.below(4)) {
        case 0: bytes[at] = static_cast<char>(rng.below(256)); break;
        case 1: bytes[at] = static_cast<char>('0' + rng.below(10)); break;
        case 2: bytes.erase(at, 1 + rng.below(3)); break;
        default: bytes.insert(at, bytes.substr(at, rng.below(9)));
      }
    }
    std::ofstream(dir / "fuzz.safetensors", std::ios::binary) << bytes;
    try {
      load_safetensors(dir / "fuzz.safetensors");
    } catch (const Error&) {
      ++refused;
    }
  }
  EXPECT_GT(refused, runs / 2);
  EXPECT_LT(refused, runs);  // a changed number in the data is no damage
}

// --- into modules

struct Small : torch::nn::Module {
  Small() {
    body = register_module("body", torch::nn::Linear(2, 3));
    head = register_module("head", torch::nn::Linear(3, 1));
  }
  torch::nn::Linear body{nullptr}, head{nullptr};
};

PickleDict small_weights(const std::string& prefix = "") {
  PickleDict weights;
  weights.append(prefix + "body.weight", at::full({3, 2}, 1.0));
  weights.append(prefix + "body.bias", at::full({3}, 2.0));
  weights.append(prefix + "head.weight", at::full({1, 3}, 3.0));
  weights.append(prefix + "head.bias", at::full({1}, 4.0));
  return weights;
}

TEST(LoadStateDict, ReportsEveryName) {
  Small model;
  EXPECT_EQ(load_state_dict(model, small_weights()).to_string(), "all 4 tensors loaded");
  EXPECT_TRUE(at::equal(model.head->bias, at::full({1}, 4.0)));

  PickleDict other = small_weights();
  other["head.weight"] = at::zeros({5, 3});
  other.append("heda.bias", at::zeros({1}));
  PickleDict without;
  for (const auto& [name, value] : other) {
    if (name.as_string() != "head.bias") without.append(name, value);
  }
  without["body.bias"] = at::full({3}, 9.0);
  expect_says(
      message([&] { load_state_dict(model, without, {.where = "some.ckpt"}); }),
      {"another model", "head.weight ([5, 3] in the file, [1, 3] in the module)",
       "missing: head.bias (did you mean \"heda.bias\"", "unexpected: heda.bias", "some.ckpt", ".strict = false"});
  EXPECT_TRUE(at::equal(model.body->bias, at::full({3}, 2.0)));  // nothing was changed

  const auto report = load_state_dict(model, without, {.strict = false});
  EXPECT_EQ(report.loaded, (std::vector<std::string>{"body.weight", "body.bias"}));
  EXPECT_EQ(report.missing, std::vector<std::string>{"head.bias"});
  EXPECT_EQ(report.unexpected, std::vector<std::string>{"heda.bias"});
  ASSERT_EQ(report.misshaped.size(), 1u);
  EXPECT_EQ(report.misshaped[0].in_file, (std::vector<int64_t>{5, 3}));
  EXPECT_EQ(report.misshaped[0].in_module, (std::vector<int64_t>{1, 3}));
  EXPECT_TRUE(at::equal(model.body->bias, at::full({3}, 9.0)));
  EXPECT_TRUE(at::equal(model.head->bias, at::full({1}, 4.0)));
}

TEST(LoadStateDict, RenamesAndIgnores) {
  Small model;
  expect_says(message([&] { load_state_dict(model, small_weights("model.")); }),
              {"begin with \"model.\"", ".rename = {{\"model.\", \"\"}}"});
  EXPECT_TRUE(load_state_dict(model, small_weights("model."), {.rename = {{"model.", ""}}}).complete());
  struct Outer : torch::nn::Module {
    Outer() { inner = register_module("inner", std::make_shared<Small>()); }
    std::shared_ptr<Small> inner;
  } outer;
  expect_says(message([&] { load_state_dict(outer, small_weights()); }), {"in the module begin with \"inner.\""});
  EXPECT_TRUE(load_state_dict(outer, small_weights(), {.rename = {{"", "inner."}}}).complete());
  EXPECT_TRUE(at::equal(outer.inner->body->bias, at::full({3}, 2.0)));

  Small fresh;
  const auto before = fresh.head->weight.detach().clone();
  const auto report = load_state_dict(fresh, small_weights(), {.ignore = {"head.*"}});
  EXPECT_TRUE(report.complete());
  EXPECT_EQ(report.loaded.size(), 2u);
  EXPECT_TRUE(at::equal(fresh.head->weight, before));
  expect_says(message([&] {
                load_state_dict(fresh, small_weights(), {.rename = {{"head.weight", "body.weight"}}});
              }),
              {"two weights", "body.weight"});
}

TEST(LoadStateDict, CastsOnlyWhenAsked) {
  Small model;
  PickleDict half;
  for (const auto& [name, value] : small_weights()) half.append(name, value.as_tensor().to(at::kHalf));
  expect_says(message([&] { load_state_dict(model, half); }),
              {"other dtypes", "body.weight (float16 in the file, float32 in the module)", "LoadOptions::cast"});
  const auto report = load_state_dict(model, half, {.cast = true});
  EXPECT_EQ(report.cast.size(), 4u);
  EXPECT_EQ(model.body->weight.scalar_type(), at::kFloat);
  EXPECT_TRUE(at::equal(model.body->weight, at::full({3, 2}, 1.0)));
}

TEST(LoadWeights, FromEveryKindOfFile) {
  TempDir dir;
  Small model;
  load_state_dict(model, small_weights());
  save_weights(model, dir / "w.pt");
  save_weights(model, dir / "w.safetensors");
  save_torch_file(dir / "w.ckpt", PickleDict{{"state_dict", state_dict(model)}, {"epoch", 1}});
  fs::copy(dir / "w.safetensors", dir / "no_ending");
  for (const char* name : {"w.pt", "w.safetensors", "w.ckpt", "no_ending"}) {
    Small other;
    EXPECT_TRUE(load_weights(other, dir / name).complete()) << name;
    EXPECT_TRUE(at::equal(other.body->weight, model.body->weight)) << name;
  }
  expect_says(message([&] { load_weights(dir / "none.pt"); }), {"cannot be opened", "none.pt"});
}

// --- from hyperparameters

TEST(LoadFromCheckpoint, BuildsTheModuleThatLightningSaved) {
  for (const char* optimizer : {"Adam", "AdamW", "SGD"}) {
    const std::string path = golden("lightning_" + std::string(optimizer) + "_mid.ckpt");
    const auto net = load_from_checkpoint<InteropNet>(path);
    EXPECT_EQ(net->optimizer, optimizer);
    EXPECT_EQ(net->hparams().get<std::int64_t>("width"), 4);
    EXPECT_TRUE(at::equal(net->net->parameters()[0],
                          load_checkpoint(path).at("state_dict").as_dict().at("net.0.weight").as_tensor()));
    EXPECT_EQ(load_from_checkpoint<InteropNet>(path, {{"optimizer", "SGD"}})->optimizer, "SGD");
    expect_says(message([&] {
                  load_from_checkpoint<InteropNet>(path, {{"width", 5}});
                }),
                {"another model", "net.0.weight ([4, 3] in the file, [5, 3] in the module)", path.c_str()});
  }
}

TEST(LoadFromCheckpoint, SaysWhatIsMissing) {
  TempDir dir;
  Small model;
  save_weights(model, dir / "bare.pt");
  expect_says(message([&] { load_from_checkpoint<InteropNet>(dir / "bare.pt"); }),
              {"no hyperparameters", "save_hyperparameters", "bare.pt"});
  expect_says(message([&] {
                load_from_checkpoint<InteropNet>(dir / "bare.pt", {{"optimizer", "SGD"}});
              }),
              {"cannot be built", "width", "bare.pt", "load_from_checkpoint"});
  EXPECT_TRUE(at::equal(load_from_checkpoint<Small>(dir / "bare.pt")->body->weight, model.body->weight));
  expect_says(message([&] { load_from_checkpoint<Small>(golden("lightning_SGD_mid.ckpt")); }),
              {"cannot be made from hyperparameters", "width"});
  struct Made : Small {
    static std::shared_ptr<Made> from_hparams(const Map& hparams) {
      auto made = std::make_shared<Made>();
      made->factor = hparams.get<double>("factor");
      return made;
    }
    double factor = 0;
  };
  EXPECT_EQ(load_from_checkpoint<Made>(dir / "bare.pt", {{"factor", 0.5}})->factor, 0.5);
}

// --- fits that Lightning began

TEST(LightningFiles, AFitGoesOnWhereLightningStopped) {
  const Map expected = parse_json(read_bytes(golden("lightning_fit.json"))).as_map().at("fits").as_map();
  for (const char* optimizer : {"Adam", "AdamW", "SGD"}) {
    for (const char* where : {"mid", "end"}) {
      SCOPED_TRACE(std::string(optimizer) + " " + where);
      InteropNet net({{"optimizer", optimizer}, {"width", 4}});
      Trainer trainer(testing::quiet(testing::kInteropEpochs));
      trainer.fit(net, testing::interop_data(),
                  {.ckpt_path = golden("lightning_" + std::string(optimizer) + "_" + where + ".ckpt")});
      const Map& wanted = expected.at(optimizer).as_map();
      EXPECT_EQ(trainer.global_step(), wanted.get<std::int64_t>("global_step"));
      EXPECT_EQ(trainer.total_batches(), 15);
      EXPECT_DOUBLE_EQ(trainer.optimizer().param_groups()[0].lr, wanted.get<double>("lr"));
      for (const auto& [name, value] : state_dict(net)) {
        std::vector<double> numbers;
        for (const Value& v : wanted.at("weights").as_map().at(name.as_string()).as_list())
          numbers.push_back(v.as_double());
        const auto want = torch::tensor(numbers, at::kFloat).reshape(value.as_tensor().sizes());
        EXPECT_TRUE(at::allclose(value.as_tensor(), want, 1e-5, 1e-6)) << name.as_string();
      }
    }
  }
}

}  // namespace
}  // namespace levin
