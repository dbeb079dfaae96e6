#pragma once
// Compiler: from YAML files to a routing::Snapshot. Everything that the configuration says is read, checked and
// resolved here, off the loops; what comes out is values.
//
// The unit is the file:
// - A main file with an error (Compiled::main_ok is false) gives no snapshot: whatever is in force stays.
// - An include file with an error is set aside: its last good bytes (kept in memory, and in the state directory over
// restarts) are
//   compiled in its place; where there are none it is left out. A deleted file is removed. An unreadable one is set
//   aside.
// - Where two files claim the same (an upstream's name, a host on a listener), the later one is set aside: the main
// file comes
//   first, then the order of `include:`, then the order of file names. But what is in force of an include, or
//   was when the process before ended, is not taken from it by another one.
// - A certificate that cannot be loaded is an error, left out, and harms its own hosts only; while the process runs its
// last good pair
//   stays in use. A client CA that cannot be loaded sets Route::refused.
//
// Names of upstreams: those of the main file and of all platform includes form one space, visible everywhere. A name
// that only a left-out file defines is an upstream without endpoints (its routes answer 503), so that one bad file
// does not take the files that refer to it along.
//
// Not thread safe; compile() may be called again and again. Kept between calls: parsed files, certificate pairs, ids
// and UpstreamStates (by identity, for as long as somebody holds them), and what the latest good compile came to. Where
// only files of some tenants changed since, as their stamps tell, those are read, and those tenants' files linked,
// alone; the rest of the snapshot is shared with the one before. Whatever else changed, everything is read, and linked
// as far as it is different.

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "config/diagnostic.h"
#include "config/files.h"
#include "config/touched.h"
#include "core/base/result.h"
#include "routing/table/snapshot.h"

namespace edgemux::config {

struct Compiled {
  // Null: the main file is broken, nothing changes. `generation` is the caller's to set, before it is published.
  std::shared_ptr<routing::Snapshot> snapshot;
  std::vector<Diagnostic> diagnostics;  // in the order of the files, then of the lines
  bool main_ok = false;                 // errors may be there all the same: in includes, in certificates
  // Include files with an error, absolute: their last good bytes are in force, or they are left out.
  std::vector<std::string> set_aside;
  std::vector<std::string> set_aside_named;  // the same, as messages name them

  // Everything that was read, or would have been: absolute paths as written, and in `directories` the folders that hold
  // them, the folders that were globbed or listed, and those of the targets of links. This is what is to be watched.
  std::vector<std::string> files;
  std::vector<std::string> directories;

  // Where this compile passed over files that their stamps told to be the same: those that it did read.
  std::optional<std::vector<std::string>> read_again;

  // Of the contents of all that was read (certificates included). Equal: nothing has changed, nothing need be
  // published.
  std::string fingerprint;
  std::string main_file;  // absolute
  // Files that changed while they were read. Without an Accept after three tries; then compile again when they have
  // settled.
  std::vector<std::string> moved;
  std::string refused;  // what `accept` said
  // Something could not be read, or kept, for a reason that nothing tells the end of (no free descriptor, a full disk):
  // compile again in a while.
  bool unfinished = false;

  [[nodiscard]] std::size_t errors() const;
  [[nodiscard]] std::size_t warnings() const;
};

// Whether what was compiled may be put in force: empty, or why not. Where not, no last good bytes are replaced or
// forgotten. It is asked where there is a snapshot; also where files changed while they were read.
using Accept = std::function<std::string(const Compiled&)>;

struct CompilerOptions {
  // Beats state_dir in the file; "" = keep last good bytes in memory only, write nothing (`edgemux check`).
  std::optional<std::string> state_dir;
  std::shared_ptr<Files> files;            // null = the disk
  std::function<unsigned()> auto_workers;  // null = auto_workers() of config/workers.h
  bool confirmed = false;  // published() or unpublished() tells what became of a compile; else all that is good serves
  std::function<core::Result<std::vector<core::SocketAddress>>()> machine_addresses =
      {};  // null = machine_addresses() of config/tenancy.h
  // The first good compile writes no last good bytes, which takes as long as linking: keep() does, when traffic is
  // served.
  bool keep_later = false;
};

// What keep() came to.
enum class Kept : std::uint8_t {
  some,    // call it again
  all,     // nothing is left
  failed,  // it cannot be written: the next compile tries again, and tells
};

class Compiler {
 public:
  explicit Compiler(std::string main_path, CompilerOptions options = {});
  ~Compiler();
  Compiler(const Compiler&) = delete;
  Compiler& operator=(const Compiler&) = delete;

  // `touched`: of what the latest compile named in files and directories. Only there stamps are looked at; what changed
  // elsewhere since is left for the next time.
  Compiled compile(Touched touched = Touched::everything(), const Accept& accept = {});
  // The next compile takes these files for unreadable, those that keep changing: their last good bytes serve. Not for
  // the main file.
  void hold(std::set<std::string> paths);
  // Writes a few of the last good bytes that CompilerOptions::keep_later has left.
  Kept keep();
  // The next compile reads everything, whatever stamps say.
  void reread();
  // With CompilerOptions::confirmed: what was compiled is in force now; or it cannot be put in force, and what was
  // before still is.
  void published();
  void unpublished();
  // The next compile reads and links everything.
  void forget();

 private:
  class State;
  std::unique_ptr<State> state_;
};

}  // namespace edgemux::config
