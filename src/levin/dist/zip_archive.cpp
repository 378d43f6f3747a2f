#include <levin/dist/zip_archive.h>

#include <levin/core/error.h>

#include <cstdint>
#include <limits>
#include <zlib.h>

namespace levin::dist {
namespace {

constexpr std::uint32_t kMost = std::numeric_limits<std::uint32_t>::max();

void put16(std::string& out, std::uint32_t value) {
  out += static_cast<char>(value & 0xff);
  out += static_cast<char>(value >> 8 & 0xff);
}

void put32(std::string& out, std::uint32_t value) {
  put16(out, value & 0xffff);
  put16(out, value >> 16);
}

// Deflate without zlib's own header, as zip has it.
std::string deflated(std::string_view bytes) {
  z_stream stream{};
  if (deflateInit2(&stream, Z_DEFAULT_COMPRESSION, Z_DEFLATED, -MAX_WBITS, 8, Z_DEFAULT_STRATEGY) != Z_OK) {
    throw Error("zlib cannot be started");
  }
  std::string out(deflateBound(&stream, bytes.size()), '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
  stream.avail_in = static_cast<uInt>(bytes.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  deflate(&stream, Z_FINISH);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

}  // namespace

void ZipArchive::add(const std::string& name, std::string_view bytes, bool executable) {
  const bool leaves = name.empty() || name.front() == '/' || name.find("..") != std::string::npos;
  if (leaves || name.size() > 0xffff || names_.contains(name)) {
    throw Error({.what = "this is no name for a new file of an archive", .value = name, .where = {}, .hint = {}});
  }
  if (bytes.size() >= kMost || files_.size() >= kMost - bytes.size() - name.size() - 64 || names_.size() == 0xffff) {
    throw Error({.what = "an archive is limited to 4 GiB", .value = name, .where = {}, .hint = {}});
  }
  const auto crc = static_cast<std::uint32_t>(
      crc32(0, reinterpret_cast<const Bytef*>(bytes.data()), static_cast<uInt>(bytes.size())));
  const std::string packed = deflated(bytes);
  // What local header and listing have in common: version, flags (UTF-8), method, time, date, sum, sizes.
  std::string common;
  put16(common, 20);
  put16(common, 1U << 11);
  put16(common, 8);
  put16(common, 0);
  put16(common, 33);  // the first of January 1980, the earliest there is
  put32(common, crc);
  put32(common, static_cast<std::uint32_t>(packed.size()));
  put32(common, static_cast<std::uint32_t>(bytes.size()));
  put16(common, static_cast<std::uint32_t>(name.size()));
  put16(common, 0);

  const auto offset = static_cast<std::uint32_t>(files_.size());
  files_ += std::string("PK\x03\x04") + common + name + packed;
  listing_ += "PK\x01\x02";
  put16(listing_, 3U << 8 | 20);  // made by Unix: the attributes below are a mode
  listing_ += common;
  put16(listing_, 0);  // no comment
  put16(listing_, 0);  // the first disk
  put16(listing_, 0);
  put32(listing_, (0100000U | (executable ? 0755U : 0644U)) << 16);
  put32(listing_, offset);
  listing_ += name;
  names_.insert(name);
}

std::string ZipArchive::bytes() const {
  if (files_.size() + listing_.size() >= kMost) throw Error("an archive is limited to 4 GiB");
  std::string out = files_ + listing_ + "PK\x05\x06";
  put32(out, 0);
  put16(out, static_cast<std::uint32_t>(names_.size()));
  put16(out, static_cast<std::uint32_t>(names_.size()));
  put32(out, static_cast<std::uint32_t>(listing_.size()));
  put32(out, static_cast<std::uint32_t>(files_.size()));
  put16(out, 0);
  return out;
}

}  // namespace levin::dist
