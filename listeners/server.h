#pragma once
// Server: the data plane as a whole, seen from the control thread: the open sockets, the workers, and the snapshot in
// force.
//
// All calls on the control thread. Order: start() with the first snapshot, publish() for each later one (never two at
// once: wait for `done`), drain(), then the destructor.

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/io/event_loop.h"
#include "core/io/listening_socket.h"
#include "listeners/access_log.h"
#include "listeners/admission.h"
#include "listeners/worker.h"

namespace edgemux::listeners {

class Server {
 public:
  // `control` is the control thread's loop. Everything outlives the server.
  Server(core::EventLoop& control, core::Metrics& metrics, AccessLog& access_log);
  ~Server();

  // Opens every socket and starts the workers with the first snapshot; `done` runs when all have it. Nothing is served
  // after an error.
  core::Result<void> start(const routing::SnapshotPtr& snapshot, std::function<void()> done);

  // Makes a later snapshot the one in force. A socket that cannot be opened refuses it as a whole: the error comes
  // back, nothing has changed, and `done` is not called. Otherwise `done` runs when every worker has taken it over.
  core::Result<void> publish(const routing::SnapshotPtr& snapshot, std::function<void()> done);

  // Stops accepting, closes the sockets and lets everything under way finish, at most for timeouts.drain; then `done`.
  // `clean`: nothing was left open.
  void drain(std::function<void(bool clean)> done);
  // Ends a drain at once.
  void cut_short();

  [[nodiscard]] const routing::SnapshotPtr& snapshot() const { return snapshot_; }
  [[nodiscard]] std::size_t sessions() const;
  [[nodiscard]] std::uint32_t connections() const { return admission_.connections(); }
  [[nodiscard]] bool draining() const { return drained_ != nullptr; }

 private:
  // One bind address: a descriptor per worker, who shares it.
  struct Socket {
    routing::Bind bind;
    std::vector<std::shared_ptr<const core::ListeningDescriptor>> descriptors;
  };
  using Sockets = std::map<std::string, Socket>;  // by the bind's address and kind
  // One that is no longer configured, while another has its place: handshakes that had begun end there.
  struct Leaving {
    Socket socket;
    std::uint64_t until;  // control loop's milliseconds
  };

  core::Result<Sockets> open_missing(const routing::Snapshot& snapshot);
  void adopt(const routing::SnapshotPtr& snapshot, Sockets opened, std::function<void()> done);
  // Those of the worker of that number, under the snapshot in force.
  [[nodiscard]] std::vector<WorkerSocket> sockets_of(std::size_t worker) const;
  // Gives up what the snapshot in force does not have.
  void give_up_sockets();
  void end_leaving();
  void check_drained();
  // Of all workers, once in a while. Thread safe.
  void ask_for_descriptors();

  core::EventLoop& control_;
  core::Metrics& metrics_;
  Admission admission_;
  SourceRates sources_;
  Shared shared_;
  std::vector<std::unique_ptr<Worker>> workers_;
  Sockets sockets_;
  std::vector<Leaving> leaving_;  // the first to go first
  core::Timer leave_tick_;
  routing::SnapshotPtr snapshot_;
  std::function<void(bool)> drained_;
  core::Timer drain_tick_;
  std::uint64_t drain_until_ = 0;
  std::atomic<std::uint64_t> asked_at_{0};  // for descriptors; log_clock()
};

// limits.connections: as configured, or what RLIMIT_NOFILE allows with two descriptors a connection and a reserve.
std::uint32_t connection_limit(const routing::Limits& limits);
// How many upstream connections that nobody uses a worker may keep: all of them together a quarter of the descriptors
// that are not in reserve, so that they take little of what connections in use may need.
std::uint64_t idle_limit(unsigned workers);

}  // namespace edgemux::listeners
