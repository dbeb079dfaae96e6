#pragma once
// Touched: which paths may be different from when they were read. All of them, unless it is known better.

#include <set>
#include <string>
#include <string_view>
#include <utility>

namespace edgemux::config {

class Touched {
 public:
  static Touched everything() {
    Touched made;
    made.everything_ = true;
    return made;
  }
  Touched() = default;  // nothing

  void add(std::string path) {
    if (!everything_) paths_.insert(std::move(path));
  }
  void add_everything() {
    everything_ = true;
    paths_.clear();
  }
  // A file's path as it is written in the configuration; of a folder that names may have come to or gone from.
  [[nodiscard]] bool contains(std::string_view path) const { return everything_ || paths_.count(path) != 0; }
  [[nodiscard]] bool is_everything() const { return everything_; }

 private:
  bool everything_ = false;
  std::set<std::string, std::less<>> paths_;
};

}  // namespace edgemux::config
