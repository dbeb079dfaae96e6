#pragma once
// CaBundle: the certificates of a PEM text, each of which is trusted as it stands, an intermediate or a server's own
// too. Parsed once and shared by the policies that name it; a worker decodes those that a chain asks for. Immutable,
// any thread.

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "core/base/result.h"

namespace edgemux::core {

class CaBundle {
 public:
  // Of certificates; equal ones count once. A system's own store has some 150.
  static constexpr std::size_t kMost = 1000;
  // With one subject: a worker decodes all of those for a chain that names it.
  static constexpr std::size_t kMostOfOneSubject = 64;

  // What tells one text from another: SHA-256, hex.
  static std::string fingerprint_of(std::string_view pem);
  // Off the loops. The error says what is wrong with which.
  static Result<std::shared_ptr<const CaBundle>> parse(std::string_view pem);

  // Of the text.
  [[nodiscard]] const std::string& fingerprint() const { return fingerprint_; }
  [[nodiscard]] std::size_t size() const;
  // Every certificate of `other` is one of these, too.
  [[nodiscard]] bool covers(const CaBundle& other) const;

  // For core/tls.
  struct Contents;
  [[nodiscard]] const Contents& contents() const { return *contents_; }

 private:
  CaBundle(std::string fingerprint, std::shared_ptr<const Contents> contents)
      : fingerprint_(std::move(fingerprint)), contents_(std::move(contents)) {}

  std::string fingerprint_;
  std::shared_ptr<const Contents> contents_;
};

using CaBundlePtr = std::shared_ptr<const CaBundle>;

}  // namespace edgemux::core
