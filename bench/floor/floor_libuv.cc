// floor_libuv: the same relay as floor_relay on libuv, used as cheaply as it can be: uv_tcp_t as the handle of a
// connection (one epoll_ctl for its life), an alloc callback of length zero so that libuv tells of readiness without
// reading, own recv and send, and uv_write only for what a send left over.
#include <unistd.h>
#include <uv.h>

#include <array>
#include <cstddef>
#include <memory>
#include <vector>

#include "bench/floor/options.h"

namespace edgemux::floor {
namespace {

std::array<char, 64 * 1024> buffer;
core::SocketAddress upstream_address;

struct Connection;

// One socket, and the direction that it is the source of.
struct End {
  uv_tcp_t handle{};
  uv_write_t write{};
  Connection* connection = nullptr;
  End* peer = nullptr;
  int fd = -1;
  bool finished = false;   // the source said FIN
  std::vector<char> tail;  // read from here, on its way to the peer through uv_write
};

struct Connection {
  End client;
  End upstream;
  int open = 2;
  bool closing = false;
};

void pump(End& from);

uv_stream_t* stream_of(End& end) { return reinterpret_cast<uv_stream_t*>(&end.handle); }

void close_both(Connection& connection) {
  if (connection.closing) return;
  connection.closing = true;
  for (End* end : {&connection.client, &connection.upstream}) {
    uv_close(reinterpret_cast<uv_handle_t*>(&end->handle), [](uv_handle_t* handle) {
      Connection* gone = static_cast<End*>(handle->data)->connection;
      if (--gone->open == 0) delete gone;
    });
  }
}

void start_reading(End& end) {
  uv_read_start(
      stream_of(end), [](uv_handle_t*, std::size_t, uv_buf_t* out) { *out = uv_buf_init(nullptr, 0); },
      [](uv_stream_t* stream, ssize_t, const uv_buf_t*) { pump(*static_cast<End*>(stream->data)); });
}

// Everything that was read from here has been sent.
void pass_end_on(End& from) {
  if (!from.finished) return;
  shutdown(from.peer->fd, SHUT_WR);
  if (from.peer->finished && from.peer->tail.empty()) close_both(*from.connection);
}

void send_tail(End& from) {
  uv_read_stop(stream_of(from));
  from.write.data = &from;
  const uv_buf_t rest = uv_buf_init(from.tail.data(), static_cast<unsigned>(from.tail.size()));
  uv_write(&from.write, stream_of(*from.peer), &rest, 1, [](uv_write_t* write, int status) {
    End& end = *static_cast<End*>(write->data);
    if (end.connection->closing) return;
    end.tail.clear();
    if (status != 0) return close_both(*end.connection);
    pass_end_on(end);
    if (!end.finished) start_reading(end);
  });
}

void pump(End& from) {
  const ssize_t got = recv(from.fd, buffer.data(), buffer.size(), 0);
  if (got < 0) {
    if (errno != EAGAIN) close_both(*from.connection);
    return;
  }
  if (got == 0) {
    from.finished = true;
    uv_read_stop(stream_of(from));
    return pass_end_on(from);
  }
  const auto size = static_cast<std::size_t>(got);
  const ssize_t sent = send(from.peer->fd, buffer.data(), size, MSG_NOSIGNAL);
  if (sent == got) return;
  if (sent < 0 && errno != EAGAIN) return close_both(*from.connection);
  const std::size_t done = sent < 0 ? 0 : static_cast<std::size_t>(sent);
  from.tail.assign(buffer.data() + done, buffer.data() + size);
  send_tail(from);
}

void open_end(uv_loop_t* loop, Connection& connection, End& end, End& peer, int fd) {
  end.connection = &connection;
  end.peer = &peer;
  end.fd = fd;
  uv_tcp_init(loop, &end.handle);
  end.handle.data = &end;
  uv_tcp_open(&end.handle, fd);
  start_reading(end);
}

void accept_some(uv_poll_t* poll, int, int) {
  int listener = -1;
  uv_fileno(reinterpret_cast<const uv_handle_t*>(poll), &listener);
  for (int i = 0; i < 16; ++i) {
    const int fd = accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) return;
    const int upstream = connect_to(upstream_address);
    if (upstream < 0) {
      close(fd);
      continue;
    }
    auto* connection = new Connection;
    open_end(poll->loop, *connection, connection->client, connection->upstream, fd);
    open_end(poll->loop, *connection, connection->upstream, connection->client, upstream);
  }
}

}  // namespace
}  // namespace edgemux::floor

int main(int argc, char** argv) {
  using namespace edgemux::floor;
  const Options options = parse_options(argc, argv, false);
  upstream_address = options.upstream;
  const int listener = listen_on(options.listen);
  uv_poll_t poll;
  uv_poll_init(uv_default_loop(), &poll, listener);
  uv_poll_start(&poll, UV_READABLE, accept_some);
  return uv_run(uv_default_loop(), UV_RUN_DEFAULT);
}
