#include <levin/train/checkpoint_io/torch_file.h>

#include <levin/core/atomic_file.h>
#include <levin/core/error.h>
#include <levin/train/checkpoint_io/pickle.h>

#include <ATen/core/grad_mode.h>
#include <ATen/ATen.h>
#include <caffe2/serialize/inline_container.h>
#include <caffe2/serialize/read_adapter_interface.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <fstream>
#include <map>
#include <sys/mman.h>
#include <unistd.h>
#include <unordered_map>
#include <utility>

namespace levin {
namespace {

namespace zip = caffe2::serialize;

static_assert(std::endian::native == std::endian::little, "storages are written as they lie in memory");

class FileAdapter : public zip::ReadAdapterInterface {
 public:
  explicit FileAdapter(const std::filesystem::path& path) : file_(path, std::ios::binary | std::ios::ate) {
    if (file_) size_ = static_cast<size_t>(file_.tellg());
  }
  bool good() const { return file_.good(); }
  size_t size() const override { return size_; }
  size_t read(uint64_t position, void* buffer, size_t count, const char*) const override {
    if (position >= size_) return 0;
    count = std::min<size_t>(count, size_ - position);
    file_.clear();
    file_.seekg(static_cast<std::streamoff>(position));
    file_.read(static_cast<char*>(buffer), static_cast<std::streamsize>(count));
    return static_cast<size_t>(file_.gcount());
  }

 private:
  mutable std::ifstream file_;
  size_t size_ = 0;
};

// A file opened for reading. Records are taken once each, and all together never exceed the file: torch stores them
// uncompressed, so what claims to be larger is a bomb or damaged.
class Container {
 public:
  explicit Container(const std::filesystem::path& path) {
    auto file = std::make_shared<FileAdapter>(path);
    if (!std::filesystem::is_regular_file(path) || !file->good()) {
      throw Error({.what = "the file cannot be opened", .value = {}, .where = {}, .hint = "is the path right?"});
    }
    left_ = file->size();
    char magic[4] = {};
    file->read(0, magic, 4, "");
    if (std::memcmp(magic, "PK\3\4", 4) != 0) {
      const bool pickle = magic[0] == '\x80';
      throw Error({.what = pickle ? "the file is in PyTorch's old format (before 1.6), or a bare pickle"
                                  : "the file is not a PyTorch file (not a zip archive)",
                   .value = {},
                   .where = {},
                   .hint = pickle ? "load it in Python and save it again with torch.save" : ""});
    }
    reader_ = std::make_unique<zip::PyTorchStreamReader>(std::move(file));
    if (!reader_->hasRecord("data.pkl")) {
      throw Error("the archive holds no data.pkl: not a file of torch.save");
    }
    if (reader_->hasRecord("constants.pkl")) {
      throw Error({.what = "the file is a TorchScript archive (torch::save or torch.jit.save), which needs code to be "
                           "executed to load",
                   .value = {},
                   .where = {},
                   .hint = "save it with levin::save_torch_file or torch.save"});
    }
    if (reader_->hasRecord("byteorder") && text("byteorder") != "little") {
      throw Error("the file was written on a big-endian machine");
    }
  }

  std::string text(const std::string& name) {
    const auto [data, size] = record(name);
    return {static_cast<const char*>(data.get()), size};
  }

  std::tuple<at::DataPtr, size_t> record(const std::string& name) {
    if (!reader_->hasRecord(name)) {
      throw Error("the archive lacks the record \"" + name.substr(0, 200) + "\"");
    }
    const auto size = reader_->getRecordSize(name);
    if (size > left_) {
      throw Error({.what = "the records of the archive claim to be larger than the file",
                   .value = "\"" + name.substr(0, 200) + "\" of " + std::to_string(size) + " bytes",
                   .where = {},
                   .hint = "the file is damaged, compressed by another tool, or was made to do harm"});
    }
    left_ -= size;
    return reader_->getRecord(name);
  }

 private:
  std::unique_ptr<zip::PyTorchStreamReader> reader_;
  size_t left_ = 0;
};

[[noreturn]] void rethrow_with(const Error& error, const std::filesystem::path& path) {
  auto info = error.info();
  info.where = info.where.empty() ? path.string() : path.string() + ", " + info.where;
  throw Error(std::move(info));
}

// --- writing

// Memory that tensors to be written have in common.
struct Segment {
  c10::StorageImpl* storage = nullptr;
  at::ScalarType dtype{};
  int64_t begin = 0, end = 0;  // in elements of the source storage
  size_t users = 0;
  at::Tensor sample;  // keeps the storage alive and says how to view it
  std::string key;
  at::Tensor bytes;  // contiguous, on the CPU
};

struct Range {
  int64_t begin, end;
};

Range range_of(const at::Tensor& tensor) {
  int64_t last = tensor.storage_offset();
  for (int64_t i = 0; i < tensor.dim(); ++i) {
    if (tensor.size(i) == 0) return {tensor.storage_offset(), tensor.storage_offset()};
    last += (tensor.size(i) - 1) * tensor.stride(i);
  }
  return {tensor.storage_offset(), last + 1};
}

void collect(const PickleValue& value, std::vector<at::Tensor>& tensors) {
  if (value.is_tensor()) {
    tensors.push_back(value.as_tensor());
  } else if (value.is_list() || value.is_tuple()) {
    for (const auto& item : value.as_list()) collect(item, tensors);
  } else if (value.is_dict()) {
    for (const auto& [key, item] : value.as_dict()) collect(item, tensors);
  }
}

void check_writable(const at::Tensor& tensor) {
  if (tensor.defined() && tensor.layout() == at::kStrided && !tensor.is_quantized() &&
      !name_of_dtype(tensor.scalar_type()).empty() && tensor.has_storage()) {
    return;
  }
  throw Error({.what = "a tensor of this kind cannot be written",
               .value = tensor.defined() ? tensor.toString() : "an undefined tensor",
               .where = {},
               .hint = "write a dense tensor, for instance tensor.to_dense()"});
}

// Merges the tensors' ranges of each storage and dtype into segments: what overlaps stays together, what lies beside it
// in an arena does not come along.
class Segments {
 public:
  explicit Segments(const std::vector<at::Tensor>& tensors) {
    std::map<std::pair<c10::StorageImpl*, at::ScalarType>, std::vector<at::Tensor>> by_storage;
    for (const auto& tensor : tensors) {
      check_writable(tensor);
      by_storage[kind(tensor)].push_back(tensor);
    }
    for (auto& [kind_of, members] : by_storage) {
      std::ranges::stable_sort(members, {}, [](const at::Tensor& t) { return range_of(t).begin; });
      auto& list = segments_[kind_of];
      for (const auto& tensor : members) {
        const auto range = range_of(tensor);
        if (range.begin == range.end) continue;
        if (!list.empty() && range.begin < list.back().end) {
          list.back().end = std::max(list.back().end, range.end);
          ++list.back().users;
        } else {
          Segment segment;
          segment.storage = kind_of.first;
          segment.dtype = kind_of.second;
          segment.begin = range.begin;
          segment.end = range.end;
          segment.users = 1;
          segment.sample = tensor;
          list.push_back(std::move(segment));
        }
      }
    }
  }

  StoredTensor store(const at::Tensor& tensor, std::vector<std::pair<std::string, at::Tensor>>& records) {
    const auto range = range_of(tensor);
    if (range.begin == range.end) return own(at::empty({0}, tensor.options().device(at::kCPU)), tensor, 0, records);
    auto& list = segments_.at(kind(tensor));
    auto segment = std::ranges::upper_bound(list, range.begin, {}, &Segment::begin) - 1;
    // Alone and with holes (a column of a matrix), or seen conjugated: the elements by themselves.
    const bool alone = segment->users == 1 && tensor.numel() < segment->end - segment->begin;
    if (alone || tensor.is_conj() || tensor.is_neg()) {
      const auto dense = tensor.detach().resolve_conj().resolve_neg().contiguous().cpu();
      return own(dense, dense, dense.numel(), records);
    }
    if (segment->key.empty()) {
      segment->key = std::to_string(records.size());
      const auto numel = segment->end - segment->begin;
      records.emplace_back(segment->key,
                           segment->sample.detach().as_strided({numel}, {1}, segment->begin).cpu().contiguous());
    }
    return {.key = segment->key,
            .storage_numel = segment->end - segment->begin,
            .offset = range.begin - segment->begin,
            .strides = tensor.strides().vec()};
  }

 private:
  static std::pair<c10::StorageImpl*, at::ScalarType> kind(const at::Tensor& tensor) {
    return {tensor.storage().unsafeGetStorageImpl(), tensor.scalar_type()};
  }
  static StoredTensor own(const at::Tensor& bytes, const at::Tensor& shape, int64_t numel,
                          std::vector<std::pair<std::string, at::Tensor>>& records) {
    records.emplace_back(std::to_string(records.size()), bytes);
    return {.key = records.back().first, .storage_numel = numel, .offset = 0, .strides = shape.strides().vec()};
  }

  std::map<std::pair<c10::StorageImpl*, at::ScalarType>, std::vector<Segment>> segments_;
};

}  // namespace

PickleValue load_torch_file(const std::filesystem::path& path) {
  try {
    Container container(path);
    const auto pickle = container.text("data.pkl");
    std::unordered_map<std::string, c10::Storage> storages;
    return read_pickle(pickle, [&](const StorageRef& ref) {
      auto found = storages.find(ref.key);
      if (found == storages.end()) {
        auto [data, size] = container.record("data/" + ref.key);
        c10::Storage storage(c10::Storage::use_byte_size_t(), size, std::move(data), at::getCPUAllocator(), true);
        found = storages.emplace(ref.key, std::move(storage)).first;
      }
      if (static_cast<uint64_t>(ref.numel) > found->second.nbytes() / c10::elementSize(ref.dtype)) {
        throw Error({.what = "a storage is smaller than the file says",
                     .value = "\"data/" + ref.key + "\" of " + std::to_string(found->second.nbytes()) + " bytes",
                     .where = {},
                     .hint = "the file is damaged"});
      }
      return found->second;
    });
  } catch (const Error& error) {
    rethrow_with(error, path);
  } catch (const c10::Error& error) {
    throw Error({.what = "the file is damaged",
                 .value = std::string(error.what_without_backtrace()).substr(0, 300),
                 .where = path.string(),
                 .hint = "was it written or copied to its end?"});
  }
}

StagingBuffer::~StagingBuffer() {
  if (data_) ::munmap(data_, size_);
}

char* StagingBuffer::reserve(size_t bytes) {
  if (bytes <= size_) return data_;
  constexpr size_t huge_page = size_t{1} << 21;
  const size_t wanted = (bytes + huge_page - 1) / huge_page * huge_page;
  // Growing keeps the pages that are there already.
  void* memory = data_ ? ::mremap(data_, size_, wanted, MREMAP_MAYMOVE)
                       : ::mmap(nullptr, wanted, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) {
    throw Error({.what = "no memory for the copy of a checkpoint",
                 .value = std::to_string(wanted) + " bytes",
                 .where = {},
                 .hint = "save without .async_save"});
  }
  ::madvise(memory, wanted, MADV_HUGEPAGE);  // a wish: fewer page faults
  data_ = static_cast<char*>(memory);
  size_ = wanted;
  return data_;
}

void StagingBuffer::fault_in() noexcept {
#ifdef MADV_POPULATE_WRITE
  if (::madvise(data_, size_, MADV_POPULATE_WRITE) == 0) return;
#endif
  const auto page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  for (size_t at = 0; at < size_; at += page) static_cast<volatile char*>(data_)[at] = 0;
}

TorchFileImage::TorchFileImage(const PickleValue& value) {
  at::NoGradGuard no_grad;
  std::vector<at::Tensor> tensors;
  collect(value, tensors);
  Segments segments(tensors);
  pickle_ = write_pickle(value, [&](const at::Tensor& tensor) { return segments.store(tensor, records_); });
}

size_t TorchFileImage::tensor_bytes() const {
  size_t bytes = 0;
  for (const auto& [key, tensor] : records_) bytes += tensor.nbytes();
  return bytes;
}

void TorchFileImage::copy_into(StagingBuffer& buffer) {
  char* to = buffer.reserve(tensor_bytes());
  for (auto& [key, tensor] : records_) {
    const size_t bytes = tensor.nbytes();
    if (bytes > 0) std::memcpy(to, tensor.const_data_ptr(), bytes);
    tensor = at::from_blob(to, {static_cast<int64_t>(bytes)}, at::kByte);
    to += bytes;
  }
}

void TorchFileImage::write(AtomicFile& file) const {
  try {
    // The archive's writer is C inside and writes its end even when it is destroyed after a failure: errors of the file
    // are kept aside, and the rest goes nowhere.
    std::exception_ptr failed;
    const auto sink = [&](const void* data, size_t size) {
      if (failed) return size;
      try {
        file.write(data, size);
      } catch (...) {
        failed = std::current_exception();
      }
      return size;
    };
    const auto check = [&] {
      if (failed) std::rethrow_exception(failed);
    };
    {
      zip::PyTorchStreamWriter writer(sink);
      writer.writeRecord("data.pkl", pickle_.data(), pickle_.size());
      writer.writeRecord("byteorder", "little", 6);
      for (const auto& [key, bytes] : records_) {
        writer.writeRecord("data/" + key, bytes.const_data_ptr(), bytes.nbytes());
        check();
      }
      writer.writeEndOfFile();
    }
    check();
  } catch (const c10::Error& error) {
    throw Error({.what = "the file could not be written",
                 .value = std::string(error.what_without_backtrace()).substr(0, 300),
                 .where = file.path().string(),
                 .hint = {}});
  }
}

void save_torch_file(const std::filesystem::path& path, const PickleValue& value) {
  const auto image = [&] {
    try {
      return TorchFileImage(value);
    } catch (const Error& error) {
      rethrow_with(error, path);
    }
  }();
  AtomicFile file(path);
  image.write(file);
  file.commit();
}

}  // namespace levin
