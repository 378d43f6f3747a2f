// Lifetime: a member that tells those who keep a pointer to an object whether it is still there.
#pragma once

#include <memory>

namespace levin {

/** Ends with the object that holds it; a copy of the object lives a life of its own. */
class Lifetime {
 public:
  /** Kept beside a pointer; outlives the object. */
  class Watch {
   public:
    Watch() = default;
    bool ended() const { return token_.expired(); }

   private:
    friend class Lifetime;
    explicit Watch(std::weak_ptr<const char> token) : token_(std::move(token)) {}
    std::weak_ptr<const char> token_;
  };

  Lifetime() : token_(std::make_shared<const char>()) {}
  Lifetime(const Lifetime&) : Lifetime() {}
  Lifetime& operator=(const Lifetime&) { return *this; }
  Watch watch() const { return Watch(token_); }

 private:
  std::shared_ptr<const char> token_;
};

}  // namespace levin
