#include "config/source_file.h"

#include "config/schema.h"
#include "config/values.h"
#include "config/yaml.h"

namespace edgemux::config {
namespace {

Soundness soundness(const Node& root, const Problems& problems) {
  Soundness sound;
  const struct {
    std::string_view key;
    bool& is;
  } sections[] = {{"listeners", sound.listeners}, {"tenants", sound.tenants}, {"include", sound.includes}};
  for (const Node* key = root.first; key != nullptr; key = key->next->next) {
    const Node* after = key->next->next;
    const Place end = after == nullptr ? Place{UINT32_MAX, 0} : after->place;
    for (const auto& section : sections) {
      if (section.key == key->text) section.is = section.is && problems.sound_between(key->place, end);
    }
  }
  return sound;
}

}  // namespace

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
    if (is_main) parsed->settings->sound = soundness(root, problems);
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
