#pragma once
// Unit: the files of one tenant, or those of the platform with the main file, and what linking them came to. It is the
// unit of linking: when a file changes, its unit alone is linked again.
//
// A file with an error is set aside: its last good bytes are linked in its place, or it is left out. Taking a version
// back changes what the others of the unit see, so linking is repeated until nothing fails.

#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "config/last_good.h"
#include "config/linker.h"
#include "config/source_file.h"

namespace edgemux::config {

class Unit {
 public:
  // What is the same for all units of a compile.
  struct Context {
    const Settings& settings;
    Files& files;
    UpstreamRegistry& registry;
    const core::CertificateStore& certificates;
    const Tenancy& tenancy;
    const routing::Listened& listened;
    LastGood& last_good;
    const std::map<std::string, std::shared_ptr<const Parsed>>& in_force;  // by path
    const SourceFile& main;
    const Linked* platform;  // null while the platform's own unit is linked
    bool first;              // nothing is in force yet but what was when the process before ended
  };

  Unit(std::string tenant, TlsSeals& seals);

  // The unit's files, in the order of precedence. Their contents are read already.
  std::vector<SourceFile*> files;

  // False: the main file has an error, or its `tls:` (reported to `problems`); then there is nothing linked.
  bool link(const Context& context, Problems& problems);
  // In place of link(), when there is no main file to link with: every file says what is wrong with it.
  void report();
  // Then, if the main file could be read: what is wrong with the unit's files together, and, to `problems`, with the
  // defaults of `tls:`.
  void examine(const Context& context, Problems& problems);
  // After either: SourceFile::told of all its files. `more` is told with the main file's. Without, nothing is done.
  void conclude(std::vector<Diagnostic> more);

  // Its files are the very same as when they were linked, and nothing else counted; of those that are out, the disk has
  // no good version.
  [[nodiscard]] bool stands() const;
  // What was linked is in force, with all that it read.
  void settle() { upstream_tls_.settle(); }
  // Some of its files want the same, so that it counted what was in force.
  [[nodiscard]] bool clashes() const { return clashes_; }
  // It was said of some of its files what is wrong with them.
  [[nodiscard]] bool tells() const;

  // After link():
  [[nodiscard]] const LinkedPtr& linked() const { return linked_; }
  // What it read beyond its files: CAs, certificates of upstreams.
  [[nodiscard]] const Inputs& material() const { return *material_; }
  [[nodiscard]] std::uint32_t set_aside() const { return set_aside_; }

 private:
  void bar_unknown(SourceFile& file, const Tenancy& tenancy) const;
  static void report_own(SourceFile& file);
  // How many bytes its files in force may take together.
  [[nodiscard]] std::uint64_t most(const Context& context) const;
  void bound_in_force(const Context& context);
  static void tell_of_loss(SourceFile& file);
  void recall(SourceFile& file, const LastGood& last_good);
  void set_aside(SourceFile& file, const LastGood& last_good);
  // Sets those aside that have to give way to another. False: there are none.
  bool give_way(const Context& context, const Linker& linker);
  void fail(SourceFile& file, std::vector<Diagnostic> diagnostics, const LastGood& last_good);
  // Of the names in the files that are set aside, or in all.
  [[nodiscard]] Linker::Doubt doubt(bool of_all = false) const;
  bool link_pass(const Context& context, bool& main_ok);
  static bool admissible(const SourceFile& file, const Parsed& version, Linker& linker, const Context& context);
  struct Examined {
    std::vector<Diagnostic> diagnostics;
    bool sound = false;  // it could be admitted after all
  };
  static Examined examine(const SourceFile& file, Linker& linker, const Context& context);
  static void tell(SourceFile& file, Examined examined);

  Linker::Held held(SourceFile& file, const Context& context);
  void refuse(SourceFile& file, std::vector<Diagnostic> diagnostics, const std::vector<Linker::Clash>& clashes,
              const LastGood& last_good);
  bool try_again(Linker& linker, const Context& context, const std::set<const SourceFile*>& sound);
  void end_it(const Context& context);

  // What a file said, and whose it was, when it was linked.
  struct Said {
    std::string path;
    std::string content;
    Binding binding;
    std::string barred;
    friend bool operator==(const Said&, const Said&) = default;
  };
  [[nodiscard]] std::vector<Said> said() const;
  [[nodiscard]] SourceFile& file_named(const std::string& display);  // there is one

  std::string tenant_;
  std::vector<Said> said_;  // by what is linked
  bool fresh_ = false;      // linked or reported, and not concluded
  bool clashes_ = false;
  std::map<const SourceFile*, std::vector<Diagnostic>> refused_;  // for what others have
  std::map<const SourceFile*, int> tries_;
  int passes_ = 0;
  std::unordered_map<std::string_view, SourceFile*> by_name_;
  std::uint64_t loadable_ = 0;  // bytes of last good versions that may still be fetched from the disk
  TlsPolicies policies_;
  UpstreamTls upstream_tls_;
  std::optional<Inputs> material_;
  Patterns patterns_;  // of what is linked
  LinkedPtr linked_;
  std::uint32_t set_aside_ = 0;
};

}  // namespace edgemux::config
