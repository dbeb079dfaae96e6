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

// The "for" of one element of Forwarded, without quotes; empty = there is none.
std::string_view for_of(std::string_view element) {
  while (!element.empty()) {
    const std::size_t end = std::min(element.find(';'), element.size());
    const std::string_view pair = trimmed(element.substr(0, end));
    element.remove_prefix(std::min(end + 1, element.size()));
    const std::size_t equals = pair.find('=');
    if (equals == std::string_view::npos || !same_name(pair.substr(0, equals), "for")) continue;
    std::string_view value = pair.substr(equals + 1);
    if (value.size() >= 2 && value.front() == '"' && value.back() == '"') value = value.substr(1, value.size() - 2);
    return value;
  }
  return {};
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

core::SocketAddress client_behind(const FieldList& fields, const core::SocketAddress& peer,
                                  std::span<const core::Network> trusted) {
  const bool plain = fields.find(FieldId::x_forwarded_for) != nullptr;
  const FieldId id = plain ? FieldId::x_forwarded_for : FieldId::forwarded;
  core::SocketAddress client = peer;
  for (std::size_t i = fields.size(); i > 0; --i) {
    if (fields[i - 1].id != id) continue;
    std::string_view list = fields[i - 1].value;
    while (!list.empty()) {
      const std::string_view element = take_last(list);
      const auto address = parse_node(plain ? element : for_of(element));
      if (!address) return client;
      client = *address;
      if (!contains(trusted, client)) return client;
    }
  }
  return client;
}

ForwardingFields make_forwarding(FieldList& fields, const ForwardingInput& in, std::string& text) {
  ForwardingFields out;
  text.clear();
  if (in.trusted) append_list(text, fields, FieldId::x_forwarded_for);
  append_ip(text, in.peer);
  const std::size_t split = text.size();
  if (in.trusted) append_list(text, fields, FieldId::forwarded);
  append_element(text, in);
  out.x_forwarded_for = std::string_view(text).substr(0, split);
  out.forwarded = std::string_view(text).substr(split);
  out.x_forwarded_proto = in.secure ? "https" : "http";
  out.x_forwarded_host = in.authority;
  for (Field& field : fields) {
    switch (field.id) {
      case FieldId::x_forwarded_proto:
        if (in.trusted) out.x_forwarded_proto = {};
        field.hop_by_hop = field.hop_by_hop || !in.trusted;
        break;
      case FieldId::x_forwarded_host:
        if (in.trusted) out.x_forwarded_host = {};
        field.hop_by_hop = field.hop_by_hop || !in.trusted;
        break;
      case FieldId::x_forwarded_port:
      case FieldId::x_real_ip:
        field.hop_by_hop = field.hop_by_hop || !in.trusted;
        break;
      case FieldId::forwarded:
      case FieldId::x_forwarded_for:
      case FieldId::x_request_id:
        field.hop_by_hop = field.hop_by_hop || !in.trusted;
        break;
      default:
        // Others (-prefix, -ssl, -scheme, ...) are acted upon by frameworks, too, some of which take '_' for '-'.
        if (!in.trusted && is_x_forwarded(field.name)) field.hop_by_hop = true;
        break;
    }
  }
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
