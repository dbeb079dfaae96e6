#pragma once
// AdminServer: a small HTTP/1 server on the control loop, for probes, metrics and `edgemux status`.
//
//   admin.probes (TCP, no token)     GET /healthz /readyz /metrics
//   admin.bind   (Unix socket, 0600) the same, GET /status and GET /explain?QUESTION (question.h; with "format=text&"
//   in
//                                    front the answer is text for people, else JSON; 400 says what is wrong with it)
//
// One request per connection, GET and HEAD. Bounded: 64 connections (further ones are closed at once), 8 KiB of
// request head, 5 s from accept to the last byte. Answers are made when the request is whole. Some descriptors are kept
// for them, so that they work when the process has no other left.
//
// Ownership: the loop and whatever the sources refer to outlive the server. Everything on the loop's thread.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "admin/question.h"
#include "core/base/result.h"
#include "core/io/event_loop.h"
#include "routing/table/snapshot.h"

namespace edgemux::admin {

struct AdminSources {
  std::function<std::string()> metrics;    // Prometheus text (render_metrics)
  std::function<std::string()> unhealthy;  // empty = healthy; else why not (stale_worker)
  std::function<std::string()> not_ready;  // empty = ready; else why not ("draining")
  std::function<std::string()> status;     // JSON (render_status)
  std::function<core::Result<std::string>(const Asked&, bool text)> explain;
};

class AdminServer {
 public:
  static constexpr std::uint64_t kDeadlineMs = 5'000;
  AdminServer(core::EventLoop& loop, AdminSources sources, std::uint64_t deadline_ms = kDeadlineMs);
  // Closes everything; a socket file that is still ours is removed.
  ~AdminServer();
  AdminServer(const AdminServer&) = delete;
  AdminServer& operator=(const AdminServer&) = delete;

  // Opens what `spec` names and closes what it no longer names; equal addresses stay open. After an error nothing has
  // changed.
  core::Result<void> listen(const routing::AdminSpec& spec);

  // The port that the probes listen on; 0 when they do not.
  [[nodiscard]] std::uint16_t probes_port() const;
  [[nodiscard]] std::size_t connections() const;

 private:
  struct Shared;
  std::unique_ptr<Shared> shared_;
};

}  // namespace edgemux::admin
