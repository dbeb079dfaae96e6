#include "cli/check.h"

#include <nlohmann/json.hpp>
#include <ostream>

#include "config/compiler.h"

namespace edgemux::cli {
namespace {

std::string counted(std::size_t n, const std::string& what) {
  return std::to_string(n) + " " + what + (n == 1 ? "" : "s");
}

void print_text(const config::Compiled& compiled, std::ostream& out) {
  for (const auto& diagnostic : compiled.diagnostics) {
    out << diagnostic.render() << "\n";
    if (!diagnostic.tenant.empty()) out << "    tenant: " << diagnostic.tenant << "\n";
  }
  const auto warnings = compiled.warnings();
  if (const auto errors = compiled.errors(); errors != 0) {
    out << counted(errors, "error") << ", " << counted(warnings, "warning") << "\n";
    return;
  }
  const auto& snapshot = *compiled.snapshot;
  out << "OK: " << counted(snapshot.listeners.size(), "listener") << ", " << counted(snapshot.host_count, "host")
      << ", " << counted(snapshot.upstreams.size(), "upstream");
  if (warnings != 0) out << "; " << counted(warnings, "warning");
  out << "\n";
}

void print_json(const config::Compiled& compiled, std::ostream& out) {
  auto list = nlohmann::json::array();
  for (const auto& d : compiled.diagnostics) {
    list.push_back({{"severity", d.severity == config::Severity::error ? "error" : "warning"},
                    {"file", d.origin.file == nullptr ? "" : *d.origin.file},
                    {"line", d.origin.line},
                    {"column", d.origin.column},
                    {"message", d.message},
                    {"hint", d.hint},
                    {"tenant", d.tenant},
                    {"source", d.source_line},
                    {"source_column", d.source_column}});
  }
  nlohmann::json report{{"ok", compiled.errors() == 0},
                        {"errors", compiled.errors()},
                        {"warnings", compiled.warnings()},
                        {"diagnostics", std::move(list)}};
  if (compiled.snapshot != nullptr) {
    report["listeners"] = compiled.snapshot->listeners.size();
    report["hosts"] = compiled.snapshot->host_count;
    report["upstreams"] = compiled.snapshot->upstreams.size();
  }
  // A message may quote bytes that are no UTF-8: they are replaced.
  out << report.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) << "\n";
}

}  // namespace

int check(const CheckOptions& options, std::ostream& out) {
  if (options.config.empty()) {
    out << "edgemux check: name the configuration with --config FILE\n";
    return 2;
  }
  config::CompilerOptions compiler;
  compiler.state_dir = "";
  const auto compiled = config::Compiler(options.config, std::move(compiler)).compile();
  options.format == CheckOptions::Format::json ? print_json(compiled, out) : print_text(compiled, out);
  return compiled.errors() == 0 ? 0 : 1;
}

}  // namespace edgemux::cli
