#include "listeners/forwarding.h"

#include <algorithm>
#include <array>
#include <optional>

namespace edgemux::listeners {
namespace {

using core::Field;
using core::FieldId;
using core::FieldList;

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

// "10.0.0.1", "::1", "[::1]", and each with a port behind it.
std::optional<core::SocketAddress> parse_node(std::string_view text) {
  if (text.starts_with('[')) {
    const std::size_t close = text.find(']');
    if (close == std::string_view::npos) return std::nullopt;
    const std::string_view rest = text.substr(close + 1);
    if (!rest.empty() && rest.front() != ':') return std::nullopt;
    return core::SocketAddress::parse_ip(text.substr(1, close - 1), 0);
  }
  if (std::count(text.begin(), text.end(), ':') == 1) text = text.substr(0, text.find(':'));
  return core::SocketAddress::parse_ip(text, 0);
}

// Takes the last element of a list off, separated by commas that stand in no quotes.
std::string_view take_last(std::string_view& list) {
  bool quoted = false;
  std::size_t at = list.size();
  while (at > 0 && (quoted || list[at - 1] != ',')) {
    --at;
    if (list[at] == '"') quoted = !quoted;
  }
  const std::string_view element = trimmed(list.substr(at));
  list = at > 0 ? list.substr(0, at - 1) : std::string_view();
  return element;
}

bool same_name(std::string_view a, std::string_view lower_case) {
  return a.size() == lower_case.size() && std::equal(a.begin(), a.end(), lower_case.begin(), [](char x, char y) {
           return (x >= 'A' && x <= 'Z' ? static_cast<char>(x + 32) : x) == y;
         });
}

// A parameter of one element of Forwarded, without quotes; empty = there is none.
std::string_view parameter_of(std::string_view element, std::string_view name) {
  while (!element.empty()) {
    const std::size_t end = std::min(element.find(';'), element.size());
    const std::string_view pair = trimmed(element.substr(0, end));
    element.remove_prefix(std::min(end + 1, element.size()));
    const std::size_t equals = pair.find('=');
    if (equals == std::string_view::npos || !same_name(pair.substr(0, equals), name)) continue;
    std::string_view value = pair.substr(equals + 1);
    if (value.size() >= 2 && value.front() == '"' && value.back() == '"') value = value.substr(1, value.size() - 2);
    return value;
  }
  return {};
}

// Counted from 1 at the end of the lists of that id; the first where there are fewer, and empty where there is none.
std::string_view element_from_end(const FieldList& fields, FieldId id, std::size_t number) {
  std::string_view element;
  for (std::size_t i = fields.size(); i > 0; --i) {
    if (fields[i - 1].id != id) continue;
    std::string_view list = fields[i - 1].value;
    while (!list.empty()) {
      element = take_last(list);
      if (--number == 0) return element;
    }
  }
  return element;
}

// Of the list of that id, see sender_behind. `steps`: how many of its elements lead there.
core::SocketAddress walk_back(const FieldList& fields, FieldId id, core::SocketAddress client,
                              std::span<const core::Network> trusted, std::size_t& steps) {
  for (std::size_t i = fields.size(); i > 0; --i) {
    if (fields[i - 1].id != id) continue;
    std::string_view list = fields[i - 1].value;
    while (!list.empty()) {
      const std::string_view element = take_last(list);
      const auto address = parse_node(id == FieldId::forwarded ? parameter_of(element, "for") : element);
      if (!address) return client;
      ++steps;
      client = *address;
      if (!contains(trusted, client)) return client;
    }
  }
  return client;
}

void append_list(std::string& to, const FieldList& fields, FieldId id) {
  for (const Field& field : fields) {
    if (field.id != id || field.value.empty()) continue;
    to += field.value;
    to += ", ";
  }
}

void append_ip(std::string& to, const core::SocketAddress& address) {
  std::array<char, 64> ip;
  to.append(ip.data(), address.write_ip(ip.data()));
}

void append_element(std::string& to, const ForwardingInput& in) {
  const bool v6 = in.peer.is_v6();
  to += v6 ? "for=\"[" : "for=";
  append_ip(to, in.peer);
  if (v6) to += "]\"";
  if (!in.authority.empty()) {
    // Only these need quotes among what an authority may hold (RFC 7239 4).
    const bool quotes = in.authority.find_first_of(":[]") != std::string_view::npos;
    to += quotes ? ";host=\"" : ";host=";
    to += in.authority;
    if (quotes) to += '"';
  }
  to += in.secure ? ";proto=https" : ";proto=http";
}

bool is_x_forwarded(std::string_view name) {
  constexpr std::string_view kPrefix = "x-forwarded-";
  return name.size() >= kPrefix.size() && std::equal(kPrefix.begin(), kPrefix.end(), name.begin(),
                                                     [](char a, char b) { return a == b || (a == '-' && b == '_'); });
}

}  // namespace

bool contains(std::span<const core::Network> networks, const core::SocketAddress& address) {
  return std::any_of(networks.begin(), networks.end(), [&](const auto& network) { return network.contains(address); });
}

Sender sender_behind(const FieldList& fields, const Sender& peer, std::span<const core::Network> trusted) {
  const auto chosen = [&fields](FieldId preferred) {
    return fields.find(preferred) != nullptr ? preferred : FieldId::forwarded;
  };
  std::size_t steps = 0;
  Sender sender{walk_back(fields, chosen(FieldId::x_forwarded_for), peer.address, trusted, steps), peer.secure};
  const FieldId id = chosen(FieldId::x_forwarded_proto);
  const std::string_view element = element_from_end(fields, id, std::max(steps, std::size_t{1}));
  const std::string_view scheme = id == FieldId::forwarded ? parameter_of(element, "proto") : element;
  if (same_name(scheme, "https")) sender.secure = true;
  if (same_name(scheme, "http")) sender.secure = false;
  return sender;
}

std::optional<core::SocketAddress> other_sender(const FieldList& fields, const core::SocketAddress& peer,
                                                std::span<const core::Network> trusted) {
  if (fields.find(FieldId::x_forwarded_for) == nullptr || fields.find(FieldId::forwarded) == nullptr) {
    return std::nullopt;
  }
  std::size_t steps = 0;
  return walk_back(fields, FieldId::forwarded, peer, trusted, steps);
}

ForwardingFields make_forwarding(FieldList& fields, const ForwardingInput& in, std::string& text) {
  bool plain_said = false;  // X-Forwarded-For, -Proto, -Host
  bool forwarded_said = false;
  bool proto_said = false;
  bool host_said = false;
  for (Field& field : fields) {
    switch (field.id) {
      case FieldId::x_forwarded_proto:
        proto_said = plain_said = true;
        break;
      case FieldId::x_forwarded_host:
        host_said = plain_said = true;
        break;
      case FieldId::x_forwarded_for:
        plain_said = true;
        break;
      case FieldId::forwarded:
        forwarded_said = true;
        break;
      case FieldId::x_forwarded_port:
      case FieldId::x_real_ip:
      case FieldId::x_request_id:
        break;
      default:
        // Others (-prefix, -ssl, -scheme, ...) are acted upon by frameworks, too, some of which take '_' for '-'.
        if (!in.trusted && is_x_forwarded(field.name)) field.hop_by_hop = true;
        continue;
    }
    field.hop_by_hop = field.hop_by_hop || !in.trusted;
  }
  ForwardingFields out;
  text.clear();
  const bool plain = !in.trusted || plain_said || !forwarded_said;
  const bool forwarded = !in.trusted || forwarded_said || !plain_said;
  if (plain) {
    if (in.trusted) append_list(text, fields, FieldId::x_forwarded_for);
    append_ip(text, in.peer);
    if (!in.trusted || !proto_said) out.x_forwarded_proto = in.by_https ? "https" : "http";
    if (!in.trusted || !host_said) out.x_forwarded_host = in.authority;
  }
  const std::size_t split = text.size();
  if (forwarded) {
    if (in.trusted) append_list(text, fields, FieldId::forwarded);
    append_element(text, in);
  }
  out.x_forwarded_for = std::string_view(text).substr(0, split);
  out.forwarded = std::string_view(text).substr(split);
  return out;
}

void replace_forwarding(core::FieldList& fields) {
  for (core::Field& field : fields) {
    const bool replaced =
        field.id == FieldId::forwarded || field.id == FieldId::x_forwarded_for || field.id == FieldId::x_request_id;
    field.hop_by_hop = field.hop_by_hop || replaced;
  }
}

}  // namespace edgemux::listeners
