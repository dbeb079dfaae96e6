#pragma once
// The second half of an explanation: rules, what the one that matches does, and where it leads.

#include "admin/explain.h"
#include "core/http/message.h"

namespace edgemux::admin {

// The rules in their order, each with why it does or does not match. The one that does, or null.
const routing::Rule* explain_rules(Explanation& out, const routing::VirtualHost& host,
                                   const routing::RequestFacts& request);

struct ActionView {
  const core::RequestHead& head;
  const routing::RequestFacts& request;
  bool by_https;
  bool running;  // endpoints have states
};
// Answered with 204, whatever the rule does with others.
bool is_preflight(const routing::Rule& rule, const routing::RequestFacts& request);
void explain_action(Explanation& out, const routing::Rule& rule, const ActionView& view);

// A step for an upstream and its endpoints. Why none of them can be used, or empty.
std::string add_upstream(Explanation& out, const routing::Upstream& upstream, bool running);

// "a, b, c"
std::string joined(const std::vector<std::string>& words);

}  // namespace edgemux::admin
