#pragma once
// A temporary folder with the ways in which people and programs write files.

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <string>

namespace edgemux::config {

namespace fs = std::filesystem;

class DiskTest : public testing::Test {
 protected:
  DiskTest() {
    std::string pattern = (fs::temp_directory_path() / "edgemux-config-XXXXXX").string();
    root_ = ::mkdtemp(pattern.data());
  }
  ~DiskTest() override { fs::remove_all(root_); }

  [[nodiscard]] std::string path(const std::string& name) const { return (root_ / name).string(); }
  void write(const std::string& name, const std::string& content) const {
    std::ofstream(path(name), std::ios::binary | std::ios::trunc) << content;
  }
  // As most editors and configuration management do.
  void replace(const std::string& name, const std::string& content) const {
    write(name + ".new", content);
    fs::rename(path(name + ".new"), path(name));
  }
  // As `ln -sfn`, Kubernetes and certbot do.
  void swing(const std::string& link, const std::string& target) const {
    fs::create_symlink(target, path(link + ".new"));
    fs::rename(path(link + ".new"), path(link));
  }
  void folder(const std::string& name) const { fs::create_directories(path(name)); }

  fs::path root_;
};

}  // namespace edgemux::config
