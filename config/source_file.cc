#include "config/source_file.h"

#include "config/schema.h"
#include "config/values.h"
#include "config/yaml.h"

namespace edgemux::config {

std::shared_ptr<const Parsed> parse_file(std::shared_ptr<const std::string> bytes, const std::string& path,
                                         const std::shared_ptr<const std::string>& display, bool is_main) {
  auto parsed = std::make_shared<Parsed>();
  parsed->bytes = bytes;
  Problems problems(display, bytes, path);
  if (const auto document = parse_yaml(bytes, problems)) {
    parsed->readable = true;
    const Node& root = *document->root();
    check(root, configuration_type(), problems, !is_main);
    if (is_main) parsed->settings = read_settings(root, path, problems);
    parsed->spec = read_file_spec(root, path, is_main, problems);
  }
  parsed->ok = problems.errors() == 0;
  parsed->diagnostics = problems.take();
  return parsed;
}

std::string too_large_together(const std::string& tenant, std::uint64_t most) {
  return "the files of tenant " + quote(tenant) + " take more than " + size_text(most) +
         " together with this one; make them smaller, or set limits.config_size of the tenant in the main file";
}

}  // namespace edgemux::config
