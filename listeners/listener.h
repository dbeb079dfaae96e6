#pragma once
// Listener: one listener of the configuration on one worker: its accepting sockets and the host table in force. Lives
// for as long as a session of it does; after its removal from the configuration it knows no host any more.

#include <memory>
#include <string>
#include <vector>

#include "core/base/metrics.h"
#include "core/io/listening_socket.h"
#include "routing/table/snapshot.h"

namespace edgemux::listeners {

class Worker;

// One open socket of one listener, for one worker. Whoever lets it go last closes it: the worker, so that nobody comes
// between its last accept and that. One that is hidden is nobody's any more: of those who come to it each is the
// listener's that is bound to where they connected to.
struct WorkerSocket {
  std::string listener;
  std::shared_ptr<const core::ListeningDescriptor> descriptor;
};

class Listener {
 public:
  Listener(Worker& worker, std::shared_ptr<const routing::Listener> table);
  ~Listener();
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;

  // Lets go all sockets but its own among `sockets`, which are everybody's. Of those that nobody has, it accepts what
  // is queued.
  void keep_only(const std::vector<WorkerSocket>& sockets);
  // The listener's part of a new snapshot, and everybody's sockets: its own are accepted on from now on.
  void update(std::shared_ptr<const routing::Listener> table, const std::vector<WorkerSocket>& sockets);
  // No longer configured. Its connections end under the table that they came under, until forget_table().
  void remove(const std::vector<WorkerSocket>& sockets);
  // For tunnels that stay: they need it no more.
  void forget_table();
  // Accepts what is queued, then nothing more.
  void stop_accepting() { keep_only({}); }

  // No client can be accepted for now: errno tells what has run out.
  void on_shortage(int error);
  // A client that has connected to `fd`, which the listener owns from now on.
  void accept(int fd, const core::SocketAddress& client);
  // A connection that counts already: the session that its protocol asks for. `destination`: what the client connected
  // to, where a PROXY header said so, else invalid.
  void begin(const core::SocketAddress& client, const core::SocketAddress& destination,
             std::unique_ptr<core::TcpStream> stream);

  [[nodiscard]] Worker& worker() const { return worker_; }
  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] const routing::ListenerSpec& spec() const { return table_->spec; }
  [[nodiscard]] const routing::HostTable& hosts() const { return table_->hosts; }
  // Of a tcp listener; null once its table is forgotten.
  [[nodiscard]] const routing::UpstreamPtr& upstream() const { return table_->upstream; }
  [[nodiscard]] core::ListenerMetrics& metrics() const { return metrics_; }
  [[nodiscard]] bool removed() const { return removed_; }
  // Removed, or the whole process goes: what begins now is to end soon.
  [[nodiscard]] bool leaves() const;
  [[nodiscard]] std::uint64_t removed_at() const { return removed_at_; }  // loop milliseconds

  std::size_t sessions = 0;  // counted by Session

 private:
  static constexpr std::size_t kAcceptedAtOnce = 16;  // descriptors that it asks for
  struct Socket {
    std::shared_ptr<const core::ListeningDescriptor> descriptor;
    std::unique_ptr<core::Acceptor> acceptor;
  };

  Worker& worker_;
  std::string name_;
  std::shared_ptr<const routing::Listener> table_;
  core::ListenerMetrics& metrics_;
  std::vector<Socket> sockets_;
  bool removed_ = false;
  bool forgotten_ = false;
  std::uint64_t removed_at_ = 0;
};

}  // namespace edgemux::listeners
