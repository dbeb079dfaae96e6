#include "listeners/mirror.h"

namespace edgemux::listeners {

MirroredRequest::MirroredRequest(Mirrors& mirrors, routing::UpstreamPtr upstream, const core::OutgoingRequest& request)
    : mirrors_(mirrors),
      upstream_(std::move(upstream)),
      stream_(static_cast<routing::UpstreamStream::Observer&>(*this)),
      deadline_([](void* self) { static_cast<MirroredRequest*>(self)->over(); }, this) {
  request_.save(request);
  mirrors_.begin(*this);
}

MirroredRequest::~MirroredRequest() {
  if (counted_) mirrors_.count(*this);
}

void MirroredRequest::add_body(std::span<const char> data) {
  if (body_.size() + data.size() > Mirrors::kMostBody) too_large_ = true;
  if (!too_large_) body_.append(data.data(), data.size());
}

void MirroredRequest::start() {
  auto& loop = mirrors_.loop_;
  loop.timers().arm(deadline_, loop.now() + static_cast<std::uint64_t>(Mirrors::kLongest.count()));
  switch (mirrors_.pools_.of(upstream_).acquire(stream_, {})) {
    case routing::UpstreamPool::Acquired::ready:
      result_ = core::MirrorResult::failed;
      return go();
    case routing::UpstreamPool::Acquired::waiting:
      result_ = core::MirrorResult::failed;
      return;
    case routing::UpstreamPool::Acquired::limit:
    case routing::UpstreamPool::Acquired::refused:
      return over();
  }
}

void MirroredRequest::go() {
  std::vector<core::Field> fields;
  stream_.send_request(request_.request(fields), body_.empty());
  if (!body_.empty()) {
    stream_.send_body(body_);
    stream_.send_end();
  }
  if (!stream_.ready()) return;
  stream_.expect_answer();
  stream_.flush();
}

void MirroredRequest::on_upstream_response(core::ResponseHead& head, bool end) {
  switched_ = head.status == 101;  // nobody has asked for that: what follows is nothing that could be counted
  done_ = done_ || end || switched_;
}

void MirroredRequest::on_upstream_body(std::span<const char> data, bool end) {
  answer_bytes_ += data.size();
  done_ = done_ || end || answer_bytes_ > Mirrors::kMostAnswer;
}

void MirroredRequest::on_upstream_trailers(core::FieldList&) { done_ = true; }

void MirroredRequest::on_upstream_event_end() {
  if (!done_) return;
  result_ = switched_ ? core::MirrorResult::failed : core::MirrorResult::answered;
  over();
}

void MirroredRequest::on_upstream_failed(const routing::UpstreamFailure&) { over(); }

void MirroredRequest::over() {
  deadline_.cancel();
  stream_.release();
  mirrors_.remove(*this);
}

Mirrors::~Mirrors() {
  for (auto& request : sent_) request->stream_.release();
  sent_.clear();
}

std::unique_ptr<MirroredRequest> Mirrors::copy(const routing::UpstreamPtr& upstream,
                                               const core::OutgoingRequest& request) {
  if (upstream->missing || !has_room_for(tenant_of(*upstream))) {
    metrics_.mirror(core::MirrorResult::dropped);
    return nullptr;
  }
  return std::make_unique<MirroredRequest>(*this, upstream, request);
}

void Mirrors::send(std::unique_ptr<MirroredRequest> request) {
  if (request->too_large_) return;
  MirroredRequest& sent = *request;
  sent.index_ = sent_.size();
  sent_.push_back(std::move(request));
  sent.start();
}

bool Mirrors::has_room_for(const routing::TenantState* tenant) const {
  const auto own = of_tenant_.find(tenant);
  return (own != of_tenant_.end() ? own->second : 0) < kMost - alive_;
}

void Mirrors::begin(const MirroredRequest& request) {
  ++alive_;
  ++of_tenant_[tenant_of(*request.upstream_)];
}

void Mirrors::count(MirroredRequest& request) {
  request.counted_ = false;
  metrics_.mirror(request.result_);
  --alive_;
  const auto own = of_tenant_.find(tenant_of(*request.upstream_));
  if (--own->second == 0) of_tenant_.erase(own);
}

void Mirrors::remove(MirroredRequest& request) {
  const std::size_t index = request.index_;
  std::unique_ptr<MirroredRequest> gone = std::move(sent_[index]);
  if (index + 1 != sent_.size()) {
    sent_[index] = std::move(sent_.back());
    sent_[index]->index_ = index;
  }
  sent_.pop_back();
  count(*gone);
  loop_.retire(std::move(gone));
}

}  // namespace edgemux::listeners
