#pragma once
// Explanation: what the table in force does with a connection or a request, step by step, and why. Pure but for one
// look into the ACME token directory. The steps ask the very functions that serve traffic (HostTable::find,
// RuleTable::match, CertificateStore::find, https_redirect, ...); what they say is found beside, for the reader.
//
//   auto question = question_of(asked);
//   Explanation e = explain({snapshot, diagnostics, set_aside}, *question);
//   out << to_text(e);

#include <string>
#include <string_view>
#include <vector>

#include "admin/question.h"
#include "config/diagnostic.h"
#include "routing/table/snapshot.h"

namespace edgemux::admin {

struct ExplainView {
  const routing::Snapshot& snapshot;
  const std::vector<config::Diagnostic>& diagnostics;  // that stand now
  // Include files whose last good bytes serve, or that are left out, as messages name them.
  const std::vector<std::string>& set_aside;
  bool running = false;  // the snapshot is in force: endpoints have states
};

struct Explanation {
  // Something that was looked at on the way; `chosen` is what it came down to.
  struct Candidate {
    std::string text;
    routing::Origin at;
    bool chosen = false;
  };
  struct Step {
    std::string topic;  // one word: "listener", "host", "tenant", "certificate", "acme", "rule", "upstream", ...
    std::string text;
    routing::Origin at;
    std::vector<Candidate> candidates;
  };
  std::string question;
  std::vector<Step> steps;

  // What happens in the end.
  // passthrough, terminate, forward, split, respond, redirect, challenge, refuse (an answer), close, none
  std::string action;
  int status = 0;        // of an answer that edgemux gives itself; 0 = none
  std::string reason;    // refuse, close: the word of the access log
  std::string location;  // redirect
  std::string listener;
  std::string host;  // the name in the table that decided, "*.example.com"
  std::string tenant;
  std::string upstream;     // passthrough, terminate, forward, challenge
  std::string certificate;  // the file that is served first
  std::string summary;      // one line for people
};

Explanation explain(const ExplainView& view, const Question& question);

// Indented lines for people, each with its FILE:LINE:COLUMN; ends with a newline.
std::string to_text(const Explanation& explanation);
// One JSON object; the names are part of the interface.
std::string to_json(const Explanation& explanation);

}  // namespace edgemux::admin
