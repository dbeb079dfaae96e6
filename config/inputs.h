#pragma once
// Inputs: what one load has read, for the watcher (files, folders) and for the fingerprint. Every read of the compiler
// goes through it.

#include <cstdint>
#include <set>
#include <string>
#include <string_view>

#include "config/digest.h"
#include "config/files.h"

namespace edgemux::config {

class Inputs {
 public:
  // All that is read may take `room` bytes together.
  explicit Inputs(Files& files, std::uint64_t room = UINT64_MAX) : files_(files), room_(room) {}

  // `folder`: where the path must not lead out of, by links either; empty = wherever.
  core::Result<std::string> read(const std::string& path, const std::string& folder = {}) {
    watch_file(path);
    auto bytes = files_.held(path) ? core::fail(keeps_changing) : files_.read(path, folder);
    if (bytes && bytes->size() > room_) {
      bytes = core::fail("what the tenant's files name is too large together; see limits.config_size of the tenant");
    }
    if (bytes) room_ -= bytes->size();
    digest_.add(path);
    digest_.add(bytes ? *bytes : bytes.error().message);
    return bytes;
  }
  void watch_file(const std::string& path) {
    if (!paths_.insert(path).second) return;
    watch_folders(path);
  }
  void watch_folders(const std::string& path) {
    for (auto& folder : files_.folders(path)) folders_.insert(std::move(folder));
  }
  void note(std::string_view fact) { digest_.add(fact); }

  [[nodiscard]] Files& files() { return files_; }
  [[nodiscard]] const std::set<std::string>& paths() const { return paths_; }
  [[nodiscard]] const std::set<std::string>& folders() const { return folders_; }
  [[nodiscard]] std::string fingerprint() const { return digest_.hex(); }

 private:
  Files& files_;
  std::uint64_t room_;
  std::set<std::string> paths_;
  std::set<std::string> folders_;
  Digest digest_;
};

}  // namespace edgemux::config
