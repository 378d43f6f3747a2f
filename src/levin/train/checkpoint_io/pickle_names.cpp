// PyTorch's names of dtypes and storage classes.
#include <levin/train/checkpoint_io/pickle.h>

#include <array>

namespace levin {
namespace {

struct Names {
  at::ScalarType dtype;
  std::string_view name;
  std::string_view storage;  // empty: written as an untyped storage
};

constexpr std::array kNames = {
    Names{at::kFloat, "float32", "FloatStorage"},
    Names{at::kDouble, "float64", "DoubleStorage"},
    Names{at::kHalf, "float16", "HalfStorage"},
    Names{at::kBFloat16, "bfloat16", "BFloat16Storage"},
    Names{at::kLong, "int64", "LongStorage"},
    Names{at::kInt, "int32", "IntStorage"},
    Names{at::kShort, "int16", "ShortStorage"},
    Names{at::kChar, "int8", "CharStorage"},
    Names{at::kByte, "uint8", "ByteStorage"},
    Names{at::kBool, "bool", "BoolStorage"},
    Names{at::kComplexFloat, "complex64", "ComplexFloatStorage"},
    Names{at::kComplexDouble, "complex128", "ComplexDoubleStorage"},
    Names{at::kUInt16, "uint16", ""},
    Names{at::kUInt32, "uint32", ""},
    Names{at::kUInt64, "uint64", ""},
    Names{at::kComplexHalf, "complex32", ""},
    Names{at::kFloat8_e5m2, "float8_e5m2", ""},
    Names{at::kFloat8_e4m3fn, "float8_e4m3fn", ""},
    Names{at::kFloat8_e5m2fnuz, "float8_e5m2fnuz", ""},
    Names{at::kFloat8_e4m3fnuz, "float8_e4m3fnuz", ""},
};

}  // namespace

std::string_view storage_class(at::ScalarType dtype) {
  for (const auto& names : kNames) {
    if (names.dtype == dtype) return names.storage;
  }
  return "";
}

at::ScalarType dtype_by_name(std::string_view name) {
  for (const auto& names : kNames) {
    if (names.name == name) return names.dtype;
  }
  return at::ScalarType::Undefined;
}

std::string_view name_of_dtype(at::ScalarType dtype) {
  for (const auto& names : kNames) {
    if (names.dtype == dtype) return names.name;
  }
  return "";
}

}  // namespace levin
