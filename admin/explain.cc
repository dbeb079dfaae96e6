#include "admin/explain.h"

#include <algorithm>
#include <array>
#include <ctime>

#include "acme/challenge.h"
#include "acme/challenge_answer.h"
#include "admin/explain_action.h"
#include "core/http/head_parser.h"
#include "core/http/path.h"
#include "listeners/actions.h"
#include "listeners/close_reason.h"
#include "listeners/forwarding.h"
#include "listeners/misdirected.h"
#include "listeners/redirects.h"

namespace edgemux::admin {

namespace {

using listeners::CloseReason;
using routing::Protocol;

std::string utc_day(std::int64_t seconds) {
  const auto when = static_cast<std::time_t>(seconds);
  std::tm parts{};
  gmtime_r(&when, &parts);
  std::array<char, 32> text;
  return {text.data(), std::strftime(text.data(), text.size(), "%Y-%m-%d", &parts)};
}

std::string binds_of(const routing::Listener& listener) {
  std::string out;
  for (const auto& bind : listener.spec.binds) out += (out.empty() ? "" : ", ") + bind.text;
  return out;
}

class Explainer {
 public:
  Explainer(const ExplainView& view, const Question& question) : view_(view), question_(question) {
    out_.question = question.text;
  }

  Explanation run() {
    listener_ = find_listener();
    if (listener_ != nullptr) {
      out_.listener = listener_->spec.name;
      if (listener_->spec.protocol == Protocol::tls) {
        tls();
      } else if (listener_->spec.protocol == Protocol::http) {
        http();
      } else {
        tcp();
      }
    }
    return std::move(out_);
  }

 private:
  Explanation::Step& step(std::string topic, std::string text, routing::Origin at = {}) {
    out_.steps.push_back({std::move(topic), std::move(text), std::move(at), {}});
    return out_.steps.back();
  }

  void end(std::string action, std::string summary) {
    out_.action = std::move(action);
    out_.summary = std::move(summary);
  }
  void close(CloseReason reason, const std::string& why) {
    out_.reason = close_reason_name(reason);
    const bool alert = listener_->spec.unknown_host == routing::UnknownHost::alert;
    const bool may_alert = reason == CloseReason::unknown_host || reason == CloseReason::no_sni ||
                           reason == CloseReason::refused || reason == CloseReason::access_denied;
    end("close", why + ": the connection is closed" + (alert && may_alert ? " with an alert" : ""));
  }
  void refuse(int status, CloseReason reason, const std::string& why) {
    out_.status = status;
    out_.reason = close_reason_name(reason);
    end("refuse", std::to_string(status) + ": " + why);
  }

  // ---- where it comes in ----

  const routing::Listener* find_listener() {
    const auto& listeners = view_.snapshot.listeners;
    const auto asked = question_.tls ? Protocol::tls : Protocol::http;
    const char* word = question_.tls ? "tls" : "http";
    auto& found = step("listener", "");
    const auto on_port = [&](const routing::ListenerSpec& spec) {
      return std::any_of(spec.binds.begin(), spec.binds.end(),
                         [&](const auto& bind) { return bind.address.port() == question_.port; });
    };
    const bool spoken = std::any_of(listeners.begin(), listeners.end(), [&](const auto& listener) {
      return listener->spec.protocol == asked && on_port(listener->spec);
    });
    const bool passed_on = std::any_of(listeners.begin(), listeners.end(), [&](const auto& listener) {
      return listener->spec.protocol == Protocol::tcp && on_port(listener->spec);
    });
    // A tcp listener takes whatever is spoken.
    const auto wanted = !spoken && passed_on ? Protocol::tcp : asked;
    const routing::Listener* chosen = nullptr;
    for (const auto& listener : listeners) {
      const auto& spec = listener->spec;
      const bool port = on_port(spec);
      const bool fits = question_.listener.empty() ? spec.protocol == wanted && port : spec.name == question_.listener;
      if (fits && chosen == nullptr) {
        chosen = listener.get();
        continue;
      }
      if (!question_.listener.empty() || (spec.protocol != wanted && !port)) continue;
      found.candidates.push_back({spec.name + " (" + std::string(routing::protocol_name(spec.protocol)) + " on " +
                                      binds_of(*listener) + ")" +
                                      (spec.protocol != wanted ? " speaks another protocol"
                                       : !port                 ? " is on another port"
                                                               : " comes later"),
                                  spec.origin, false});
    }
    if (chosen == nullptr) {
      found.text = question_.listener.empty()
                       ? "no " + std::string(word) + " listener is bound to port " + std::to_string(question_.port)
                       : "there is no listener '" + question_.listener + "'";
      std::vector<std::string_view> names;
      names.reserve(listeners.size());
      for (const auto& listener : listeners) names.push_back(listener->spec.name);
      const auto guess = config::did_you_mean(question_.listener, names);
      end("none", found.text + (guess.empty() ? "; name one with --listener" : "; " + guess));
      return nullptr;
    }
    found.text = chosen->spec.name + ": " + std::string(routing::protocol_name(chosen->spec.protocol)) + " on " +
                 binds_of(*chosen);
    found.at = chosen->spec.origin;
    if (chosen->spec.protocol != asked && chosen->spec.protocol != Protocol::tcp) {
      found.text += question_.tls ? ", asked with TLS" : ", asked without TLS";
      end("none", "the listener '" + chosen->spec.name + "' does not speak " + (question_.tls ? "TLS" : "plain HTTP"));
      return nullptr;
    }
    return chosen;
  }

  // ---- whose it is ----

  // Null: nobody's here.
  const routing::RoutePtr* find_host(std::string_view text, const char* topic) {
    std::array<char, 256> buffer;
    const auto name = routing::normalise_host(text, buffer.data());
    if (name.empty()) {
      step(topic, text.empty() ? "no name" : "'" + std::string(text) + "' is no host name that a route could have");
      return nullptr;
    }
    const auto* route = listener_->hosts.find(name);
    auto& found = step(topic, "");
    const auto candidates = listener_->hosts.candidates(name);
    for (std::size_t i = 0; i < candidates.size(); ++i) {
      add_candidate(found, candidates[i], i == 0 ? nullptr : &candidates.front());
    }
    if (route == nullptr) {
      if (candidates.empty()) {
        found.text = "nobody owns '" + std::string(name) + "' on this listener";
      } else if (const auto* claim = view_.snapshot.claims->find(candidates.front().name);
                 claim != nullptr && candidates.front().stand_in) {
        found.text = "'" + candidates.front().name + "' is claimed by tenant " + claim->tenant->name +
                     ", which has no route for it; it never falls to another's wildcard";
        found.at = claim->origin;
        out_.tenant = claim->tenant->name;
      } else {
        found.text = "'" + candidates.front().name +
                     "' is owned, but not attached to this listener; it never falls to another's wildcard";
      }
      if (candidates.empty()) add_other_listeners(found, name);
      add_set_aside();
      return nullptr;
    }
    const auto& winner = candidates.front().name;
    found.text =
        winner + (winner.front() == '*' ? ", a wildcard that covers '" + std::string(name) + "'" : ", an exact name");
    found.at = (*route)->origin;
    out_.host = winner;
    out_.tenant = (*route)->tenant;
    add_owner(**route);
    return route;
  }

  void add_candidate(Explanation::Step& to, const routing::HostTable::Entry& entry,
                     const routing::HostTable::Entry* winner) {
    std::string text = entry.name;
    routing::Origin at;
    if (entry.route != nullptr) at = entry.route->origin;
    if (winner != nullptr) {
      text += winner->name.front() != '*' ? " loses: an exact name beats a wildcard"
                                          : " loses: a longer wildcard beats a shorter one";
    } else if (entry.route == nullptr) {
      text += " is not attached to '" + listener_->spec.name + "'";
      for (const auto& other : view_.snapshot.listeners) {
        const auto there = other->hosts.candidates(entry.name.front() == '*' ? "x" + entry.name.substr(1) : entry.name);
        if (there.empty() || there.front().name != entry.name || there.front().route == nullptr) continue;
        text += ", but to '" + other->spec.name + "'";
        at = there.front().route->origin;
        break;
      }
    }
    to.candidates.push_back({std::move(text), std::move(at), winner == nullptr && entry.route != nullptr});
  }

  void add_other_listeners(Explanation::Step& to, std::string_view name) {
    for (const auto& other : view_.snapshot.listeners) {
      const auto* route = other.get() == listener_ ? nullptr : other->hosts.find(name);
      if (route == nullptr) continue;
      to.candidates.push_back({"on listener '" + other->spec.name + "' it is known", (*route)->origin, false});
    }
  }

  void add_owner(const routing::Route& route) {
    if (route.tenant.empty()) {
      step("tenant", "none: a route of the platform", route.origin);
    } else {
      const auto* claim = view_.snapshot.claims->find(out_.host);
      step("tenant", std::string(route.tenant) + (claim == nullptr ? "" : ", by its claim on " + claim->host),
           claim == nullptr ? route.origin : claim->origin);
    }
    if (route.origin.file == nullptr) return;
    const auto broken =
        std::find_if(view_.diagnostics.begin(), view_.diagnostics.end(), [&](const config::Diagnostic& diagnostic) {
          return diagnostic.severity == config::Severity::error && !diagnostic.flaw &&
                 diagnostic.origin.file != nullptr && *diagnostic.origin.file == *route.origin.file &&
                 std::find(view_.set_aside.begin(), view_.set_aside.end(), *route.origin.file) != view_.set_aside.end();
        });
    if (broken == view_.diagnostics.end()) return;
    step("quarantine", "this route is from the last good version of its file, which is set aside: " + broken->message,
         broken->origin);
  }

  // What is missing may be in a file that is not in force.
  void add_set_aside() {
    if (view_.set_aside.empty()) return;
    auto& found = step("quarantine", view_.running ? "these files are set aside; what is new in them is not in force"
                                                   : "these files have errors and are left out here");
    for (const auto& path : view_.set_aside) {
      if (found.candidates.size() == 10) break;
      found.candidates.push_back({path, {}, false});
    }
  }

  bool admitted(const routing::Route& route, const std::optional<core::SocketAddress>& client) {
    const auto& access = route.access;
    if (access.allow.empty() && access.deny.empty()) return true;
    auto& found = step("access", "", route.origin);
    for (const auto& network : access.deny)
      found.candidates.push_back({"deny " + network.to_string(), route.origin, false});
    for (const auto& network : access.allow)
      found.candidates.push_back({"allow " + network.to_string(), route.origin, false});
    if (!client) {
      found.text = "depends on the client's address; say it with --from ADDRESS";
      return true;
    }
    const bool admits = access.admits(*client);
    found.text = client->ip() + (admits ? " may come in" : " may not come in");
    return admits;
  }

  // False: no endpoint of it can be used.
  bool reaches(const routing::Upstream& upstream) {
    out_.upstream = upstream.name;
    const auto why = add_upstream(out_, upstream, view_.running);
    if (!why.empty()) close(CloseReason::no_endpoint, "upstream " + upstream.name + ": " + why);
    return why.empty();
  }

  // ---- plain TCP ----

  void tcp() {
    const auto& upstream = *listener_->upstream;
    step("tcp", "every connection goes to one upstream; nothing is looked at", listener_->spec.origin);
    if (reaches(upstream)) end("passthrough", "passed through to upstream " + upstream.name);
  }

  // ---- TLS ----

  void tls() {
    if (question_.server_name.empty()) {
      step("host", "the client sends no server name");
      return close(CloseReason::no_sni, "a TLS connection without a server name is nobody's");
    }
    const auto* found = find_host(question_.server_name, "host");
    if (found == nullptr) return close(CloseReason::unknown_host, "nobody owns the server name here");
    const routing::Route& route = **found;
    if (!route.refused.empty()) {
      step("tls", route.refused, route.origin);
      return close(CloseReason::refused, "the host's security material is broken");
    }
    if (const auto* upstream = routing::upstream_of_bytes(route)) return bytes(route, **upstream);
    if (!handshake(route, *std::get<routing::VirtualHost>(route.action).tls)) return;
    if (question_.head.empty()) {
      return end("terminate", "TLS ends here; ask with a URL to see what a request gets");
    }
    request([&](core::RequestHead& head, std::string_view path) {
      std::array<char, 256> buffer;
      const auto name = routing::normalise_host(head.host, buffer.data());
      std::array<char, 256> sni_buffer;
      const routing::RoutePtr* of_request = found;
      if (name != routing::normalise_host(question_.server_name, sni_buffer.data())) {
        of_request = find_host(head.host, "request");
        if (of_request == nullptr) return refuse(404, CloseReason::unknown_host, "nobody owns the request's host here");
        const auto made_for =
            listeners::whom_it_was_made_for(listener_->hosts, *of_request, *found, question_.server_name);
        if (made_for == listeners::MadeFor::another) {
          return refuse(421, CloseReason::misdirected, "the connection was made for another route's host");
        }
      }
      serve(**of_request, head, path);
    });
  }

  void bytes(const routing::Route& route, const routing::Upstream& upstream) {
    if (!admitted(route, question_.client))
      return close(CloseReason::access_denied, "the client's network is not admitted");
    const auto* terminate = std::get_if<routing::Terminate>(&route.action);
    if (terminate == nullptr) {
      step("tls", "passed through untouched; certificate, ALPN and paths are the backend's", route.origin);
    } else if (!handshake(route, *terminate->tls)) {
      return;
    }
    if (!reaches(upstream)) return;
    if (terminate == nullptr) return end("passthrough", "passed through to upstream " + upstream.name);
    end("terminate", "TLS ends here, the bytes inside go as they are to upstream " + upstream.name);
  }

  // The entry of `certificates` that names the pair.
  [[nodiscard]] routing::Origin place_of(const core::CertifiedKeyPtr& pair) const {
    const auto& pairs = view_.snapshot.certificates->pairs();
    const auto& places = view_.snapshot.pair_places;
    const auto at = static_cast<std::size_t>(std::find(pairs.begin(), pairs.end(), pair) - pairs.begin());
    return places == nullptr || at >= places->size() ? routing::Origin() : (*places)[at];
  }

  // Where it is said, or would be, whose directory of tokens is looked in.
  [[nodiscard]] routing::Origin tokens_place(const routing::Tenant* owner) const {
    if (owner == nullptr) return view_.snapshot.tokens_place;
    const auto& tenants = view_.snapshot.tenants;
    for (std::size_t i = 0; i < tenants.size(); ++i) {
      if (tenants[i].get() == owner) return view_.snapshot.tenant_places.at(i);
    }
    return {};
  }

  bool handshake(const routing::Route& route, const core::TlsPolicy& policy) {
    std::array<char, 256> buffer;
    const auto name = routing::normalise_host(question_.server_name, buffer.data());
    const auto choice = view_.snapshot.certificates->find(name, route.tenant);
    if (!choice) {
      step("certificate", "none of `certificates` covers '" + std::string(name) + "'", route.origin);
      close(CloseReason::no_certificate, "there is no certificate for this name");
      return false;
    }
    const auto describe = [](const core::CertifiedKey& pair, const char* kind) {
      return std::string(kind) + " " + pair.cert_file + ", for " + joined(pair.names) + ", until " +
             utc_day(pair.not_after);
    };
    const auto* first = choice.ecdsa != nullptr ? choice.ecdsa : choice.rsa;
    out_.certificate = (*first)->cert_file;
    auto& found = step("certificate", describe(**first, choice.ecdsa != nullptr ? "ECDSA" : "RSA"), place_of(*first));
    if (choice.ecdsa != nullptr && choice.rsa != nullptr) {
      found.candidates.push_back(
          {describe(**choice.rsa, "RSA") + ": for clients that cannot take ECDSA", place_of(*choice.rsa), false});
    }
    if ((*first)->not_after < std::time(nullptr)) found.text += " (expired)";

    std::string text = policy.min_version == core::TlsVersion::tls1_3 ? "TLS 1.3" : "TLS 1.2 or later";
    if (policy.client_auth == core::ClientAuth::require) text += ", a client certificate is required";
    if (policy.client_auth == core::ClientAuth::optional) text += ", a client certificate may be shown";
    const auto agreed = protocol(policy);
    if (policy.alpn.empty()) {
      text += ", no ALPN";
    } else if (!agreed.empty()) {
      text += ", ALPN " + agreed;
    }
    step("tls", text, route.origin);
    if (policy.alpn.empty() || !agreed.empty() || question_.alpn.empty()) return true;
    close(CloseReason::handshake_failed, "no protocol in common: the client offers " + joined(question_.alpn) +
                                             ", the host takes " + joined(policy.alpn));
    return false;
  }

  // The first of the host's protocols that the client offers. Who asks for a host that is no browser's, and does not
  // say otherwise, has a client that fits.
  [[nodiscard]] std::string protocol(const core::TlsPolicy& policy) const {
    if (policy.opaque && !question_.alpn_said) return policy.alpn.empty() ? std::string() : policy.alpn.front();
    for (const auto& ours : policy.alpn) {
      if (std::find(question_.alpn.begin(), question_.alpn.end(), ours) != question_.alpn.end()) return ours;
    }
    return {};
  }

  // ---- requests ----

  template <class Then>
  void request(Then then) {
    std::string bytes = question_.head;
    core::RequestHead head;
    const auto parsed = core::parse_request_head(bytes, view_.snapshot.limits.request_head, head);
    if (parsed.state != core::ParseState::done) {
      const std::string why = parsed.reason == nullptr ? "the request is not whole" : parsed.reason;
      step("request", "refused before it is looked at: " + why);
      return refuse(parsed.status == 0 ? 400 : parsed.status,
                    parsed.status == 431 ? CloseReason::head_too_large : CloseReason::bad_request, why);
    }
    find_sender(head.fields);
    std::string scratch(core::path_room(head.path), '\0');
    core::NormalPath normal{nullptr, head.path};
    if (head.path != "*") normal = core::normalize_path(head.path, scratch);
    if (normal.error != nullptr) {
      step("request", "the path is refused: " + std::string(normal.error));
      return refuse(400, CloseReason::bad_request, normal.error);
    }
    if (normal.path != head.path)
      step("path", std::string(normal.path) + ", normalised; rules and upstreams see this one");
    then(head, normal.path);
  }

  void http() {
    request([&](core::RequestHead& head, std::string_view path) {
      if (acme::is_challenge_path(head.path)) return challenge(head);
      const auto* found = find_host(head.host, "host");
      if (found == nullptr) return refuse(404, CloseReason::unknown_host, "nobody owns this host here");
      const routing::Route& route = **found;
      if (!route.refused.empty()) {
        step("tls", route.refused, route.origin);
        return refuse(503, CloseReason::refused, "the host's security material is broken");
      }
      const auto becomes = routing::on_plain_http(route, by_https_);
      switch (becomes) {
        case routing::OnHttp::redirect: {
          step("on_http", "redirect: plain HTTP leads to https", route.origin);
          const auto target = listeners::https_redirect(head, head.host, listener_->spec.redirect_port);
          out_.status = target.status;
          out_.location = target.location;
          return end("redirect", std::to_string(target.status) + " to " + target.location);
        }
        case routing::OnHttp::off:
          step("on_http", "off: plain HTTP is not served", route.origin);
          return refuse(404, CloseReason::done, "this host is not served over http");
        case routing::OnHttp::serve:
          step("on_http",
               route.on_http == becomes ? "serve: the rules hold for plain HTTP too"
                                        : "redirect, but the trusted proxy was asked by https: the rules hold",
               route.origin);
          if (!std::holds_alternative<routing::VirtualHost>(route.action)) {
            return refuse(404, CloseReason::done, "this host is not served over http");
          }
          return serve(route, head, path);
      }
    });
  }

  void challenge(const core::RequestHead& head) {
    using Kind = acme::ChallengeAnswer::Kind;
    const auto answer = acme::answer_challenge(view_.snapshot, listener_->hosts, head.path, head.has_query, head.host,
                                               [] { return true; });
    if (answer.kind == Kind::no_token) {
      step("acme", "below the challenges' path, but no token: [A-Za-z0-9_-]{1,256} and no query",
           listener_->spec.origin);
      return refuse(404, CloseReason::done, "no such challenge");
    }
    step("acme", "an HTTP-01 challenge; never redirected", listener_->spec.origin);
    const auto place = tokens_place(answer.owner);
    const std::string whose = answer.owner == nullptr ? "" : " of tenant " + answer.owner->name;
    if (answer.kind == Kind::token) {
      step("tokens", "the token is in " + answer.directory + whose, place);
      out_.status = 200;
      return end("challenge", "200 with the token's file from " + answer.directory);
    }
    if (answer.directory.empty()) {
      step("tokens", answer.owner == nullptr ? "acme.tokens_dir is not set" : "there is no tokens_dir" + whose, place);
    } else {
      step("tokens",
           answer.found.kind == acme::TokenAnswer::Kind::error ? answer.found.text
                                                               : "no such token in " + answer.directory + whose,
           place);
    }
    const auto* found = find_host(head.host, "host");
    if (answer.kind != Kind::solver) {
      if (found != nullptr) step("solver", "the host has no acme_solver", (*found)->origin);
      return refuse(404, CloseReason::done, "no such challenge");
    }
    const auto& solver = *(*answer.route)->acme_solver;
    step("solver", "the host's acme_solver gets it, path and Host untouched", (*answer.route)->solver_origin);
    out_.upstream = solver.name;
    const auto why = add_upstream(out_, solver, view_.running);
    if (!why.empty()) return refuse(503, CloseReason::no_endpoint, "the solver " + solver.name + ": " + why);
    end("challenge", "forwarded to the solver " + solver.name);
  }

  [[nodiscard]] bool secure() const { return listener_->spec.protocol == Protocol::tls; }

  // The client, and the scheme that it used: of one behind a proxy that the listener trusts, too.
  void find_sender(const core::FieldList& fields) {
    const auto& networks = listener_->spec.trusted_proxies;
    client_ = question_.client;
    by_https_ = secure();
    other_client_.reset();
    trusted_ = client_ && listeners::contains(networks, *client_);
    if (!trusted_) return;
    const auto sender = listeners::sender_behind(fields, {*client_, secure()}, networks);
    step("client", client_->ip() + " is one of trusted_proxies; the client is " + sender.address.ip(),
         listener_->spec.origin);
    if (sender.secure != secure()) {
      step("scheme", std::string("the proxy says that it was asked by ") + (sender.secure ? "https" : "http"),
           listener_->spec.origin);
    }
    other_client_ = listeners::other_sender(fields, *client_, networks);
    if (other_client_ == sender.address) other_client_.reset();
    client_ = sender.address;
    by_https_ = sender.secure;
  }

  void serve(const routing::Route& route, const core::RequestHead& head, std::string_view path) {
    if (!admitted(route, client_) || (other_client_ && !admitted(route, other_client_)))
      return refuse(403, CloseReason::access_denied, "the client's network is not admitted");
    const auto& host = std::get<routing::VirtualHost>(route.action);
    core::FieldList fields = head.fields;
    std::string forwarding;
    const auto peer = question_.client.value_or(core::SocketAddress());
    listeners::make_forwarding(fields, {peer, trusted_, secure(), by_https_, head.authority}, forwarding);
    const std::string_view matched = path == "*" ? std::string_view("/") : path;
    routing::MatchWork work;
    static_cast<void>(host.match({matched, head.method, head.method_text, &fields, head.query, &work}));
    if (work.over()) {
      step("rule", "path, fields or query are too long for the rules of this host", route.origin);
      return refuse(431, CloseReason::head_too_large, "too long for the rules of this host");
    }
    const routing::RequestFacts facts{matched, head.method, head.method_text, &fields, head.query};
    const auto* rule = explain_rules(out_, host, facts);
    if (rule == nullptr) return refuse(404, CloseReason::no_rule, "no rule of this host matches");
    if (!is_preflight(*rule, facts) && host.max_request_body != 0 && head.framing == core::Framing::length &&
        head.content_length > host.max_request_body) {
      step("body", "larger than max_request_body, " + std::to_string(host.max_request_body) + " bytes", route.origin);
      return refuse(413, CloseReason::body_too_large, "the body is larger than this host takes");
    }
    explain_action(out_, *rule, {head, facts, by_https_, view_.running});
  }

  const ExplainView& view_;
  const Question& question_;
  const routing::Listener* listener_ = nullptr;
  std::optional<core::SocketAddress> client_;        // as trusted proxies say, like the scheme
  std::optional<core::SocketAddress> other_client_;  // whom their other family of fields names; null: nobody else
  bool trusted_ = false;                             // the peer is
  bool by_https_ = false;
  Explanation out_;
};

}  // namespace

Explanation explain(const ExplainView& view, const Question& question) { return Explainer(view, question).run(); }

}  // namespace edgemux::admin
