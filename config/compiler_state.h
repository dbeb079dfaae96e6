#pragma once
// Compiler::State: what the compiler keeps between compiles. compiler.cc has the compile of everything, recompile.cc
// the one of what changed, settle.cc what either leaves behind.

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "config/assembly.h"
#include "config/compiler.h"
#include "config/inputs.h"
#include "config/last_good.h"
#include "config/listing.h"
#include "config/parsing.h"
#include "config/security_material.h"
#include "config/source_file.h"
#include "config/unit.h"
#include "config/upstream_registry.h"
#include "config/upstream_tls.h"

namespace edgemux::config {

class Compiler::State {
 public:
  State(std::string main_path, CompilerOptions options);

  Compiled compile(Touched touched, const Accept& accept);
  Kept keep();
  void reread();
  void hold(std::set<std::string> paths) { to_hold_ = std::move(paths); }
  void published();
  void unpublished();
  void forget() {
    base_.reset();
    last_.reset();
    serving_ = false;
  }

 private:
  // What a compile that is refused must not cost.
  struct GoodVersion {
    SourceFile* file;
    std::shared_ptr<const Parsed> good;
    bool asked_disk;
    bool lost;
  };
  std::vector<GoodVersion> good_versions();
  // `made` is not put in force: good versions are what they were, and the next compile starts from what is linked.
  void refuse(const routing::SnapshotPtr& made, const std::vector<GoodVersion>& before);
  // One attempt, of everything or, with `base_`, of what changed: nothing when that is not enough.
  Compiled compile_all();
  std::optional<Compiled> compile_changed();

  [[nodiscard]] std::string display_of(const std::string& path) const;
  [[nodiscard]] std::string state_dir(const Settings& settings) const;
  // Before it is read.
  void look_at(SourceFile& file) const;
  // Reads the file and, if its bytes are new, parses them. True: they are.
  bool read(SourceFile& file, bool is_main);
  // The first half: true, and the new bytes, or null where there are none to be parsed.
  bool fetch(SourceFile& file, Parsing::Bytes& bytes) const;
  // Sets SourceFile::excess of a tenant's files, in their order, by what look_at() saw. Returns those where it differs.
  static std::vector<SourceFile*> bound(const std::string& tenant, std::uint64_t most,
                                        const std::vector<SourceFile*>& files);
  SourceFile& known_file(const std::string& path);
  Listing list(const Settings& settings, Inputs& inputs, Problems& problems) const;
  Unit& unit_of(const std::string& tenant);
  Unit::Context context(const Settings& settings, const core::CertificateStore& certificates, const Linked* platform);
  [[nodiscard]] const SourceFile& main() const { return *order_.front(); }
  // Sets machine_problem_.
  [[nodiscard]] routing::Listened listened_now(const Settings& settings);
  void warn_of_machine(Problems& problems) const;
  // Looks at the machine's addresses, and at those of the listeners. Where one came or went, those are added to
  // concerned_ who have it as an endpoint, or of whom there is a problem to tell.
  void look_at_own(const Settings& settings);

  // Of compile_all():
  void take(const Listing& listing, Parsing& parsing);
  std::shared_ptr<routing::Snapshot> link(const Settings& settings, Parsing& parsing, Inputs& inputs,
                                          Problems& problems);
  [[nodiscard]] Assembly::Units changed_since(const Assembly::Units& before) const;
  void fill(const Settings& settings, routing::Snapshot& snapshot) const;
  void finish(Compiled& out);
  void list_watched();
  // What was compiled is in force now: remember it, forget what is gone.
  void settle(Compiled& out);
  void serve(const SourceFile& file);
  void save(SourceFile& file, std::string& problem);
  // Its last good bytes.
  void write(const SourceFile& file, std::string& problem);
  // What lies in the state directory is not what was written there: it is looked at, and written, anew.
  void distrust_disk();
  void settle_all(const routing::Snapshot& made, std::string& problem);
  void settle_changed(std::string& problem);
  void remember();

  // What tells whether a path is still what it was.
  struct Seen {
    std::string path;
    Stamp stamp;
    bool sure = false;  // an equal stamp means equal contents
  };
  using AllSeen = std::vector<Seen>;
  struct SeenFolder {
    Seen seen;
    std::vector<std::string> names;
    bool pairs = false;  // of certificates
  };
  [[nodiscard]] Seen see(const std::string& path) const;
  // It is what it was when it was seen: nobody touched it, or its stamp says so.
  [[nodiscard]] bool stands(const std::string& path, const Stamp& stamp, bool sure) const {
    return sure && !files_->held(path) && !files_->failed(path) &&
           (!touched_.contains(path) || files_->stamp(path) == stamp);
  }
  [[nodiscard]] AllSeen see_all(const std::set<std::string>& paths) const;
  [[nodiscard]] bool same(const AllSeen& seen) const;

  // Of compile_changed():
  struct Changes {
    std::vector<std::string> gone;  // files
    std::vector<std::string> read;  // again
    std::set<std::string> units;    // to be linked again
  };
  [[nodiscard]] bool sound() const;
  std::optional<Changes> look();
  // False: this is more than some files of tenants.
  bool look_at_folders(bool& names_changed);
  bool look_at_listing(Changes& changes);
  void look_at_files(Changes& changes);
  [[nodiscard]] std::vector<SourceFile*> files_of(const std::string& tenant) const;
  void look_at_material(Changes& changes);
  bool relink(const Changes& changes, const core::CertificateStore& certificates, Assembly::Units& before);

  std::string main_as_given_;
  std::string main_path_;  // absolute
  CompilerOptions options_;
  std::shared_ptr<Files> files_;

  std::map<std::string, SourceFile> known_;  // by path; the main file too
  CertificatePairs pairs_;
  TlsSeals seals_;
  UpstreamRegistry registry_;
  TenantRegistry tenants_;
  LastGood last_good_;
  std::set<std::string> listed_before_;  // files of the compile before
  std::set<std::string> unsaved_;        // whose last good bytes could not be written
  std::set<std::string> later_;          // whose last good bytes keep() is to write
  bool prune_later_ = false;             // by keep()
  bool distrusted_ = false;              // distrust_disk() since the latest load of everything
  std::set<std::string> to_hold_;        // in the next compile

  // Of the latest compile. In the order of precedence: the main file first.
  std::vector<SourceFile*> order_;
  std::map<std::string, Unit> units_;  // by tenant, "" for the platform
  Assembly::Units linked_;             // those of units_
  Tenancy tenancy_;
  timespec began_{};
  Touched touched_;                                                                         // since the latest compile
  std::shared_ptr<routing::OwnAddresses> own_ = std::make_shared<routing::OwnAddresses>();  // of what is in force
  routing::Listened listened_;   // of what was compiled last, which has tenants
  bool machine_told_ = false;    // its addresses were, once
  std::string machine_problem_;  // why they were not, the latest time
  // What is in force of the files, and what was delivered since; null: nothing.
  std::map<std::string, std::shared_ptr<const Parsed>> in_force_;
  std::map<std::string, std::shared_ptr<const Parsed>> delivered_;
  std::set<std::string> concerned_;  // tenants whose endpoints are to be judged again, by the compile at hand
  // What no unit contributes.
  struct General {
    Listing listing;
    std::set<std::string> paths;
    std::set<std::string> folders;
    std::set<std::string> pair_folders;
    std::string digest;
  };
  General general_;

  // What the linking of tenants' units stands on, besides their files, their tenants and the platform's unit.
  struct Ground {
    std::vector<std::pair<std::string, routing::Protocol>> listeners;
    Digest tls;     // its defaults for hosts that end TLS
    Digest claims;  // which tenant claims what
    Digest places;  // where tenants and claims stand
    Digest pairs;   // of certificates, as they are named
  };
  [[nodiscard]] Ground ground(const Settings& settings) const;
  [[nodiscard]] static std::uint64_t same_listeners(const Ground& before, const Ground& now);
  [[nodiscard]] static bool same_kinds(const Ground& before, const Ground& now);
  // What is different since the latest good compile.
  struct Since {
    const routing::Snapshot* last;  // null = all
    const core::CertificateStore& certificates;
    std::unordered_map<std::string_view, routing::TenantPtr> tenants = {};  // of `last`
    bool claims = true;
    bool places = true;
    bool pairs = true;
    bool tls = true;
    bool listeners = true;
    std::uint64_t same_listeners = 0;  // those that stand where they stood
    bool firm = false;                 // nothing else, but for files and tenants
  };
  bool link_units(const Settings& settings, Parsing& parsing, Since& since, Problems& problems);
  [[nodiscard]] bool stands(const std::string& tenant, const Unit& unit, const Since& since) const;

  // Of the latest compile, if it was a good one: its snapshot, which linked_ made, and what its units stand on.
  routing::SnapshotPtr last_;
  bool settled_ = false;  // there was a good one at all
  bool serving_ = false;  // there was a good one, whose traffic keeps its processors
  Ground ground_;
  std::map<std::string, AllSeen> material_;  // by unit
  // Of the latest compile, if it was a good one: what compile_changed() goes on from.
  struct Base {
    AllSeen general;  // certificates, files that are missing
    std::vector<SeenFolder> folders;
  };
  std::optional<Base> base_;
  // What is to be watched; made when it is asked for and not known.
  struct Watched {
    std::vector<std::string> files;
    std::vector<std::string> folders;
  };
  std::optional<Watched> watched_;
  Changes changes_;    // since then, of the compile at hand
  Changes unsettled_;  // since then, of those that were refused
};

}  // namespace edgemux::config
