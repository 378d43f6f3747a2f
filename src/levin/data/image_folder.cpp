#include <levin/data/image_folder.h>

#include <levin/core/error.h>
#include <levin/core/file.h>

#include <ATen/EmptyTensor.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/_upsample_bilinear2d_aa.h>
#include <ATen/ops/scalar_tensor.h>
#include <ATen/ops/tensor.h>

#include <png.h>
#include <turbojpeg.h>

#include <algorithm>
#include <cctype>
#include <cstring>
#include <map>
#include <memory>

namespace levin {
namespace {

[[noreturn]] void throw_image(const std::string& what, const std::string& value, const std::string& where) {
  throw Error({.what = what, .value = value, .where = where, .hint = {}});
}

void check_size(std::int64_t height, std::int64_t width, const ReadImageOptions& options, const std::string& where) {
  if (height > 0 && width > 0 && width <= options.max_pixels / height) return;
  throw Error({.what = "a picture is larger than allowed",
               .value = std::to_string(height) + " x " + std::to_string(width),
               .where = where,
               .hint = "raise .max_pixels if this is meant"});
}

at::Tensor make_pixels(std::int64_t height, std::int64_t width, const ReadImageOptions& options) {
  return at::Tensor(
      at::detail::empty_cpu({height, width, static_cast<std::int64_t>(options.mode)}, at::kByte, false, std::nullopt));
}

at::Tensor decode_png(std::string_view bytes, const ReadImageOptions& options, const std::string& where) {
  png_image image;
  std::memset(&image, 0, sizeof image);
  image.version = PNG_IMAGE_VERSION;
  const std::unique_ptr<png_image, decltype(&png_image_free)> cleanup(&image, &png_image_free);
  if (!png_image_begin_read_from_memory(&image, bytes.data(), bytes.size())) {
    throw_image("a PNG file is damaged", image.message, where);
  }
  check_size(image.height, image.width, options, where);
  image.format = options.mode == ImageMode::gray  ? PNG_FORMAT_GRAY
                 : options.mode == ImageMode::rgb ? PNG_FORMAT_RGB
                                                  : PNG_FORMAT_RGBA;
  auto pixels = make_pixels(image.height, image.width, options);
  const png_color black{0, 0, 0};  // what shows through where an alpha channel is dropped
  if (!png_image_finish_read(&image, &black, pixels.mutable_data_ptr(), 0, nullptr)) {
    throw_image("a PNG file is damaged", image.message, where);
  }
  return pixels;
}

at::Tensor decode_jpeg(std::string_view bytes, const ReadImageOptions& options, const std::string& where) {
  if (options.mode == ImageMode::rgba) throw_image("a JPEG picture has no alpha channel", "ImageMode::rgba", where);
  const std::unique_ptr<void, decltype(&tjDestroy)> decoder(tjInitDecompress(), &tjDestroy);
  const auto* data = reinterpret_cast<const unsigned char*>(bytes.data());
  int width = 0, height = 0, subsampling = 0, colors = 0;
  if (!decoder || tjDecompressHeader3(decoder.get(), data, bytes.size(), &width, &height, &subsampling, &colors) != 0) {
    throw_image("a JPEG file is damaged", decoder ? tjGetErrorStr2(decoder.get()) : "", where);
  }
  check_size(height, width, options, where);
  auto pixels = make_pixels(height, width, options);
  const int format = options.mode == ImageMode::gray ? TJPF_GRAY : TJPF_RGB;
  // A warning (bytes missing at the end, filled up with gray) is an error here: nothing is made up in silence.
  if (tjDecompress2(decoder.get(), data, bytes.size(), pixels.mutable_data_ptr<std::uint8_t>(), width, 0, height,
                    format, TJFLAG_ACCURATEDCT | TJFLAG_LIMITSCANS) != 0) {
    throw_image("a JPEG file is damaged", tjGetErrorStr2(decoder.get()), where);
  }
  return pixels;
}

bool is_picture(const std::filesystem::path& path) {
  auto ending = path.extension().string();
  std::transform(ending.begin(), ending.end(), ending.begin(),
                 [](char c) { return static_cast<char>(std::tolower(static_cast<unsigned char>(c))); });
  return ending == ".png" || ending == ".jpg" || ending == ".jpeg";
}

class ImageFolderImpl : public DatasetImpl {
 public:
  ImageFolderImpl(const std::filesystem::path& root, const ImageFolderOptions& options)
      : root_(root), options_(options) {
    namespace fs = std::filesystem;
    if (options.size && ((*options.size)[0] < 1 || (*options.size)[1] < 1)) {
      throw_image("a picture's size must be at least 1",
                  std::to_string((*options.size)[0]) + " x " + std::to_string((*options.size)[1]), "ImageFolder .size");
    }
    if (!fs::is_directory(root)) throw_image("there is no such folder", "", root.string());
    std::vector<fs::path> folders;
    for (const auto& entry : fs::directory_iterator(root)) {
      if (entry.is_directory()) folders.push_back(entry.path());
    }
    std::sort(folders.begin(), folders.end());
    if (folders.empty()) {
      throw Error({.what = "a folder of pictures needs one folder a class",
                   .value = {},
                   .where = root.string(),
                   .hint = "root/cat/1.png, root/dog/2.png, ..."});
    }
    for (const auto& folder : folders) {
      std::vector<fs::path> found;
      for (const auto& entry :
           fs::recursive_directory_iterator(folder, fs::directory_options::follow_directory_symlink)) {
        if (entry.is_regular_file() && is_picture(entry.path())) found.push_back(entry.path());
      }
      if (found.empty()) throw_image("a class has no pictures (.png, .jpg, .jpeg)", "", folder.string());
      std::sort(found.begin(), found.end());
      labels_.insert(labels_.end(), found.size(), static_cast<std::int64_t>(classes_.size()));
      files_.insert(files_.end(), found.begin(), found.end());
      classes_.push_back(folder.filename().string());
    }
  }

  std::int64_t size() const override { return static_cast<std::int64_t>(files_.size()); }
  std::string name() const override { return "ImageFolder(" + root_.string() + ")"; }

  Batch get(std::int64_t index) const override {
    const auto at = static_cast<std::size_t>(index);
    auto picture = read_image(files_[at], {.mode = options_.mode, .max_pixels = options_.max_pixels});
    if (options_.size && picture.sizes().slice(1) != at::IntArrayRef(*options_.size)) {
      picture = at::_upsample_bilinear2d_aa(picture.unsqueeze(0), *options_.size, false).squeeze(0);
    }
    return Batch{{"x", std::move(picture)}, {"y", at::scalar_tensor(labels_[at], at::kLong)}};
  }

  const std::vector<std::string>& classes() const { return classes_; }
  const std::vector<std::filesystem::path>& files() const { return files_; }
  const std::vector<std::int64_t>& labels() const { return labels_; }

 private:
  std::filesystem::path root_;
  ImageFolderOptions options_;
  std::vector<std::string> classes_;
  std::vector<std::filesystem::path> files_;
  std::vector<std::int64_t> labels_;
};

}  // namespace

at::Tensor decode_image(std::string_view bytes, const ReadImageOptions& options, const std::string& where) {
  at::Tensor pixels;
  if (bytes.starts_with("\x89PNG\r\n\x1a\n")) {
    pixels = decode_png(bytes, options, where);
  } else if (bytes.starts_with("\xff\xd8")) {
    pixels = decode_jpeg(bytes, options, where);
  } else {
    throw_image("this is neither a PNG nor a JPEG picture", "", where);
  }
  return pixels.permute({2, 0, 1}).contiguous();
}

at::Tensor read_image(const std::filesystem::path& path, const ReadImageOptions& options) {
  return decode_image(read_file(path), options, path.string());
}

ImageFolder::ImageFolder(const std::filesystem::path& root, const ImageFolderOptions& options)
    : Dataset(std::make_shared<ImageFolderImpl>(root, options)) {}

const std::vector<std::string>& ImageFolder::classes() const {
  return static_cast<const ImageFolderImpl&>(impl()).classes();
}
const std::vector<std::filesystem::path>& ImageFolder::files() const {
  return static_cast<const ImageFolderImpl&>(impl()).files();
}
at::Tensor ImageFolder::targets() const {
  return at::tensor(at::ArrayRef<std::int64_t>(static_cast<const ImageFolderImpl&>(impl()).labels()), at::kLong);
}

}  // namespace levin
