#include "routing/upstream/probe.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "core/http/head_parser.h"

namespace edgemux::routing {

Probe::Probe(core::EventLoop& loop, core::TlsWorker* tls, Target target, Done done)
    : loop_(loop),
      tls_worker_(tls),
      target_(std::move(target)),
      done_(std::move(done)),
      deadline_([](void* self) { static_cast<Probe*>(self)->timed_out(); }, this),
      later_(
          loop,
          [](void* self) {
            auto& probe = *static_cast<Probe*>(self);
            const auto tell = std::move(probe.done_);
            tell(std::string(probe.problem_));
          },
          this) {}

Probe::~Probe() {
  if (stream_ == nullptr) return;
  stream_->set_observer(nullptr);
  loop_.retire(std::move(stream_));
}

std::string_view Probe::written() const { return std::string_view(target_.text).substr(0, target_.text.find(' ')); }

void Probe::start() {
  loop_.timers().arm(deadline_, loop_.now() + static_cast<std::uint64_t>(target_.check->timeout.count()));
  auto stream = core::TcpStream::connect(loop_, target_.address, {}, target_.source ? &*target_.source : nullptr);
  if (!stream) return finish(stream.error().message);
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
      send();
      [[fallthrough]];
    case Stage::head:
    case Stage::body:
      return read();
    case Stage::over:
      return;
  }
}

void Probe::connected() {
  if (!introduce()) return;
  if (target_.check->kind == HealthCheck::Kind::tcp) return finish({});
  if (target_.tls == nullptr) return ask();
  if (tls_worker_ == nullptr) return finish("TLS is not available");
  stream_->set_observer(nullptr);
  const auto host = written();
  auto secured = tls_worker_->connect(std::move(stream_), target_.tls, host.substr(0, host.rfind(':')), target_.text);
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
  const iovec piece{header.data(), write_proxy_header(target_.proxy_protocol, {}, header)};
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
  request_ = "GET " + check.path + " HTTP/1.1\r\nhost: ";
  request_ += check.host.empty() ? written() : std::string_view(check.host);
  request_ += "\r\nuser-agent: edgemux-health-check\r\naccept: */*\r\nconnection: close\r\n\r\n";
  stage_ = Stage::asking;
  send();
  if (stage_ != Stage::over) read();
}

void Probe::send() {
  while (!request_.empty()) {
    const iovec piece{request_.data(), request_.size()};
    const core::IoResult result = stream_->write({&piece, 1});
    if (result.status == core::IoStatus::again) return;
    if (result.status != core::IoStatus::ok) return finish(std::strerror(result.error));
    request_.erase(0, result.bytes);
  }
  stage_ = Stage::head;
}

void Probe::read() {
  while (stage_ == Stage::head || stage_ == Stage::body) {
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
        if (stage_ == Stage::head) return finish("it closed the connection without an answer");
        return judge_body(body_reader_.end_of_input());
      case core::IoStatus::ok:
        if (!take(kept)) return;
        break;
    }
  }
}

bool Probe::take(std::size_t from) {
  if (stage_ == Stage::body) {
    const bool goes_on = take_body(std::string_view(received_).substr(from));
    received_.clear();
    return goes_on;
  }
  core::ResponseHead head;
  for (;;) {
    const auto parsed = core::parse_response_head(received_, kMaxHead, core::Method::get, head);
    if (parsed.state == core::ParseState::need_more) return true;
    if (parsed.state == core::ParseState::error) {
      finish(std::string("its answer is not valid HTTP: ") + parsed.reason);
      return false;
    }
    const bool final = head.status >= 200;
    if (final) body_reader_ = core::BodyReader(head);
    received_.erase(0, parsed.consumed);
    if (final) break;
  }
  const HealthCheck& check = *target_.check;
  if (std::find(check.expect.begin(), check.expect.end(), head.status) == check.expect.end()) {
    finish("it answers " + std::to_string(head.status));
    return false;
  }
  if (check.expect_body.empty()) {
    finish({});
    return false;
  }
  stage_ = Stage::body;
  const std::string rest = std::exchange(received_, {});
  return take_body(rest);
}

bool Probe::take_body(std::string_view bytes) {
  while (!body_reader_.done() && !bytes.empty()) {
    const core::BodyStep step = body_reader_.next(bytes);
    body_ += step.data;
    bytes.remove_prefix(step.consumed);
    if (step.state == core::BodyState::error) {
      finish(std::string("its answer is not valid HTTP: ") + step.reason);
      return false;
    }
  }
  if (!body_reader_.done() && body_.size() < kMaxBody) return true;
  judge_body(true);
  return false;
}

void Probe::judge_body(bool complete) {
  if (!complete) return finish("its answer ends early");
  if (body_.find(target_.check->expect_body) != std::string::npos) return finish({});
  finish("its answer does not contain \"" + target_.check->expect_body + "\"");
}

void Probe::timed_out() { finish("no answer within " + std::to_string(target_.check->timeout.count()) + " ms"); }

void Probe::finish(std::string problem) {
  stage_ = Stage::over;
  problem_ = std::move(problem);
  deadline_.cancel();
  if (stream_ != nullptr) {
    stream_->set_observer(nullptr);
    loop_.retire(std::move(stream_));
  }
  later_.request();
}

}  // namespace edgemux::routing
