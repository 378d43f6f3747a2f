#include <levin/core/atomic_file.h>
#include <levin/core/error.h>
#include <levin/core/file.h>
#include <levin/core/rng.h>
#include <levin/data/idx.h>
#include <levin/data/image_folder.h>
#include <levin/data/loader.h>
#include <levin/data/npy.h>
#include <levin/data/text.h>

#include <gtest/gtest.h>
#include <torch/torch.h>
#include <zlib.h>

#include <filesystem>
#include <functional>

namespace levin {
namespace {

namespace fs = std::filesystem;

const fs::path kFiles = std::string(LEVIN_SOURCE_DIR) + "/tests/golden/data/files";

class Reader : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "levin_reader_XXXXXX").string();
    folder = ::mkdtemp(pattern.data());
  }
  void TearDown() override { fs::remove_all(folder); }

  // Changes, cuts and lengthens a file at random: every try ends in a tensor or an Error, soon and in little memory.
  void mutate(const std::string& bytes, const fs::path& name, const std::function<void(const fs::path&)>& read,
              int tries = 500) {
    const auto path = folder / name;
    int errors = 0;
    for (int i = 0; i < tries; ++i) {
      Rng rng(1, name.string(), static_cast<std::uint64_t>(i));
      auto changed = bytes;
      const auto changes = 1 + rng.below(4);
      for (std::uint64_t c = 0; c < changes && !changed.empty(); ++c) {
        // Half of the changes go to the first 200 bytes, where the structure is.
        const auto reach = rng.below(2) ? changed.size() : std::min<std::size_t>(changed.size(), 200);
        const auto at = rng.below(reach);
        switch (rng.below(5)) {
          case 0: changed.resize(at); break;
          case 1: changed.insert(at, 1 + rng.below(8), static_cast<char>(rng.below(256))); break;
          case 2: changed[at] = static_cast<char>(0xff); break;
          case 3: changed[at] = static_cast<char>(changed[at] ^ (1 << rng.below(8))); break;
          default: changed[at] = static_cast<char>(rng.below(256));
        }
      }
      write_plainly(path, changed);
      try {
        read(path);
      } catch (const Error&) {
        ++errors;
      }
    }
    EXPECT_GT(errors, tries / 20) << name;
  }

  static void write_plainly(const fs::path& path, const std::string& bytes) {
    std::unique_ptr<FILE, decltype(&fclose)> file(fopen(path.c_str(), "wb"), &fclose);
    fwrite(bytes.data(), 1, bytes.size(), file.get());
  }

  fs::path folder;
};

TEST_F(Reader, NpzOfEveryTypeMatchesNumPy) {
  const auto expected = torch::arange(6).view({2, 3});
  for (const auto* name : {"stored.npz", "deflated.npz"}) {
    const auto arrays = read_npz(kFiles / name);
    EXPECT_EQ(arrays.size(), 21);
    const std::vector<std::pair<std::string, at::ScalarType>> types{
        {"i1", at::kChar},       {"u1", at::kByte},         {"i2", at::kShort},          {"u2", at::kUInt16},
        {"i4", at::kInt},        {"u4", at::kUInt32},       {"i8", at::kLong},           {"u8", at::kUInt64},
        {"f2", at::kHalf},       {"f4", at::kFloat},        {"f8", at::kDouble},         {"big_i4", at::kInt},
        {"big_f8", at::kDouble}, {"c8", at::kComplexFloat}, {"c16", at::kComplexDouble}, {"big_c8", at::kComplexFloat}};
    for (const auto& [key, type] : types) {
      EXPECT_EQ(arrays[key].scalar_type(), type) << key;
      const auto values = arrays[key].is_complex() ? torch::real(arrays[key]) : arrays[key];
      EXPECT_TRUE(torch::equal(values.to(at::kLong), expected)) << key;
    }
    EXPECT_TRUE(torch::equal(arrays["bool"], expected.to(at::kBool)));
    EXPECT_TRUE(torch::equal(arrays["fortran"], torch::arange(24, at::kFloat).view({2, 3, 4})));
    EXPECT_EQ(arrays["scalar"].dim(), 0);
    EXPECT_EQ(arrays["scalar"].item<double>(), 3.5);
    EXPECT_EQ(arrays["empty"].sizes(), (std::vector<int64_t>{0, 4}));
  }
}

TEST_F(Reader, NpyFilesAreReadMappedAndWritten) {
  EXPECT_TRUE(torch::equal(read_npy(kFiles / "version2.npy"), torch::arange(4)));
  for (const bool mmap : {false, true}) {
    EXPECT_TRUE(
        torch::equal(read_npy(kFiles / "fortran.npy", {.mmap = mmap}), torch::arange(24, at::kFloat).view({2, 3, 4})));
  }
  EXPECT_THROW(read_npy(kFiles / "big_endian.npy", {.mmap = true}), Error);
  for (const auto* name : {"objects.npy", "records.npy", "text.npy", "rgb.png", "missing.npy"}) {
    EXPECT_THROW(read_npy(kFiles / name), Error) << name;
  }
  // Written with the very bytes of NumPy.
  write_npy(folder / "again.npy", read_npy(kFiles / "rgb.png.rgb.npy"));
  EXPECT_EQ(read_file(folder / "again.npy"), read_file(kFiles / "rgb.png.rgb.npy"));
  auto mapped = read_npy(folder / "again.npy", {.mmap = true});
  mapped.zero_();  // stays in memory
  EXPECT_TRUE(torch::equal(read_npy(folder / "again.npy"), read_npy(kFiles / "rgb.png.rgb.npy")));
  const Batch arrays{
      {"x", torch::randn({3, 4}).t()}, {"", torch::ones({}, at::kHalf)}, {"mask", torch::ones({2}, at::kBool)}};
  for (const bool compress : {false, true}) {
    write_npz(folder / "some.npz", arrays, {.compress = compress});
    const auto read = read_npz(folder / "some.npz");
    EXPECT_EQ(read.names(), (std::vector<std::string>{"x", "arr_1", "mask"}));
    for (int64_t i = 0; i < 3; ++i) EXPECT_TRUE(torch::equal(read[i], arrays[i]));
  }
  EXPECT_THROW(write_npy(folder / "bfloat.npy", torch::ones({2}, at::kBFloat16)), Error);
}

TEST_F(Reader, DamagedNumPyFilesAreErrors) {
  mutate(
      read_file(kFiles / "fortran.npy"), "m.npy", [](auto& path) { read_npy(path); }, 2000);
  mutate(
      read_file(kFiles / "fortran.npy"), "map.npy", [](auto& path) { read_npy(path, {.mmap = true}).sum(); }, 500);
  mutate(read_file(kFiles / "stored.npz"), "s.npz", [](auto& path) { read_npz(path); });
  mutate(read_file(kFiles / "deflated.npz"), "d.npz", [](auto& path) { read_npz(path); });
  // A header that asks for more than there is must not take the memory first.
  auto bytes = read_file(kFiles / "version2.npy");
  bytes.replace(bytes.find("(4,)"), 4, "(999999999999999,)");
  write_plainly(folder / "huge.npy", bytes);
  EXPECT_THROW(read_npy(folder / "huge.npy"), Error);
}

std::string idx_bytes() {
  std::string bytes{0, 0, 0x0d, 2, 0, 0, 0, 2, 0, 0, 0, 3};
  for (int i = 0; i < 6; ++i) {
    const float value = static_cast<float>(i) + 0.5f;
    char raw[4];
    std::memcpy(raw, &value, 4);
    bytes.append(std::reverse_iterator(raw + 4), std::reverse_iterator(raw));
  }
  return bytes;
}

TEST_F(Reader, IdxFilesPlainAndGzipped) {
  write_plainly(folder / "plain.idx", idx_bytes());
  const auto expected = (torch::arange(6) + 0.5).view({2, 3});
  EXPECT_TRUE(torch::equal(read_idx(folder / "plain.idx"), expected.to(at::kFloat)));
  auto* file = gzopen((folder / "packed.gz").c_str(), "wb");
  const auto bytes = idx_bytes();
  gzwrite(file, bytes.data(), static_cast<unsigned>(bytes.size()));
  gzclose(file);
  EXPECT_TRUE(torch::equal(read_idx(folder / "packed.gz"), expected.to(at::kFloat)));
  EXPECT_THROW(read_idx(kFiles / "rgb.png"), Error);
  EXPECT_THROW(read_idx(folder / "none.idx"), Error);
  write_plainly(folder / "long.idx", bytes + "x");
  EXPECT_THROW(read_idx(folder / "long.idx"), Error);
  mutate(
      bytes, "m.idx", [](auto& path) { read_idx(path); }, 1000);
  mutate(
      read_file(folder / "packed.gz"), "m.gz", [](auto& path) { read_idx(path); }, 1000);
}

TEST_F(Reader, PicturesMatchPillow) {
  for (const auto* name :
       {"rgb.png", "gray.png", "rgba.png", "palette.png", "rgb.jpg", "gray.jpg", "progressive.jpg"}) {
    const auto expected = read_npy(kFiles / (std::string(name) + ".rgb.npy")).to(at::kInt);
    const auto picture = read_image(kFiles / name);
    EXPECT_EQ(picture.scalar_type(), at::kByte);
    ASSERT_EQ(picture.sizes(), expected.sizes()) << name;
    // PNG keeps every bit; JPEG decoders may differ by a step in chroma interpolation.
    const auto allowed = std::string(name).ends_with("png") ? 0 : 2;
    EXPECT_LE((picture.to(at::kInt) - expected).abs().max().item<int>(), allowed) << name;
  }
  EXPECT_EQ(read_image(kFiles / "gray.png", {.mode = ImageMode::gray}).size(0), 1);
  EXPECT_EQ(read_image(kFiles / "rgb.png", {.mode = ImageMode::rgba}).size(0), 4);
  EXPECT_THROW(read_image(kFiles / "rgb.jpg", {.mode = ImageMode::rgba}), Error);
  EXPECT_THROW(read_image(kFiles / "rgb.png", {.max_pixels = 100}), Error);
  EXPECT_THROW(read_image(kFiles / "fortran.npy"), Error);
}

TEST_F(Reader, DamagedPicturesAreErrors) {
  const ReadImageOptions options{.max_pixels = 1 << 20};
  for (const auto* name : {"rgb.png", "palette.png", "rgb.jpg", "progressive.jpg"}) {
    mutate(read_file(kFiles / name), name, [&](auto& path) { read_image(path, options); });
  }
}

TEST_F(Reader, ImageFolderHasOneFolderAClass) {
  fs::create_directories(folder / "dog/deep");
  fs::create_directories(folder / "cat");
  fs::copy(kFiles / "rgb.png", folder / "dog/b.png");
  fs::copy(kFiles / "gray.jpg", folder / "dog/deep/a.JPEG");
  fs::copy(kFiles / "gray.png", folder / "cat/1.png");
  write_plainly(folder / "cat/notes.txt", "not a picture");
  const ImageFolder data(folder, {.size = {{12, 16}}});
  EXPECT_EQ(data.classes(), (std::vector<std::string>{"cat", "dog"}));
  EXPECT_EQ(data.size(), 3);
  EXPECT_TRUE(torch::equal(data.targets(), torch::tensor({0, 1, 1})));
  DataLoader loader(data, {.batch_size = 3, .num_workers = 2});
  const auto batch = *loader.next();
  EXPECT_EQ(batch["x"].sizes(), (std::vector<int64_t>{3, 3, 12, 16}));
  EXPECT_TRUE(torch::equal(batch["y"], torch::tensor({0, 1, 1})));
  write_plainly(folder / "dog/b.png", "broken");
  try {
    loader.begin_epoch(1);
    loader.next();
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("sample 1 of ImageFolder"), std::string::npos) << error.what();
    EXPECT_NE(std::string(error.what()).find("b.png"), std::string::npos) << error.what();
  }
  fs::create_directory(folder / "empty");
  EXPECT_THROW(ImageFolder{folder}, Error);
  EXPECT_THROW(ImageFolder{folder / "none"}, Error);
}

TEST_F(Reader, TextAsCharactersBytesWindowsAndLines) {
  const Vocabulary characters("b\u00e4a b\u20ac");
  EXPECT_EQ(characters.size(), 5);  // " ab\u00e4\u20ac"
  EXPECT_TRUE(torch::equal(characters.encode("ab \u20ac"), torch::tensor({1, 2, 0, 4})));
  EXPECT_EQ(characters.decode(torch::tensor({3, 4, 1})), "\u00e4\u20aca");
  EXPECT_EQ(Vocabulary(characters.state()).decode(torch::tensor({3})), "\u00e4");
  EXPECT_THROW(characters.encode("z"), Error);
  EXPECT_THROW(characters.decode(torch::tensor({5})), Error);
  EXPECT_THROW(Vocabulary("\xff"), Error);
  const Vocabulary bytes("", TextUnit::bytes);
  EXPECT_TRUE(torch::equal(bytes.encode("\xff\x01"), torch::tensor({255, 1})));

  const TextWindows windows(torch::arange(10), {.length = 4, .stride = 2});
  EXPECT_EQ(windows.size(), 3);
  DataLoader loader(windows, {.batch_size = 3});
  const auto batch = *loader.next();
  EXPECT_TRUE(torch::equal(batch["x"], torch::tensor({{0, 1, 2, 3}, {2, 3, 4, 5}, {4, 5, 6, 7}})));
  EXPECT_TRUE(torch::equal(batch["y"], batch["x"] + 1));
  EXPECT_TRUE(torch::equal(windows.get(2)["y"], torch::tensor({5, 6, 7, 8})));
  EXPECT_EQ(TextWindows(torch::arange(5), {.length = 4}).size(), 1);
  EXPECT_THROW(TextWindows(torch::arange(4), {.length = 4}), Error);
  EXPECT_THROW(TextWindows(torch::ones({4}), {.length = 2}), Error);
  write_plainly(folder / "lines.txt", "one\r\ntwo\n\nlast");
  EXPECT_EQ(read_lines(folder / "lines.txt"), (std::vector<std::string>{"one", "two", "", "last"}));
}

}  // namespace
}  // namespace levin
