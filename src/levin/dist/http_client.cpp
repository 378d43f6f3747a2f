#include <levin/dist/http_client.h>

#include <levin/core/file.h>

#include <curl/curl.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <dlfcn.h>
#include <utility>

namespace levin::dist {
namespace {

// libcurl brings two dozen libraries with it, so it is opened when it is needed and not when a program starts.
struct Libcurl {
#define LEVIN_LIBCURL(apply)   \
  apply(curl_global_init);     \
  apply(curl_easy_init);       \
  apply(curl_easy_setopt);     \
  apply(curl_easy_perform);    \
  apply(curl_easy_getinfo);    \
  apply(curl_easy_strerror);   \
  apply(curl_easy_cleanup);    \
  apply(curl_slist_append);    \
  apply(curl_slist_free_all);  \
  apply(curl_multi_init);      \
  apply(curl_multi_add_handle); \
  apply(curl_multi_remove_handle); \
  apply(curl_multi_perform);   \
  apply(curl_multi_poll);      \
  apply(curl_multi_cleanup)
#define LEVIN_DECLARE(f) decltype(&::f) f = nullptr
  LEVIN_LIBCURL(LEVIN_DECLARE);
#undef LEVIN_DECLARE

  Libcurl() {
    void* library = ::dlopen("libcurl.so.4", RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) library = ::dlopen("libcurl-gnutls.so.4", RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) {
      throw Error({.what = "the HTTP client library cannot be opened",
                   .value = ::dlerror(),
                   .where = {},
                   .hint = "install libcurl (libcurl4 on Debian)"});
    }
    const auto find = [&](const char* name) {
      void* symbol = ::dlsym(library, name);
      if (symbol == nullptr) {
        throw Error({.what = "the HTTP client library is too old",
                     .value = std::string("no ") + name,
                     .where = {},
                     .hint = "install libcurl 7.66 or newer"});
      }
      return symbol;
    };
#define LEVIN_FIND(f) f = reinterpret_cast<decltype(&::f)>(find(#f))
    LEVIN_LIBCURL(LEVIN_FIND);
#undef LEVIN_FIND
    (*curl_global_init)(CURL_GLOBAL_DEFAULT);
  }
};
#undef LEVIN_LIBCURL

const Libcurl& curl() {
  static const Libcurl library;
  return library;
}

std::size_t append(char* bytes, std::size_t, std::size_t count, void* to) {
  static_cast<std::string*>(to)->append(bytes, count);
  return count;
}

struct FreeHandle {
  void operator()(CURL* handle) const { curl().curl_easy_cleanup(handle); }
};
struct FreeList {
  void operator()(curl_slist* list) const { curl().curl_slist_free_all(list); }
};

// A request made ready; the strings that libcurl points to live as long as it.
struct Transfer {
  Transfer(const HttpOptions& options, const std::string& method, const std::string& path, std::string_view body,
           const std::string& content_type)
      : handle(curl().curl_easy_init()) {
    if (handle == nullptr) throw Error("libcurl gives no handle");
    set(CURLOPT_URL, (options.base_url + path).c_str());
    set(CURLOPT_CUSTOMREQUEST, method.c_str());
    set(CURLOPT_NOSIGNAL, 1L);
    set(CURLOPT_ERRORBUFFER, reason);
    set(CURLOPT_CONNECTTIMEOUT_MS, std::lround(options.connect_timeout * 1000));
    set(CURLOPT_WRITEFUNCTION, &append);
    set(CURLOPT_WRITEDATA, &received);
    add_header("Expect:");  // no waiting for leave to send
    if (!options.token.empty()) add_header("Authorization: Bearer " + options.token);
    if (!body.empty()) {
      add_header("Content-Type: " + content_type);
      set(CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(body.size()));
      set(CURLOPT_POSTFIELDS, body.data());
    }
    set(CURLOPT_HTTPHEADER, headers.get());
    if (!options.ca_file.empty()) set(CURLOPT_CAINFO, options.ca_file.c_str());
    if (!options.cert_file.empty()) set(CURLOPT_SSLCERT, options.cert_file.c_str());
    if (!options.key_file.empty()) set(CURLOPT_SSLKEY, options.key_file.c_str());
  }

  template <class T>
  void set(CURLoption option, T value) {
    (*curl().curl_easy_setopt)(handle.get(), option, value);
  }

  void add_header(const std::string& line) {
    curl_slist* longer = curl().curl_slist_append(headers.get(), line.c_str());
    if (longer == nullptr) throw std::bad_alloc();
    if (headers == nullptr) headers.reset(longer);
  }

  long status() const {
    long code = 0;
    (*curl().curl_easy_getinfo)(handle.get(), CURLINFO_RESPONSE_CODE, &code);
    return code;
  }

  std::unique_ptr<CURL, FreeHandle> handle;
  std::unique_ptr<curl_slist, FreeList> headers;
  char reason[CURL_ERROR_SIZE] = {};
  std::string received;
};

bool is_tls(CURLcode code) {
  return code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CONNECT_ERROR || code == CURLE_SSL_CERTPROBLEM ||
         code == CURLE_SSL_CACERT_BADFILE || code == CURLE_SSL_ISSUER_ERROR || code == CURLE_SSL_CIPHER;
}

}  // namespace

HttpClient::HttpClient(HttpOptions options) : options_(std::move(options)) {
  auto& url = options_.base_url;
  while (url.ends_with("/")) url.pop_back();
  const bool known = url.starts_with("http://") || url.starts_with("https://");
  if (!known || url.find("//") + 2 == url.size()) {
    throw Error({.what = "this is no address of a web server",
                 .value = "\"" + url + "\"",
                 .where = {},
                 .hint = "write it like http://HOST:PORT or https://HOST:PORT"});
  }
  if (std::any_of(options_.token.begin(), options_.token.end(), [](unsigned char c) { return c <= ' ' || c == 127; })) {
    throw Error("the token holds a space or a control character: it must be one line of text");
  }
  for (const auto& file : {options_.ca_file, options_.cert_file, options_.key_file}) {
    if (!file.empty()) require_file(file);
  }
  curl();
}

HttpResponse HttpClient::request(const std::string& method, const std::string& path, std::string_view body,
                                 const std::string& content_type) const {
  Transfer transfer(options_, method, path, body, content_type);
  transfer.set(CURLOPT_TIMEOUT_MS, std::lround(options_.timeout * 1000));
  const CURLcode code = curl().curl_easy_perform(transfer.handle.get());
  if (code == CURLE_OK) return {transfer.status(), std::move(transfer.received)};
  ErrorInfo info{.what = options_.base_url + " cannot be reached",
                 .value = transfer.reason[0] != '\0' ? transfer.reason : curl().curl_easy_strerror(code),
                 .where = {},
                 .hint = {}};
  if (is_tls(code)) {
    info.what = "no safe connection to " + options_.base_url;
    info.hint = "name the PEM file of the server's authority, and a client certificate where it asks for one";
    throw Error(std::move(info));
  }
  throw Unreachable(std::move(info));
}

class HttpStream::Impl {
 public:
  Impl(const HttpOptions& options, const std::string& path) : transfer_(options, "GET", path, {}, {}) {
    multi_ = curl().curl_multi_init();
    if (multi_ == nullptr) throw Error("libcurl gives no handle");
    curl().curl_multi_add_handle(multi_, transfer_.handle.get());
  }
  ~Impl() {
    curl().curl_multi_remove_handle(multi_, transfer_.handle.get());
    curl().curl_multi_cleanup(multi_);
  }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  std::optional<std::string> read(double seconds) {
    using Clock = std::chrono::steady_clock;
    const auto end = Clock::now() + std::chrono::duration<double>(seconds);
    int running = 1;
    for (;;) {
      curl().curl_multi_perform(multi_, &running);
      if (!transfer_.received.empty()) return std::exchange(transfer_.received, {});
      if (running == 0) return std::nullopt;
      const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - Clock::now()).count();
      if (left <= 0) return std::string();
      curl().curl_multi_poll(multi_, nullptr, 0, static_cast<int>(std::min<std::int64_t>(left, 1000)), nullptr);
    }
  }

  long status() const { return transfer_.status(); }

 private:
  Transfer transfer_;
  CURLM* multi_ = nullptr;
};

HttpStream::HttpStream() = default;
HttpStream::HttpStream(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
HttpStream::~HttpStream() = default;
HttpStream::HttpStream(HttpStream&&) noexcept = default;
HttpStream& HttpStream::operator=(HttpStream&&) noexcept = default;
std::optional<std::string> HttpStream::read(double seconds) { return impl_ ? impl_->read(seconds) : std::nullopt; }
long HttpStream::status() const { return impl_ ? impl_->status() : 0; }

HttpStream HttpClient::stream(const std::string& path) const {
  return HttpStream(std::make_unique<HttpStream::Impl>(options_, path));
}

std::string url_encoded(std::string_view text) {
  constexpr std::string_view kPlain = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.~";
  constexpr char kHex[] = "0123456789ABCDEF";
  std::string out;
  for (const char c : text) {
    if (kPlain.find(c) != std::string_view::npos) {
      out += c;
    } else {
      const auto byte = static_cast<unsigned char>(c);
      out += {'%', kHex[byte >> 4], kHex[byte & 15]};
    }
  }
  return out;
}

}  // namespace levin::dist
