#pragma once
// recv(2), send(2) and sendmsg(2) as the C library has them, but no points at which a thread may be cancelled: with
// more than one thread each of those costs two atomic operations before the kernel is asked, and two after. No thread
// of edgemux is ever cancelled.
//
// The sanitizers look at the memory that the library's functions get, so their builds call those.

#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstddef>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define EDGEMUX_LIBRARY_CALLS 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define EDGEMUX_LIBRARY_CALLS 1
#endif
#endif
#if !defined(EDGEMUX_LIBRARY_CALLS) && !defined(SYS_recvfrom)
#define EDGEMUX_LIBRARY_CALLS 1  // a kernel with one call for all of them
#endif

namespace edgemux::core::socket_calls {

#ifdef EDGEMUX_LIBRARY_CALLS
inline ssize_t receive(int fd, void* buffer, std::size_t size, int flags) { return ::recv(fd, buffer, size, flags); }
inline ssize_t send(int fd, const void* data, std::size_t size, int flags) { return ::send(fd, data, size, flags); }
inline ssize_t send(int fd, const msghdr& message, int flags) { return ::sendmsg(fd, &message, flags); }
#else
inline ssize_t receive(int fd, void* buffer, std::size_t size, int flags) {
  return ::syscall(SYS_recvfrom, fd, buffer, size, flags, nullptr, nullptr);
}
inline ssize_t send(int fd, const void* data, std::size_t size, int flags) {
  return ::syscall(SYS_sendto, fd, data, size, flags, nullptr, nullptr);
}
inline ssize_t send(int fd, const msghdr& message, int flags) { return ::syscall(SYS_sendmsg, fd, &message, flags); }
#endif

}  // namespace edgemux::core::socket_calls
