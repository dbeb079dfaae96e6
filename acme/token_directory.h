#pragma once
// TokenDirectory: HTTP-01 key authorizations that an ACME client left in a directory.
//
// A token is looked for in two places, so that both kinds of writer work: DIR/TOKEN (uacme, lego, dehydrated, a hook)
// and DIR/.well-known/acme-challenge/TOKEN (certbot --webroot -w DIR).
//
// Every read() goes to the file system: a file written a moment ago is there, a removed one is gone, there is no cache
// to be stale. That is a handful of system calls on a local directory, some microseconds; challenges are rare, and the
// caller bounds how often strangers may ask. Nothing in the directory can make it wait or lead out of it: links are not
// followed below DIR (DIR itself may be one), a FIFO is opened without blocking, only regular files of up to 4 KiB are
// read. The directory belongs on a local file system.

#include <string>
#include <string_view>

namespace edgemux::acme {

struct TokenAnswer {
  enum class Kind {
    found,
    not_found,  // also while the file is still empty: its writer has not come to it yet
    error,      // there is something, but it cannot be served
  };
  Kind kind = Kind::not_found;
  std::string
      text;  // found: the content without trailing white space; error: what is wrong, with the path, for the log
};

constexpr std::size_t max_token_file = 4096;  // bytes

// Thread safe: a value that only holds the path.
class TokenDirectory {
 public:
  // An empty path is a directory that holds nothing. The directory need not exist yet. With a `root`, a folder above it
  // that somebody else may write to, no link on the way from there leads out of it.
  explicit TokenDirectory(std::string path, std::string root = {}) : path_(std::move(path)), root_(std::move(root)) {}

  // `token` need not be checked before: what is no token is not found.
  [[nodiscard]] TokenAnswer read(std::string_view token) const;

  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  [[nodiscard]] int open() const;

  std::string path_;
  std::string root_;
};

}  // namespace edgemux::acme
