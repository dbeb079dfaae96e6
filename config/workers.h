#pragma once
// auto_workers: how many workers `workers: auto` means: as many as processors that this process may use, and no more
// than its cgroups' quotas let run at once (rounded up). At least 1.

#include <functional>
#include <optional>
#include <string>

namespace edgemux::config {

using SystemFile = std::function<std::optional<std::string>(const std::string& path)>;

unsigned auto_workers();
// The same of given numbers: `processors` by affinity, and the files below /proc/self and /sys/fs/cgroup.
unsigned auto_workers(unsigned processors, const SystemFile& read);

}  // namespace edgemux::config
