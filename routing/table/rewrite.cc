#include "routing/table/rewrite.h"

#include <algorithm>

namespace edgemux::routing {
namespace {

std::string_view without_slash(std::string_view text) {
  if (text.ends_with('/')) text.remove_suffix(1);
  return text;
}

bool set(core::FieldList& fields, std::string_view name, std::string_view value) {
  bool done = false;
  for (core::Field& field : fields) {
    if (field.name != name || field.hop_by_hop) continue;
    if (done) {
      field.hop_by_hop = true;
    } else {
      field.value = value;
      done = true;
    }
  }
  return done || fields.add({name, value, core::classify_field(name)});
}

}  // namespace

void replace_prefix(std::string_view path, std::string_view matched, std::string_view replacement, std::string& out) {
  const std::string_view prefix = without_slash(replacement);
  const std::size_t covered = path == matched ? path.size() : without_slash(matched).size();
  const std::string_view rest = path.substr(std::min(covered, path.size()));
  out += prefix;
  out += rest;
  if (prefix.empty() && rest.empty()) out += '/';
}

void rewrite_path(const Rewrite& rewrite, std::string_view path, std::string_view matched, std::string& out) {
  if (rewrite.path) {
    out += *rewrite.path;
  } else if (rewrite.prefix) {
    replace_prefix(path, matched, *rewrite.prefix, out);
  } else {
    out += path;
  }
}

bool may_modify_request_field(std::string_view name) {
  return !core::is_managed(core::classify_field(name)) && !core::aliases_managed_field(name);
}

bool may_modify_answer_field(std::string_view name) {
  const core::FieldId id = core::classify_field(name);
  return !core::is_always_hop_by_hop(id) && id != core::FieldId::content_length && id != core::FieldId::host;
}

void drop_aliases(const HeaderModifier& change, core::FieldList& fields) {
  if (!fields.underscored() && !change.underscored) return;
  for (core::Field& field : fields) {
    const auto aliases = [&](std::string_view name) { return core::alias_each_other(field.name, name); };
    const bool alias =
        std::any_of(change.set.begin(), change.set.end(), [&](const auto& one) { return aliases(one.first); }) ||
        std::any_of(change.remove.begin(), change.remove.end(), aliases);
    field.hop_by_hop = field.hop_by_hop || alias;
  }
}

bool modify(const HeaderModifier& change, core::FieldList& fields) {
  for (const auto& [name, value] : change.set) {
    if (!set(fields, name, value)) return false;
  }
  for (const auto& [name, value] : change.add) {
    if (!fields.add({name, value, core::classify_field(name)})) return false;
  }
  for (const auto& name : change.remove) {
    for (core::Field& field : fields) {
      if (field.name == name) field.hop_by_hop = true;
    }
  }
  return true;
}

}  // namespace edgemux::routing
