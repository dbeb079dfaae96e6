#include "config/workers.h"

#include <sched.h>

#include <algorithm>
#include <charconv>
#include <fstream>
#include <iterator>
#include <sstream>
#include <thread>

namespace edgemux::config {
namespace {

std::optional<double> ratio(const std::string& quota, const std::string& period) {
  long long q = 0;
  long long p = 0;
  if (std::from_chars(quota.data(), quota.data() + quota.size(), q).ec != std::errc{} || q <= 0) return std::nullopt;
  if (std::from_chars(period.data(), period.data() + period.size(), p).ec != std::errc{} || p <= 0) return std::nullopt;
  return static_cast<double>(q) / static_cast<double>(p);
}

// The quota of one cgroup, version 2 or 1. "max" and -1 are none.
std::optional<double> quota_of(const std::string& folder, const SystemFile& read) {
  if (const auto max = read(folder + "/cpu.max")) {
    std::istringstream words(*max);
    std::string quota;
    std::string period;
    words >> quota >> period;
    return ratio(quota, period);
  }
  const auto quota = read(folder + "/cpu.cfs_quota_us");
  const auto period = read(folder + "/cpu.cfs_period_us");
  if (quota && period) return ratio(*quota, *period);
  return std::nullopt;
}

}  // namespace

unsigned auto_workers(unsigned processors, const SystemFile& read) {
  double least = std::max(1U, processors);
  std::istringstream groups(read("/proc/self/cgroup").value_or(""));
  for (std::string line; std::getline(groups, line);) {
    // "0::/user.slice/x.service", or with version 1 "4:cpu,cpuacct:/docker/abc".
    const auto first = line.find(':');
    const auto second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = "," + line.substr(first + 1, second - first - 1) + ",";
    const bool unified = controllers == ",,";
    if (!unified && controllers.find(",cpu,") == std::string::npos) continue;
    const std::string root = unified ? "/sys/fs/cgroup" : "/sys/fs/cgroup/cpu";
    // A quota of any ancestor binds as well.
    std::string path = line.substr(second + 1);
    if (path == "/") path.clear();
    for (;;) {
      if (const auto quota = quota_of(root + path, read)) least = std::min(least, *quota);
      if (path.empty() || path.find('/') == std::string::npos) break;
      path.erase(path.rfind('/'));
    }
  }
  const auto whole = static_cast<unsigned>(least);
  return std::max(1U, whole + (least > whole ? 1U : 0U));
}

unsigned auto_workers() {
  cpu_set_t set;
  CPU_ZERO(&set);
  unsigned processors = std::thread::hardware_concurrency();
  if (sched_getaffinity(0, sizeof set, &set) == 0) processors = static_cast<unsigned>(CPU_COUNT(&set));
  return auto_workers(processors, [](const std::string& path) -> std::optional<std::string> {
    std::ifstream in(path);
    if (!in) return std::nullopt;
    return std::string(std::istreambuf_iterator<char>(in), {});
  });
}

}  // namespace edgemux::config
