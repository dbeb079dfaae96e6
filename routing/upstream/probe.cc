#include "routing/upstream/probe.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

namespace edgemux::routing {

Probe::Probe(const ProbeContext& context, Target target, Done done)
    : context_(context),
      target_(std::move(target)),
      done_(std::move(done)),
      output_(context.blocks),
      deadline_([](void* self) { static_cast<Probe*>(self)->timed_out(); }, this),
      later_(
          context.loop,
          [](void* self) {
            auto& probe = *static_cast<Probe*>(self);
            const auto tell = std::move(probe.done_);
            tell(std::string(probe.problem_), probe.made_);
          },
          this) {}

Probe::~Probe() {
  if (stream_ == nullptr) return;
  stream_->set_observer(nullptr);
  context_.loop.retire(std::move(stream_));
}

std::string_view Probe::written() const { return std::string_view(target_.text).substr(0, target_.text.find(' ')); }

void Probe::start() {
  context_.loop.timers().arm(deadline_,
                             context_.loop.now() + static_cast<std::uint64_t>(target_.check->timeout.count()));
  auto stream =
      core::TcpStream::connect(context_.loop, target_.address, {}, target_.source ? &*target_.source : nullptr);
  if (!stream) {
    made_ = !stream.error().shortage;
    return finish(stream.error().message);
  }
  tcp_ = stream->get();
  stream_ = std::move(*stream);
  stream_->set_observer(this);
}

void Probe::on_ready(core::Stream&) {
  switch (stage_) {
    case Stage::connecting:
      switch (tcp_->connect_state()) {
        case core::TcpStream::Connect::pending:
          return;
        case core::TcpStream::Connect::failed:
          return finish(std::strerror(tcp_->connect_error()));
        case core::TcpStream::Connect::done:
          return connected();
      }
      return;
    case Stage::securing:
      return secure();
    case Stage::asking:
      flush();
      return read();
    case Stage::over:
      return;
  }
}

void Probe::connected() {
  if (!introduce()) return;
  if (target_.check->kind == HealthCheck::Kind::tcp) return finish({});
  if (target_.tls == nullptr) return ask();
  if (context_.tls == nullptr) return finish("TLS is not available");
  stream_->set_observer(nullptr);
  auto secured = context_.tls->connect(std::move(stream_), target_.tls, target_.host, target_.text);
  if (!secured) return finish(secured.error().message);
  tls_ = secured->get();
  stream_ = std::move(*secured);
  stream_->set_observer(this);
  stage_ = Stage::securing;
  secure();
}

bool Probe::introduce() {
  if (target_.proxy_protocol == core::ProxyVersion::off) return true;
  std::array<char, core::kMaxProxyWritten> header;
  core::ProxyLine line;
  line.local = true;
  const iovec piece{header.data(), write_proxy_header(target_.proxy_protocol, line, header)};
  if (stream_->write({&piece, 1}).bytes == piece.iov_len) return true;
  finish("it does not take the PROXY header");
  return false;
}

void Probe::secure() {
  switch (tls_->handshake()) {
    case core::HandshakeStatus::again:
      return;
    case core::HandshakeStatus::failed:
      return finish(tls_->failure());
    case core::HandshakeStatus::done:
      return target_.check->kind == HealthCheck::Kind::tls ? finish({}) : ask();
  }
}

void Probe::ask() {
  const HealthCheck& check = *target_.check;
  const bool agreed = tls_ != nullptr && tls_->alpn() == "h2";
  if (target_.version == HttpVersion::http2 && tls_ != nullptr && !agreed) {
    return finish("it does not agree on h2 (ALPN)");
  }
  core::ClientCodec::Observer& observer = *this;
  const bool http2 = target_.version == HttpVersion::http2 || (target_.version == HttpVersion::automatic && agreed);
  if (http2) {
    http2_ = std::make_unique<core::Http2Client>(observer, output_, context_.http);
    codec_ = http2_.get();
  } else {
    codec_ = &http1_.emplace(observer, output_, context_.http);
  }
  stage_ = Stage::asking;
  const std::array<core::Field, 3> fields{core::Field{"user-agent", "edgemux-health-check"},
                                          core::Field{"accept", "*/*"}, core::Field{"connection", "close"}};
  core::OutgoingRequest request;
  request.kind = core::Method::get;
  request.method = "GET";
  request.path = check.path;
  // A path is no name.
  const std::string_view own = target_.text.starts_with("unix:") ? std::string_view("localhost") : written();
  request.authority = check.host.empty() ? own : std::string_view(check.host);
  request.scheme = tls_ != nullptr ? "https" : "http";
  request.added = std::span(fields).first(http2 ? 2 : 3);
  const core::StreamId stream = codec_->send_request(request, true);
  if (stream != 0 && !check.expect_body.empty()) codec_->allow(stream, kMaxBody);
  flush();
  read();
}

void Probe::flush() {
  if (stage_ != Stage::asking) return;
  codec_->produce();
  const core::IoResult result = output_.flush(*stream_);
  if (result.status == core::IoStatus::error) finish(std::strerror(result.error));
}

void Probe::read() {
  while (stage_ == Stage::asking) {
    const std::size_t kept = received_.size();
    received_.resize(kept + 4096);
    const core::IoResult result = stream_->read({received_.data() + kept, 4096});
    received_.resize(kept + result.bytes);
    switch (result.status) {
      case core::IoStatus::again:
        return;
      case core::IoStatus::error:
        return finish(std::strerror(result.error));
      case core::IoStatus::eof:
        if (!codec_->end_of_input() && stage_ != Stage::over) {
          finish(answered_ ? "its answer ends early" : "it closed the connection without an answer");
        }
        return;
      case core::IoStatus::ok:
        received_.erase(0, codec_->receive(received_));
        flush();
        break;
    }
  }
}

void Probe::on_response(core::StreamId, core::ResponseHead& head, bool end) {
  if (head.status < 200 && head.status != 101) return;
  answered_ = true;
  const HealthCheck& check = *target_.check;
  if (std::find(check.expect.begin(), check.expect.end(), head.status) == check.expect.end()) {
    return finish("it answers " + std::to_string(head.status));
  }
  if (check.expect_body.empty()) return finish({});
  if (end) judge_body();
}

void Probe::on_response_body(core::StreamId stream, std::span<const char> data, bool end) {
  body_.append(data.data(), data.size());
  if (end || body_.size() >= kMaxBody) return judge_body();
  codec_->consumed(stream, data.size());
}

void Probe::on_response_trailers(core::StreamId, core::FieldList&) { judge_body(); }

void Probe::on_response_reset(core::StreamId, bool, const char* reason) {
  finish(std::string("it resets the request: ") + reason);
}

void Probe::on_bad_response(core::StreamId, const char* reason) {
  finish(std::string("its answer is not valid HTTP: ") + reason);
}

void Probe::judge_body() {
  if (body_.find(target_.check->expect_body) != std::string::npos) return finish({});
  finish("its answer does not contain \"" + target_.check->expect_body + "\"");
}

void Probe::timed_out() { finish("no answer within " + std::to_string(target_.check->timeout.count()) + " ms"); }

void Probe::finish(std::string problem) {
  stage_ = Stage::over;
  if (codec_ != nullptr) codec_->stop();
  problem_ = std::move(problem);
  deadline_.cancel();
  if (stream_ != nullptr) {
    stream_->set_observer(nullptr);
    context_.loop.retire(std::move(stream_));
  }
  later_.request();
}

}  // namespace edgemux::routing
