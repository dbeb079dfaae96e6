// Preloaded into the proxy: counts the system calls of every thread that move data, whatever comes of them. What is
// counted is the descriptor.

#include <dlfcn.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <cstdarg>

#include "tests/support/thread_counts.h"

namespace {

using Call = long (*)(long, ...);

Call library() {
  static const auto call = reinterpret_cast<Call>(dlsym(RTLD_NEXT, "syscall"));
  return call;
}

template <class... Arguments>
ssize_t counted(long call, int fd, Arguments... arguments) {
  count(static_cast<std::uint64_t>(fd));
  return library()(call, fd, arguments...);
}

}  // namespace

extern "C" {

ssize_t read(int fd, void* to, std::size_t size) { return counted(SYS_read, fd, to, size); }
ssize_t write(int fd, const void* from, std::size_t size) { return counted(SYS_write, fd, from, size); }
ssize_t readv(int fd, const iovec* pieces, int number) { return counted(SYS_readv, fd, pieces, number); }
ssize_t writev(int fd, const iovec* pieces, int number) { return counted(SYS_writev, fd, pieces, number); }
ssize_t recv(int fd, void* to, std::size_t size, int flags) {
  return counted(SYS_recvfrom, fd, to, size, flags, nullptr, nullptr);
}
ssize_t send(int fd, const void* from, std::size_t size, int flags) {
  return counted(SYS_sendto, fd, from, size, flags, nullptr, 0);
}
ssize_t recvfrom(int fd, void* to, std::size_t size, int flags, sockaddr* address, socklen_t* length) {
  return counted(SYS_recvfrom, fd, to, size, flags, address, length);
}
ssize_t sendto(int fd, const void* from, std::size_t size, int flags, const sockaddr* address, socklen_t length) {
  return counted(SYS_sendto, fd, from, size, flags, address, length);
}
ssize_t recvmsg(int fd, msghdr* message, int flags) { return counted(SYS_recvmsg, fd, message, flags); }
ssize_t sendmsg(int fd, const msghdr* message, int flags) { return counted(SYS_sendmsg, fd, message, flags); }
ssize_t splice(int from, off64_t* from_at, int to, off64_t* to_at, std::size_t size, unsigned flags) {
  return counted(SYS_splice, from, from_at, to, to_at, size, flags);
}

// The path's own, which pass the library by; of whatever else comes this way, nothing is counted.
long syscall(long number, ...) noexcept {
  va_list more;
  va_start(more, number);
  long of[6];
  for (long& argument : of) argument = va_arg(more, long);
  va_end(more);
  if (number == SYS_recvfrom || number == SYS_sendto || number == SYS_sendmsg) count(static_cast<std::uint64_t>(of[0]));
  return library()(number, of[0], of[1], of[2], of[3], of[4], of[5]);
}
}
