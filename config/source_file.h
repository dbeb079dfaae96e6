#pragma once
// SourceFile: one configuration file over the compiles: what its bytes say now, and the last version that was good.

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "config/files.h"
#include "config/problems.h"
#include "config/settings.h"
#include "config/spec.h"
#include "config/tenancy.h"

namespace edgemux::config {

// A file's bytes, understood. Immutable.
struct Parsed {
  std::shared_ptr<const std::string> bytes;
  std::vector<Diagnostic> diagnostics;
  bool readable = false;  // it is YAML: what can be known of `spec` is there
  bool ok = false;        // without errors of its own
  FileSpec spec;
  std::optional<Settings> settings;  // of the main file
};

std::shared_ptr<const Parsed> parse_file(std::shared_ptr<const std::string> bytes, const std::string& path,
                                         const std::shared_ptr<const std::string>& display, bool is_main);

// Why a file of a tenant is left out that does not fit beside those before it.
std::string too_large_together(const std::string& tenant, std::uint64_t most);

struct SourceFile {
  enum class Use : std::uint8_t { current, good, out };

  std::string path;                            // absolute
  std::shared_ptr<const std::string> display;  // as messages name it
  std::shared_ptr<const Parsed> current;       // null: it could not be read
  std::shared_ptr<const Parsed> good;          // null: none is known
  bool good_served = false;                    // when the process ended that kept it
  bool asked_disk = false;                     // for a good version of an earlier process
  bool lost = false;                           // the good version did not fit and was given up

  // Of the latest reading.
  std::string excess;                // not empty: why it is not to be read, as its tenant's files are too large
  std::string unreadable;            // not empty: why
  std::string content;               // a digest of the bytes, or of the reason
  Stamp stamp;                       // before it was read
  bool sure = false;                 // what has this stamp still has these bytes
  std::vector<std::string> folders;  // to be watched for it

  // Of the compile at hand, or of the latest one that linked its unit.
  Binding binding;
  std::string barred;  // not empty: why no version of it may be used
  std::string barred_hint;
  Use use = Use::current;
  std::vector<Diagnostic> found;   // what holds however the linking ends
  std::vector<Diagnostic> linked;  // of the last pass of linking
  std::vector<Diagnostic> told;    // all of them, when the linking is over

  [[nodiscard]] const Parsed* in_force() const {
    return use == Use::current ? current.get() : use == Use::good ? good.get() : nullptr;
  }
};

}  // namespace edgemux::config
