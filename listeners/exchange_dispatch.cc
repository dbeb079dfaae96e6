// Exchange, first half: which route and rule a request gets, and the answers that need no upstream.

#include <array>

#include "acme/challenge.h"
#include "acme/challenge_answer.h"
#include "core/base/log.h"
#include "listeners/actions.h"
#include "listeners/exchange.h"
#include "listeners/forwarding.h"
#include "listeners/http_session.h"
#include "listeners/local_reply.h"
#include "listeners/misdirected.h"
#include "listeners/redirects.h"
#include "listeners/worker.h"
#include "routing/table/cors.h"

namespace edgemux::listeners {

void Exchange::dispatch_tls(core::RequestHead& head, std::string_view path, bool end) {
  std::array<char, 256> buffer;
  const std::string_view host = routing::normalise_host(head.host, buffer.data());
  const routing::RoutePtr* found = host.empty() ? nullptr : session_->listener().hosts().find(host);
  if (found == nullptr) {
    // A connection whose route is gone since it was made may come again and find out.
    return refuse(404, CloseReason::unknown_host, "no such host here");
  }
  route_ = *found;
  switch (whom_it_was_made_for(session_->listener().hosts(), route_, session_->tls_route(), session_->sni())) {
    case MadeFor::it:
      break;
    case MadeFor::it_once:
      session_->end_soon();
      break;
    case MadeFor::stranger:
      session_->end_soon();
      return refuse(421, CloseReason::misdirected, "what a client has to show here has changed: connect again");
    case MadeFor::another:
      return refuse(421, CloseReason::misdirected, "this connection was made for another host");
  }
  if (!route_->refused.empty()) return refuse(503, CloseReason::refused, "the host's security settings are broken");
  if (!within_connections() || !within_rate()) return;
  serve(head, path, end);
}

void Exchange::dispatch_http(core::RequestHead& head, std::string_view path, bool end) {
  if (acme::is_challenge_path(head.path)) return challenge(head, end);
  std::array<char, 256> buffer;
  const std::string_view host = routing::normalise_host(head.host, buffer.data());
  const routing::RoutePtr* found = host.empty() ? nullptr : session_->listener().hosts().find(host);
  if (found == nullptr) return refuse(404, CloseReason::unknown_host, "no such host here");
  route_ = *found;
  if (!route_->refused.empty()) return refuse(503, CloseReason::refused, "the host's security settings are broken");
  if (!within_connections() || !within_rate()) return;
  switch (routing::on_plain_http(*route_, by_https_)) {
    case routing::OnHttp::redirect:
      return redirect_to_https(head);
    case routing::OnHttp::off:
      return refuse(404, CloseReason::done, "this host is not served over http");
    case routing::OnHttp::serve:
      if (!std::holds_alternative<routing::VirtualHost>(route_->action)) {
        return refuse(404, CloseReason::done, "this host is not served over http");
      }
      return serve(head, path, end);
  }
}

// HTTP-01 (RFC 8555 8.3): never a redirect.
void Exchange::challenge(core::RequestHead& head, bool end) {
  using Kind = acme::ChallengeAnswer::Kind;
  const auto answer =
      acme::answer_challenge(worker_.snapshot(), session_->listener().hosts(), head.path, head.has_query, head.host,
                             [this] { return worker_.may_read_token(client_); });
  if (answer.found.kind == acme::TokenAnswer::Kind::error) {
    core::log_limited(core::LogLevel::warn, "token", "ACME token cannot be served: {}", answer.found.text);
  }
  switch (answer.kind) {
    case Kind::no_token:
    case Kind::none:
      return refuse(404, CloseReason::done, "no such challenge");
    case Kind::unread:
      return refuse(503, CloseReason::done, "too many challenges; try again in a second");
    case Kind::token: {
      LocalReply token;
      token.status = 200;
      token.body = answer.found.text;
      token.content_type = "application/octet-stream";
      return reply(token);
    }
    case Kind::solver:
      break;
  }
  route_ = *answer.route;
  if (!within_connections() || !within_rate()) return;
  settle_forwarding(head);
  if (from_trusted_) replace_forwarding(head.fields);
  forward(head, head.path, route_->acme_solver, end);
}

void Exchange::redirect_to_https(const core::RequestHead& head) {
  const auto target = https_redirect(head, head.host, session_->listener().spec().redirect_port);
  LocalReply answer;
  answer.status = target.status;
  answer.location = target.location;
  reply(answer);
}

bool Exchange::admitted(const core::FieldList& fields) const {
  const routing::AccessList& access = route_->access;
  if (!access.admits(client_)) return false;
  if (!from_trusted_ || (access.allow.empty() && access.deny.empty())) return true;
  const auto other = other_sender(fields, session_->client(), session_->listener().spec().trusted_proxies);
  return !other || access.admits(*other);
}

void Exchange::serve(core::RequestHead& head, std::string_view path, bool end) {
  const auto& host = std::get<routing::VirtualHost>(route_->action);
  if (!admitted(head.fields)) return refuse(403, CloseReason::access_denied, "");
  max_body_ = host.max_request_body;
  settle_forwarding(head);
  const std::string_view matched = path == "*" ? std::string_view("/") : path;
  routing::MatchWork work;
  rule_ = host.match({matched, head.method, head.method_text, &head.fields, head.query, &work});
  if (work.over()) {
    rule_ = nullptr;
    return refuse(431, CloseReason::head_too_large, "path, fields or query are too long for the rules of this host");
  }
  if (rule_ == nullptr) return refuse(404, CloseReason::no_rule, "no rule of this host matches the request");
  if (from_trusted_) replace_forwarding(head.fields);
  if (const auto* filters = rule_->filters.get(); filters != nullptr && filters->cors) {
    if (const auto* origin = head.fields.find("origin")) origin_ = keep(origin->value);
    if (!routing::preflight_method(head.method, head.fields).empty()) return answer_preflight(head);
  }
  if (max_body_ != 0 && head.framing == core::Framing::length && head.content_length > max_body_) {
    return refuse(413, CloseReason::body_too_large, "the body is larger than this host takes");
  }
  if (const auto* target = std::get_if<routing::Redirect>(&rule_->action)) {
    return redirect(*target, *rule_, head, matched);
  }
  if (const auto* one = std::get_if<routing::Forward>(&rule_->action)) return forward(head, path, one->upstream, end);
  if (const auto* split = std::get_if<routing::Split>(&rule_->action)) {
    part_ = split->pick(worker_.random());
    if (part_ == nullptr) return refuse(500, CloseReason::no_upstream, "every weight of this rule's split is 0");
    return forward(head, path, part_->upstream, end);
  }
  const auto& fixed = std::get<routing::Respond>(rule_->action);
  if (head.upgrade && session_->codec().multiplexed() && fixed.status < 300) {
    return refuse(400, CloseReason::bad_request, "there is no WebSocket here");  // RFC 8441 5: 200 would open one
  }
  LocalReply answer;
  answer.status = fixed.status;
  answer.body = fixed.body;
  answer.of_route = true;
  answer.headers = fixed.headers;
  reply(answer);
}

void Exchange::answer_preflight(const core::RequestHead& head) {
  LocalReply answer;
  answer.status = 204;
  answer.preflight = &head.fields;
  reply(answer);
}

void Exchange::redirect(const routing::Redirect& target, const routing::Rule& rule, const core::RequestHead& head,
                        std::string_view path) {
  const std::string location =
      rule_redirect(target, rule, by_https_ ? "https" : "http", head.host, head.port, path, head.has_query, head.query);
  LocalReply answer;
  answer.status = target.status;
  answer.location = location;
  reply(answer);
}

}  // namespace edgemux::listeners
