#pragma once
// AdminConnection: one client of the admin server: read a head, answer, wait for the client to go.

#include <cstdint>
#include <functional>
#include <string>

#include "core/http/head_parser.h"
#include "core/io/event_loop.h"

namespace edgemux::admin {

struct Answer {
  int status = 200;
  std::string_view type = "text/plain; charset=utf-8";
  std::string body;
};

class AdminConnection final : public core::Retirable, private core::Watcher {
 public:
  static constexpr std::size_t kMaxHead = 8 * 1024;

  struct Owner {
    std::uint64_t deadline_ms = 5'000;  // from accept to the last byte
    // Asked once, with the path and the query (without '?') of a GET or HEAD.
    std::function<Answer(const AdminConnection&, std::string_view path, std::string_view query)> answer;
    // The last call: the owner retires the connection.
    std::function<void(AdminConnection&)> gone;
  };

  // Owns `fd`, which is non-blocking. `trusted` = came over the Unix socket. The owner outlives the connection, and
  // numbers its connections.
  AdminConnection(core::EventLoop& loop, int fd, bool trusted, const Owner& owner, std::uint64_t number);
  ~AdminConnection() override;

  // False: the loop cannot watch it; destroy it.
  [[nodiscard]] bool start();
  // Closes the descriptor; nothing is called afterwards.
  void close();

  [[nodiscard]] bool trusted() const { return trusted_; }
  [[nodiscard]] std::uint64_t number() const { return number_; }
  [[nodiscard]] bool answering() const { return stage_ == Stage::writing; }

 private:
  enum class Stage : std::uint8_t { reading, writing, lingering };
  enum class Step : std::uint8_t { wait, next, end };

  void on_io(std::uint32_t ready) override;
  Step read();
  Step respond();
  Step write();
  Step linger();
  void say(const Answer& answer, bool head_only);

  core::EventLoop& loop_;
  int fd_;
  const bool trusted_;
  const Owner& owner_;
  const std::uint64_t number_;
  Stage stage_ = Stage::reading;
  core::Timer deadline_;
  core::HeadScanner scanner_{kMaxHead};
  std::string in_;
  std::string out_;
  std::size_t sent_ = 0;
};

}  // namespace edgemux::admin
