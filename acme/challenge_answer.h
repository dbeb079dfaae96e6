#pragma once
// What an HTTP-01 challenge gets: the token of whoever the name belongs to, else the solver of the host's route, else
// nothing. One order for the data plane and for `explain`.

#include <array>
#include <optional>
#include <string>
#include <string_view>

#include "acme/challenge.h"
#include "acme/token_directory.h"
#include "routing/table/host_table.h"
#include "routing/table/snapshot.h"

namespace edgemux::acme {

struct ChallengeAnswer {
  enum class Kind {
    no_token,  // below the challenges' path, and yet no challenge
    unread,    // `may_read` said no
    token,     // `found.text` is the answer
    solver,    // the solver of `route`
    none,
  };
  Kind kind = Kind::none;
  // Tokens belong to whoever the name belongs to, whether or not there is a route for it; null = the platform.
  const routing::Tenant* owner = nullptr;
  std::string directory;  // looked in; empty = there is none
  TokenAnswer found;
  const routing::RoutePtr* route = nullptr;  // of the host, on this listener; null = none
};

// `path` and `has_query` as received, `host` as the client named it. `may_read` is asked before the file system is.
template <class MayRead>
ChallengeAnswer answer_challenge(const routing::Snapshot& snapshot, const routing::HostTable& hosts,
                                 std::string_view path, bool has_query, std::string_view host, MayRead may_read) {
  using Kind = ChallengeAnswer::Kind;
  ChallengeAnswer answer;
  const auto token = has_query ? std::nullopt : token_of(path);
  if (!token) {
    answer.kind = Kind::no_token;
    return answer;
  }
  std::array<char, 256> buffer;
  const std::string_view name = routing::normalise_host(host, buffer.data());
  answer.owner = name.empty() ? nullptr : snapshot.claims->owner(name);
  const TokenDirectory tokens = answer.owner != nullptr
                                    ? TokenDirectory(answer.owner->tokens_dir, answer.owner->tokens_root)
                                    : TokenDirectory(snapshot.tokens_dir);
  answer.directory = tokens.path();
  answer.route = name.empty() ? nullptr : hosts.find(name);
  const bool read = !answer.directory.empty() && may_read();
  if (read) {
    answer.found = tokens.read(*token);
    if (answer.found.kind == TokenAnswer::Kind::found) {
      answer.kind = Kind::token;
      return answer;
    }
  }
  if (answer.route != nullptr && (*answer.route)->acme_solver != nullptr) answer.kind = Kind::solver;
  if (answer.kind == Kind::none && !read && !answer.directory.empty()) answer.kind = Kind::unread;
  return answer;
}

}  // namespace edgemux::acme
