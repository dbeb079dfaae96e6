#pragma once
// Mirrors: copies of requests on their way to the mirrors of rules. A copy is collected while the request comes in and
// sent, on a connection of its own, when it is whole; what is answered is thrown away. Nothing about it reaches the
// exchange that it was copied from.
//
// Each copy is counted once, by what became of it.
//
// Bounds, per worker: kMost copies at a time, of them for one tenant, or for the platform, no more than are still free;
// kMostBody bytes of body each, kMostAnswer bytes of answer, kLongest until it is over. What is beyond them is not
// mirrored.

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/base/metrics.h"
#include "core/io/event_loop.h"
#include "listeners/saved_request.h"
#include "routing/upstream/pool.h"
#include "routing/upstream/stream.h"

namespace edgemux::listeners {

class Mirrors;

class MirroredRequest final : public core::Retirable, private routing::UpstreamStream::Observer {
 public:
  MirroredRequest(Mirrors& mirrors, routing::UpstreamPtr upstream, const core::OutgoingRequest& request);
  ~MirroredRequest() override;

  void add_body(std::span<const char> data);

 private:
  friend class Mirrors;
  void start();
  void go();
  void over();

  void on_upstream_ready() override { go(); }
  void on_upstream_response(core::ResponseHead& head, bool end) override;
  void on_upstream_body(std::span<const char> data, bool end) override;
  void on_upstream_trailers(core::FieldList& fields) override;
  void on_upstream_event_end() override;
  void on_upstream_writable() override {}
  void on_upstream_failed(const routing::UpstreamFailure& failure) override;

  Mirrors& mirrors_;
  routing::UpstreamPtr upstream_;
  SavedRequest request_;
  std::string body_;
  routing::UpstreamStream stream_;
  core::Timer deadline_;
  std::size_t index_ = 0;
  std::uint64_t answer_bytes_ = 0;
  core::MirrorResult result_ = core::MirrorResult::dropped;  // so far
  bool counted_ = true;  // among those that are alive; not once it is over and waits to be freed
  bool too_large_ = false;
  bool done_ = false;
  bool switched_ = false;  // to another protocol
};

class Mirrors {
 public:
  static constexpr std::size_t kMost = 512;
  static constexpr std::size_t kMostBody = 64 * 1024;
  static constexpr std::size_t kMostAnswer = 1024 * 1024;
  static constexpr std::chrono::milliseconds kLongest{60'000};

  // All outlive it.
  Mirrors(core::EventLoop& loop, routing::UpstreamPools& pools, core::WorkerMetrics& metrics)
      : loop_(loop), pools_(pools), metrics_(metrics) {}
  ~Mirrors();
  Mirrors(const Mirrors&) = delete;
  Mirrors& operator=(const Mirrors&) = delete;

  // Null: there are too many of its tenant's, or its upstream is not defined.
  std::unique_ptr<MirroredRequest> copy(const routing::UpstreamPtr& upstream, const core::OutgoingRequest& request);
  // The request is whole.
  void send(std::unique_ptr<MirroredRequest> request);

 private:
  friend class MirroredRequest;
  // Null: the platform's.
  static const routing::TenantState* tenant_of(const routing::Upstream& upstream) {
    return upstream.tenant != nullptr ? upstream.tenant->state.get() : nullptr;
  }
  [[nodiscard]] bool has_room_for(const routing::TenantState* tenant) const;
  void begin(const MirroredRequest& request);
  // It is over, or will never be sent.
  void count(MirroredRequest& request);
  void remove(MirroredRequest& request);

  core::EventLoop& loop_;
  routing::UpstreamPools& pools_;
  core::WorkerMetrics& metrics_;
  std::vector<std::unique_ptr<MirroredRequest>> sent_;
  std::size_t alive_ = 0;
  std::map<const routing::TenantState*, std::size_t> of_tenant_;  // alive, of those who have any
};

}  // namespace edgemux::listeners
