#pragma once
// Forwarding: who a request came from behind proxies that are trusted, and what upstreams are told of it
// (X-Forwarded-For, -Proto, -Host, and Forwarded, RFC 7239). Pure.
//
// What a peer says that is not trusted is dropped. What a trusted one says is believed: its lists are kept and the
// peer's address is put behind them, its X-Forwarded-Proto, -Host and -Port stand. There are two families of fields,
// and one that a trusted peer says nothing in is left out where it speaks the other: begun anew, it would tell of the
// peer as if that were the client, and contradict what the peer says.

#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "core/base/address.h"
#include "core/http/field.h"

namespace edgemux::listeners {

[[nodiscard]] bool contains(std::span<const core::Network> networks, const core::SocketAddress& address);

struct Sender {
  core::SocketAddress address;
  bool secure = false;  // it sent the request by https
};

// The client behind `peer`, which is trusted: the list of X-Forwarded-For (or, without one, of Forwarded) is walked
// from its end over those that are trusted; the first that is not is the client. What is no address ends the walk, and
// the last trusted one before it is taken. Ports are passed over; the answer has port 0 unless it is the peer.
// The scheme is what X-Forwarded-Proto (or, without one, Forwarded) says of that step: the element as far from the end,
// or the first where the list is shorter. What is neither http nor https changes nothing.
[[nodiscard]] Sender sender_behind(const core::FieldList& fields, const Sender& peer,
                                   std::span<const core::Network> trusted);

// Nothing tells which family a proxy speaks, and the other one is what its client says. So where Forwarded names
// another client than sender_behind() found, access rules must admit that one as well. Null: it does not.
[[nodiscard]] std::optional<core::SocketAddress> other_sender(const core::FieldList& fields,
                                                              const core::SocketAddress& peer,
                                                              std::span<const core::Network> trusted);

struct ForwardingInput {
  core::SocketAddress peer;
  bool trusted = false;
  bool secure = false;    // the connection with the peer
  bool by_https = false;  // the request, as the peer says if it is trusted
  std::string_view authority;
};

// The fields to send in place of the client's; those that are empty are not sent. What the peer may not say is marked
// hop-by-hop, so that rules do not see it; once they have looked, replace_forwarding() marks what else is not to go on
// as it is. Views into `text`, into the client's fields and into `in`.
struct ForwardingFields {
  std::string_view x_forwarded_for;
  std::string_view forwarded;
  std::string_view x_forwarded_proto;  // where the client's own stands, it is empty, like x_forwarded_host
  std::string_view x_forwarded_host;
};
ForwardingFields make_forwarding(core::FieldList& fields, const ForwardingInput& in, std::string& text);
void replace_forwarding(core::FieldList& fields);

}  // namespace edgemux::listeners
