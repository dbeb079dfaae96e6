#include "cli/run.h"

#include <sys/resource.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <exception>
#include <functional>
#include <iostream>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "admin/admin_server.h"
#include "admin/explain.h"
#include "admin/exposition.h"
#include "admin/status.h"
#include "cli/notify.h"
#include "config/compiler.h"
#include "config/reloader.h"
#include "core/base/log.h"
#include "core/base/metrics.h"
#include "core/io/event_loop.h"
#include "core/tls/allocator.h"
#include "listeners/access_log.h"
#include "listeners/server.h"
#include "routing/upstream/discovery.h"

namespace edgemux::cli {

namespace {

// What to raise where a problem is, in the system's words, that a limit was reached.
std::string remedy(const std::string& problem) {
  const auto says = [&](int error) { return problem.find(std::strerror(error)) != std::string::npos; };
  if (says(ENFILE)) return "; raise fs.file-max";
  if (says(EMFILE)) {
    rlimit files{};
    getrlimit(RLIMIT_NOFILE, &files);
    return "; raise LimitNOFILE (ulimit -n), which is " + std::to_string(files.rlim_cur);
  }
  if (says(EAGAIN)) return "; raise TasksMax or LimitNPROC (ulimit -u)";  // a thread
  return {};
}

bool not_started(const std::string& problem) {
  core::log_error("{}{}", problem, remedy(problem));
  return false;
}

core::LogLevel level_of(routing::LogLevel level) { return static_cast<core::LogLevel>(level); }

config::CompilerOptions compiler_options() {
  config::CompilerOptions options;
  options.keep_later = true;
  options.confirmed = true;
  return options;
}

constexpr std::uint64_t kLookAgainMs = 60'000;

sigset_t ends() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  return signals;
}

// One has come that nobody has taken.
bool told_to_end() {
  sigset_t waiting;
  sigpending(&waiting);
  return sigismember(&waiting, SIGTERM) == 1 || sigismember(&waiting, SIGINT) == 1;
}

// Everything that lives as long as the process, on the control thread.
class Process {
 public:
  explicit Process(const std::string& config)
      : config_(std::make_shared<const std::string>(config)),
        compiler_(config, compiler_options()),
        reloader_(std::make_unique<config::Reloader>(config::Reloader::Hooks{
            [this](config::Touched touched, const config::Accept& accept) {
              return compiler_.compile(std::move(touched), accept);
            },
            [this](std::function<void()> task) { loop_.post(std::move(task)); },
            [this](config::Reload reload) { reloaded(std::move(reload)); }, [this] { compiler_.reread(); },
            [this](std::set<std::string> paths) { compiler_.hold(std::move(paths)); },
            [this] { return compiler_.keep(); }, [this] { compiler_.published(); },
            [this] { compiler_.unpublished(); }})),
        heartbeat_([](void* self) { static_cast<Process*>(self)->beat(); }, this) {}

  // False: it was said why, and the process ends.
  bool start();
  int run();

 private:
  void reloaded(config::Reload reload);
  void publish(const routing::SnapshotPtr& snapshot);
  void live();
  // When they expire, for the metrics; with many hosts this takes a while, so not at every question.
  void look_at_certificates();
  void terminate();
  void hang_up();
  // Once a second: watchdog, and nothing else.
  void beat();
  void tell_ready();
  [[nodiscard]] admin::AdminSources sources();
  [[nodiscard]] std::string not_ready() const;

  std::shared_ptr<const std::string> config_;
  core::EventLoop loop_;
  config::Compiler compiler_;
  std::unique_ptr<config::Reloader> reloader_;
  Notify notify_;
  std::optional<routing::Discovery> discovery_{std::in_place};
  std::unique_ptr<core::Metrics> metrics_;
  std::unique_ptr<listeners::AccessLog> access_log_;
  std::unique_ptr<listeners::Server> server_;
  std::unique_ptr<admin::AdminServer> admin_;
  std::vector<std::unique_ptr<core::SignalWatch>> signals_;
  routing::SnapshotPtr waiting_;                 // came while another was being published
  std::vector<config::Diagnostic> diagnostics_;  // that stand now
  std::vector<std::string> set_aside_;           // include files, as in Compiled
  std::vector<std::string> set_aside_named_;
  std::pair<std::vector<std::string>, std::vector<std::string>> set_aside_before_;  // both, before the latest reload
  core::Timer heartbeat_;
  std::uint64_t began_ = 0;
  std::uint64_t looked_at_ = 0;   // the generation whose certificates were looked at
  std::uint64_t look_again_ = 0;  // loop milliseconds: others may be valid by then
  admin::CounterTotals overflows_;
  bool publishing_ = false;
  bool listens_ = true;   // admin does, where the table says
  bool hung_up_ = false;  // systemd waits to hear that the reload is over
  bool ready_ = false;
  int terminations_ = 0;
  int status_ = 0;
};

bool Process::start() {
  config::Compiled first = reloader_->load();
  std::string raise;
  for (const auto& diagnostic : first.diagnostics) {
    std::cerr << diagnostic.render() << '\n';
    if (raise.empty()) raise = remedy(diagnostic.message);
  }
  if (first.snapshot == nullptr) {
    std::cerr << "edgemux: the configuration has errors; nothing was started" << raise << '\n';
    return false;
  }
  const routing::SnapshotPtr snapshot = first.snapshot;
  core::set_log_level(level_of(snapshot->log.level));
  core::start_log(core::log_target_of_stderr());
  if (told_to_end()) {
    core::log_info("told to end before it was ready");
    return false;
  }
  metrics_ = std::make_unique<core::Metrics>(snapshot->workers);
  metrics_->sources_set_aside.store(first.set_aside.size());
  access_log_ = std::make_unique<listeners::AccessLog>(snapshot->workers);
  if (auto configured = access_log_->configure(snapshot->log.access); !configured) {
    return not_started(configured.error().message);
  }
  diagnostics_ = std::move(first.diagnostics);
  set_aside_ = std::move(first.set_aside);
  set_aside_named_ = std::move(first.set_aside_named);
  began_ = core::log_clock();
  server_ = std::make_unique<listeners::Server>(loop_, *metrics_, *access_log_);
  discovery_->update(snapshot->upstreams);
  if (auto started = server_->start(snapshot, [this] { live(); }); !started) {
    return not_started(started.error().message);
  }
  compiler_.published();
  publishing_ = true;
  admin_ = std::make_unique<admin::AdminServer>(loop_, sources());
  if (auto listening = admin_->listen(snapshot->admin); !listening) {
    return not_started(listening.error().message);
  }
  reloader_->start();
  beat();
  return true;
}

void Process::live() {
  publishing_ = false;
  if (!std::exchange(listens_, true)) {
    if (auto listening = admin_->listen(server_->snapshot()->admin); !listening) {
      core::log_error("admin stays as it was: {}", listening.error().message);
    }
  }
  if (!ready_) {
    ready_ = true;
    for (const auto& listener : server_->snapshot()->listeners) {
      for (const auto& bind : listener->spec.binds) {
        core::log_info("listener {}: {} on {}", listener->spec.name, routing::protocol_name(listener->spec.protocol),
                       bind.text);
      }
    }
    core::log_info("edgemux {} is ready: {} hosts, {} workers", EDGEMUX_VERSION, server_->snapshot()->host_count,
                   metrics_->workers());
  }
  tell_ready();
  // Sockets would be opened again for a table that comes when we go.
  if (auto next = std::move(waiting_); next != nullptr && terminations_ == 0) publish(next);
}

void Process::publish(const routing::SnapshotPtr& snapshot) {
  if (publishing_) {
    waiting_ = snapshot;
    return;
  }
  // A port may go from one to the other: from admin's now, to it once it is free; see live().
  const auto listening = admin_->listen(snapshot->admin);
  snapshot->judge_by_its_listeners();
  discovery_->update(snapshot->upstreams);
  if (!hung_up_) notify_.reloading();
  hung_up_ = true;
  publishing_ = true;
  if (auto published = server_->publish(snapshot, [this] { live(); }); !published) {
    publishing_ = false;
    std::tie(set_aside_, set_aside_named_) = set_aside_before_;
    metrics_->sources_set_aside.store(set_aside_.size());
    server_->snapshot()->judge_by_its_listeners();
    discovery_->update(server_->snapshot()->upstreams);
    metrics_->reloads_failed.fetch_add(1);
    metrics_->reload_ended(false);
    config::Diagnostic problem;
    problem.origin.file = config_;
    problem.message =
        "the new configuration cannot be put in force; what was in force stays: " + published.error().message;
    core::log_error("{}", problem.message);
    diagnostics_.push_back(std::move(problem));
    if (auto back = admin_->listen(server_->snapshot()->admin); !back) core::log_error("{}", back.error().message);
    reloader_->rejected(server_->snapshot());
    tell_ready();
    return;
  }
  core::set_log_level(level_of(snapshot->log.level));
  if (auto configured = access_log_->configure(snapshot->log.access); !configured) {
    core::log_error("the access log stays as it was: {}", configured.error().message);
  }
  if (snapshot->workers != metrics_->workers()) {
    core::log_warn("workers: {} takes effect after a restart; {} are running", snapshot->workers, metrics_->workers());
  }
  listens_ = listening.has_value();
  reloader_->rejected(nullptr);
  metrics_->reloads_ok.fetch_add(1);
  metrics_->reload_ended(true);
}

void Process::reloaded(config::Reload reload) {
  config::log_reload(reload);
  diagnostics_ = std::move(reload.diagnostics);
  const bool whole =
      reload.outcome != config::Reload::Outcome::failed && reload.outcome != config::Reload::Outcome::refused;
  if (reload.outcome != config::Reload::Outcome::published) metrics_->reload_ended(whole);
  // Of a table that does not come into force nothing counts: those of the one that stays are what they were.
  if (whole) {
    if (reload.outcome == config::Reload::Outcome::published) set_aside_before_ = {set_aside_, set_aside_named_};
    metrics_->sources_set_aside.store(reload.set_aside.size());
    set_aside_ = std::move(reload.set_aside);
    set_aside_named_ = std::move(reload.set_aside_named);
  }
  if (reload.outcome == config::Reload::Outcome::failed) metrics_->reloads_failed.fetch_add(1);
  if (reload.outcome == config::Reload::Outcome::refused) metrics_->reloads_refused.fetch_add(1);
  if (reload.outcome == config::Reload::Outcome::published && terminations_ == 0) return publish(reload.snapshot);
  tell_ready();
}

void Process::hang_up() {
  if (terminations_ > 0) return;
  hung_up_ = true;
  notify_.reloading();
  reloader_->request();
}

void Process::tell_ready() {
  if (terminations_ > 0 || publishing_ || !ready_) return;
  const std::string text = std::to_string(server_->snapshot()->host_count) + " hosts, generation " +
                           std::to_string(server_->snapshot()->generation);
  if (hung_up_ || server_->snapshot()->generation == 1) {
    hung_up_ = false;
    notify_.ready(text);
  } else {
    notify_.status(text);
  }
}

void Process::beat() {
  if (admin::stale_worker(*metrics_, core::log_clock()).empty()) notify_.ping();
  constexpr std::uint64_t kSecond = 1000;
  const std::uint64_t watchdog = notify_.watchdog_interval_ms();
  loop_.timers().arm(heartbeat_, loop_.now() + (watchdog == 0 ? kSecond : std::min(watchdog, kSecond)));
}

std::string Process::not_ready() const {
  if (terminations_ > 0) return "draining";
  return ready_ ? "" : "starting";
}

admin::AdminSources Process::sources() {
  admin::AdminSources sources;
  sources.metrics = [this] {
    look_at_certificates();
    const auto snapshot = server_->snapshot();
    return admin::render_metrics(*metrics_, *access_log_, snapshot->tenants) +
           admin::render_upstreams(snapshot->upstreams, overflows_);
  };
  sources.unhealthy = [this] { return admin::stale_worker(*metrics_, core::log_clock()); };
  sources.not_ready = [this] { return not_ready(); };
  sources.status = [this] {
    look_at_certificates();
    return admin::render_status({*server_->snapshot(), *metrics_, *access_log_, diagnostics_, not_ready(),
                                 core::log_clock() - began_, server_->connections(), set_aside_});
  };
  sources.explain = [this](const admin::Asked& asked, bool text) -> core::Result<std::string> {
    const auto question = admin::question_of(asked);
    if (!question) return tl::unexpected(question.error());
    const auto& listeners = server_->snapshot()->listeners;
    const auto is_asked = [&](const auto& listener) { return listener->spec.name == question->listener; };
    if (!question->listener.empty() && std::none_of(listeners.begin(), listeners.end(), is_asked)) {
      return core::fail("there is no listener '" + question->listener + "'");
    }
    const auto explanation = admin::explain({*server_->snapshot(), diagnostics_, set_aside_named_, true}, *question);
    return text ? admin::to_text(explanation) : admin::to_json(explanation);
  };
  return sources;
}

void Process::look_at_certificates() {
  const std::uint64_t generation = server_->snapshot()->generation;
  if (generation == looked_at_ && loop_.now() < look_again_) return;
  admin::note_expiries(*server_->snapshot(), *metrics_);
  looked_at_ = generation;
  look_again_ = loop_.now() + kLookAgainMs;
}

void Process::terminate() {
  if (++terminations_ > 1) {
    core::log_warn("told to end a second time: closing what is open");
    server_->cut_short();
    return;
  }
  core::log_info("draining: {} connections are open", server_->connections());
  notify_.stopping();
  server_->drain([this](bool clean) {
    if (!clean) status_ = 3;
    loop_.stop();
  });
}

int Process::run() {
  const auto on = [this](int number, std::function<void()> act) {
    signals_.push_back(std::make_unique<core::SignalWatch>(loop_, number, std::move(act)));
  };
  on(SIGTERM, [this] { terminate(); });
  on(SIGINT, [this] { terminate(); });
  on(SIGHUP, [this] { hang_up(); });
  on(SIGUSR2, [] { core::log_warn("SIGUSR2: upgrading the binary in place is not supported yet; nothing was done"); });
  on(SIGUSR1, [this] {
    if (auto reopened = access_log_->reopen(); !reopened) core::log_error("{}", reopened.error().message);
  });
  const sigset_t held = ends();
  pthread_sigmask(SIG_UNBLOCK, &held, nullptr);
  loop_.run();
  signals_.clear();
  admin_.reset();
  reloader_.reset();
  server_.reset();
  access_log_.reset();
  discovery_.reset();  // the last thread that may log
  core::log_info("edgemux has ended");
  core::stop_log();
  return status_;
}

// A login shell's soft limit of 1,024 files would be some 450 connections; what the hard limit grants is ours to use.
void raise_file_limit() {
  rlimit files{};
  if (getrlimit(RLIMIT_NOFILE, &files) != 0 || files.rlim_cur == files.rlim_max) return;
  files.rlim_cur = files.rlim_max;
  (void)setrlimit(RLIMIT_NOFILE, &files);
}

}  // namespace

int run(const std::string& config) {
  std::signal(SIGPIPE, SIG_IGN);
  // Until there is somebody to take them: a start reads everything anew anyway.
  for (const int asked : {SIGUSR1, SIGUSR2, SIGHUP}) std::signal(asked, SIG_IGN);
  // These wait until then, in all threads: for process 1, as which containers run us, the kernel would drop them.
  const sigset_t held = ends();
  pthread_sigmask(SIG_BLOCK, &held, nullptr);
  raise_file_limit();
  core::install_tls_allocator();
  std::optional<Process> process;
  bool started = false;
  try {
    started = process.emplace(config).start();
  } catch (const std::exception& error) {  // no descriptor, thread or memory to be had
    not_started(std::string("cannot start: ") + error.what());
  }
  if (started) return process->run();
  process.reset();
  core::stop_log();
  return told_to_end() ? 0 : 1;
}

}  // namespace edgemux::cli
