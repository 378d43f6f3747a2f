// Pictures: PNG and JPEG files, and folders of them with one folder a class.
#pragma once

#include <levin/core/export.h>
#include <levin/data/dataset.h>

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace levin {

/** Which channels a picture is read with; the library converts. */
enum class ImageMode { gray = 1, rgb = 3, rgba = 4 };

struct ReadImageOptions {
  ImageMode mode = ImageMode::rgb;
  std::int64_t max_pixels = 178'956'970;  ///< larger pictures are an Error before memory is taken (Pillow's limit)
};

/**
 * A PNG (8 bits a channel; deeper ones are reduced) or JPEG picture as uint8 [channels, height, width]. Throws Error
 * for a damaged file, another format, or JPEG with alpha.
 */
LEVIN_API at::Tensor read_image(const std::filesystem::path& path, const ReadImageOptions& options = {});
/** The same from the bytes of a file; `where` is for messages. */
LEVIN_API at::Tensor decode_image(std::string_view bytes, const ReadImageOptions& options = {},
                                  const std::string& where = "");

struct ImageFolderOptions {
  ImageMode mode = ImageMode::rgb;
  /** Height and width that every picture is brought to (bilinear, antialiased); by default their own. */
  std::optional<std::array<std::int64_t, 2>> size = {};
  std::int64_t max_pixels = 178'956'970;
};

/**
 * root/class/.../picture.png (torchvision.datasets.ImageFolder): classes are the folders of `root` in sorted order,
 * files end in .png, .jpg or .jpeg. Samples are {"x": uint8 [channels, height, width], "y": int64 class}; pictures are
 * decoded when they are asked for, in the loader's workers. Throws Error without classes and for a class without
 * pictures.
 */
class LEVIN_API ImageFolder : public Dataset {
 public:
  explicit ImageFolder(const std::filesystem::path& root, const ImageFolderOptions& options = {});

  const std::vector<std::string>& classes() const;
  /** The files, by index of their sample. */
  const std::vector<std::filesystem::path>& files() const;
  /** int64 [size()]: the class of every sample. */
  at::Tensor targets() const;
};

}  // namespace levin
