#pragma once
// Listing: which files `include:` of the main file names now, in the order of precedence, and whose each is.

#include <functional>
#include <string>
#include <vector>

#include "config/inputs.h"
#include "config/problems.h"
#include "config/settings.h"
#include "config/tenancy.h"

namespace edgemux::config {

constexpr std::size_t max_tenant_files = 1024;  // of one tenant, over all entries of include

struct Listing {
  struct File {
    std::string path;
    Binding binding;
    std::string barred;  // not empty: why no version of it may be used
    std::string barred_hint;
    bool told = false;  // why it cannot be read is said already
    friend bool operator==(const File&, const File&) = default;
  };
  // An entry that can name no file.
  struct Reminder {
    Place place;
    std::string message;
    std::string hint;
    friend bool operator==(const Reminder&, const Reminder&) = default;
  };
  std::vector<File> files;
  std::vector<Reminder> reminders;  // to be told as warnings
  FolderOwners folders;
  bool closed = false;  // some folder could not be looked into
  friend bool operator==(const Listing&, const Listing&) = default;
};

// What list_includes() asks for.
struct ListingHooks {
  std::function<std::string(const std::string&)> display;  // how messages name a path
  // The files below a folder of which there are last good bytes.
  std::function<std::vector<std::string>(const std::string& folder)> kept;
};

// Problems are those of the main file. A folder that cannot be looked into is one; the files that were good in it
// before are listed, as if they could not be read. So are those of a tenant's folder with too many names, which stands
// in the list itself, barred.
Listing list_includes(const Settings& settings, const std::string& main_path, const ListingHooks& hooks, Inputs& inputs,
                      Problems& problems);

}  // namespace edgemux::config
