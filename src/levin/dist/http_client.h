// A small HTTP client over libcurl: requests, and answers that arrive bit by bit.
#pragma once

#include <levin/core/error.h>
#include <levin/core/export.h>

#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace levin::dist {

struct HttpOptions {
  std::string base_url;          ///< "http://HOST:PORT" or "https://..."
  std::string token = "";        ///< sent as "Authorization: Bearer <token>"; "": none
  std::string ca_file = "";      ///< PEM file of the authorities to trust; "": the system's
  std::string cert_file = "";    ///< PEM file of a client's certificate; "": none
  std::string key_file = "";     ///< PEM file of its key
  double connect_timeout = 10;   ///< seconds
  double timeout = 60;           ///< seconds for a whole request; streams have none
};

struct HttpResponse {
  long status = 0;
  std::string body;
};

/** The server was not reached, or the connection broke: another try may succeed. */
class LEVIN_API Unreachable : public Error {
 public:
  using Error::Error;
};

/** An answer that is read while it arrives. */
class LEVIN_API HttpStream {
 public:
  HttpStream();
  ~HttpStream();
  HttpStream(HttpStream&&) noexcept;
  HttpStream& operator=(HttpStream&&) noexcept;

  /** What arrives within `seconds`, perhaps nothing; nullopt once the answer has ended or its connection broke. */
  std::optional<std::string> read(double seconds);
  /** The status of the answer; 0 before it began. */
  long status() const;

 private:
  friend class HttpClient;
  class Impl;
  explicit HttpStream(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

/** May be used from several threads. */
class LEVIN_API HttpClient {
 public:
  /** Throws Error when the address is none, a file is missing, or libcurl is not installed. */
  explicit HttpClient(HttpOptions options);

  /** Sends a request and waits for the answer, whatever its status. Throws Unreachable, and Error for TLS's refusals. */
  HttpResponse request(const std::string& method, const std::string& path, std::string_view body = {},
                       const std::string& content_type = "application/json") const;
  /** Begins a GET; the answer is read from the stream. */
  HttpStream stream(const std::string& path) const;

  const HttpOptions& options() const { return options_; }

 private:
  HttpOptions options_;
};

/** `text` as a part of a query: what is special is written %XX. */
LEVIN_API std::string url_encoded(std::string_view text);

}  // namespace levin::dist
