// Any bytes as a main file (and, behind a line of four dashes, as an included one): an answer without a crash, a
// snapshot or a reason with a place inside the file. No file of the disk is touched.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "config/compiler.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace edgemux;
  const std::string input(reinterpret_cast<const char*>(data), size);
  const auto cut = input.find("\n----\n");
  std::map<std::string, std::string> contents{{"/e/edgemux.yaml", input.substr(0, cut)}};
  if (cut != std::string::npos) contents["/e/a.yaml"] = input.substr(cut + 6);
  config::CompilerOptions options;
  options.state_dir = "";
  options.files = config::memory_files(std::move(contents));
  options.auto_workers = [] { return 1U; };
  config::Compiler compiler("/e/edgemux.yaml", std::move(options));
  const auto compiled = compiler.compile();
  if (compiled.main_ok != (compiled.snapshot != nullptr)) std::abort();
  if (!compiled.main_ok && compiled.errors() == 0) std::abort();
  for (const auto& diagnostic : compiled.diagnostics) {
    if (diagnostic.origin.file == nullptr || diagnostic.message.empty() || diagnostic.render().empty()) std::abort();
    if ((diagnostic.origin.line == 0) != (diagnostic.origin.column == 0)) std::abort();
  }
  if (compiled.snapshot != nullptr) {
    for (const auto& listener : compiled.snapshot->listeners) {
      for (const auto& entry : listener->hosts.entries()) {
        if (entry.route == nullptr || entry.name.front() == '*') continue;
        const auto* found = listener->hosts.find(entry.name);
        if (found == nullptr || *found != entry.route) std::abort();
      }
    }
  }
  // The same again gives the same.
  if (compiler.compile().fingerprint != compiled.fingerprint) std::abort();
  return 0;
}
