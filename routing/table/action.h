#pragma once
// What a rule does with a request that it matches, as values. Made by the configuration, immutable afterwards. What is
// written here as text was checked when it was read: names are lower case tokens, values hold no control characters.

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "routing/table/upstream.h"

namespace edgemux::routing {

using NamedValues = std::vector<std::pair<std::string, std::string>>;  // names in lower case

// ---- the actions; a rule has exactly one ----

// Applied in this order. `set` replaces every field of its name, `add` is one more, `remove` takes all of its name.
struct HeaderModifier {
  NamedValues set;
  NamedValues add;
  std::vector<std::string> remove;
  bool underscored = false;  // a name that is set or removed has a '_'
  [[nodiscard]] bool empty() const { return set.empty() && add.empty() && remove.empty(); }
};

struct Forward {
  UpstreamPtr upstream;
};

// Several upstreams, each with its share. One that is missing, or has no endpoint, keeps its share: those requests
// fail.
struct Split {
  // Of one part's requests and answers, besides what the rule changes: of a request after it, of an answer before it.
  // Answers of our own have the rule's alone.
  struct Headers {
    HeaderModifier request;
    HeaderModifier response;
  };
  struct Part {
    UpstreamPtr upstream;
    std::uint32_t weight = 1;                          // 0 = none
    std::shared_ptr<const Headers> headers = nullptr;  // null = none
  };
  std::vector<Part> parts;

  // `random`: uniform over all of its values. Null: every weight is 0.
  [[nodiscard]] const Part* pick(std::uint64_t random) const;
};

// The parts that are absent are taken from the request. `path` replaces the whole path, `prefix` the part that the rule
// matched; at most one of them is set. The query is kept.
struct Redirect {
  std::optional<std::string> scheme;
  std::optional<std::string> host;
  std::optional<std::uint16_t> port;
  std::optional<std::string> path;
  std::optional<std::string> prefix;
  std::uint16_t status = 302;
};

struct Respond {
  std::uint16_t status = 200;
  std::string body;
  NamedValues headers;
};

// ---- what a rule does besides ----

// `path` replaces the whole path, `prefix` the part that the rule matched; at most one of them is set. The query is
// kept. `host` is what the upstream gets as Host.
struct Rewrite {
  std::optional<std::string> path;
  std::optional<std::string> prefix;
  std::optional<std::string> host;
};

// A copy of the request goes to `upstream`; what it answers is thrown away.
struct Mirror {
  UpstreamPtr upstream;
  static constexpr std::uint32_t kAll = 100'000;
  std::uint32_t share = kAll;  // of the requests, in thousandths of a percent

  // `random`: uniform over all of its values.
  [[nodiscard]] bool samples(std::uint64_t random) const;
};

// Cross-origin requests (the CORS protocol of the Fetch standard). Who may ask, for what. See cors.h.
struct Cors {
  // "https://a.example", "https://*.a.example" (one label or more), "https://a.example:8443", as a browser writes it
  struct Origin {
    std::string before;  // all of it, or what stands before the '*'
    std::string after;
    bool wildcard = false;
  };
  std::vector<Origin> origins;
  bool any_origin = false;  // "*"
  bool any_method = false;  // there is a "*" in `methods`
  bool any_header = false;
  bool credentials = false;
  std::string methods;  // "GET, PUT"
  std::string headers;
  std::string expose;
  std::string max_age = "5";  // seconds
};

struct Retry {
  std::uint32_t attempts = 1;  // besides the first
  bool on_connect = false;
  bool on_reset = false;    // and connections closed without an answer
  bool on_timeout = false;  // timeouts.try has passed
  std::vector<std::uint16_t> on_status;
  milliseconds backoff{25};  // before the first retry, twice that before the next, and so on; see retry_backoff

  [[nodiscard]] bool on(std::uint16_t status) const;
};

// Before retry number `retry` (from 1): somewhere between half of and the whole doubled backoff, at most a second (or
// `backoff` itself, if that is longer).
milliseconds retry_backoff(const Retry& policy, std::uint32_t retry, std::uint64_t random);

// Everything that only few rules have.
struct Filters {
  std::optional<Rewrite> rewrite;
  HeaderModifier request_headers;
  HeaderModifier response_headers;
  std::optional<Cors> cors;
  std::vector<Mirror> mirrors;
  std::optional<Retry> retry;
  milliseconds request_timeout{0};  // until the answer is complete, tries and pauses included; 0 = none
  milliseconds try_timeout{0};      // one try, until the answer's head; 0 = none
  // How long the upstream may be silent, where the rule says so itself; 0 = for ever.
  std::optional<milliseconds> response_timeout;

  // The same for every rule; `usual` is what those that say nothing have.
  [[nodiscard]] milliseconds silence(milliseconds usual) const {
    return response_timeout ? *response_timeout : std::max(usual, try_timeout);
  }
};

}  // namespace edgemux::routing
