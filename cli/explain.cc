#include "cli/explain.h"

#include <algorithm>
#include <ostream>

#include "admin/explain.h"
#include "cli/admin_client.h"
#include "config/compiler.h"

namespace edgemux::cli {

namespace {

int ask_running(const ExplainOptions& options, std::ostream& out, std::ostream& err) {
  const auto socket = admin_socket_of(options.config);
  if (!socket) {
    err << "edgemux explain: " << socket.error().message << "\n";
    return 1;
  }
  const auto answer = ask_admin(
      *socket, std::string("/explain?") + (options.json ? "" : "format=text&") + admin::query_of(options.asked));
  if (!answer) {
    err << "edgemux explain: " << answer.error().message << "\n";
    return 1;
  }
  if (answer->status != 200) {
    err << "edgemux explain: " << answer->body;
    return answer->status == 400 ? 2 : 1;
  }
  out << answer->body;
  return 0;
}

}  // namespace

int explain(const ExplainOptions& options, std::ostream& out, std::ostream& err) {
  const auto question = admin::question_of(options.asked);
  if (!question) {
    err << "edgemux explain: " << question.error().message << "\n";
    return 2;
  }
  if (options.running) return ask_running(options, out, err);
  config::CompilerOptions compiler;
  compiler.state_dir = "";
  const auto compiled = config::Compiler(options.config, std::move(compiler)).compile();
  if (compiled.snapshot == nullptr) {
    for (const auto& diagnostic : compiled.diagnostics) err << diagnostic.render() << "\n";
    err << "edgemux explain: the configuration has errors; nothing can be explained\n";
    return 1;
  }
  if (compiled.errors() != 0) {
    err << "edgemux explain: " << compiled.errors()
        << " error(s); what has one is left out here, see `edgemux check`\n";
  }
  const auto& listeners = compiled.snapshot->listeners;
  if (!question->listener.empty() && std::none_of(listeners.begin(), listeners.end(), [&](const auto& listener) {
        return listener->spec.name == question->listener;
      })) {
    err << "edgemux explain: there is no listener '" << question->listener << "'\n";
    return 2;
  }
  compiled.snapshot->judge_by_its_listeners();  // as if it were in force
  const auto explanation =
      admin::explain({*compiled.snapshot, compiled.diagnostics, compiled.set_aside_named}, *question);
  out << (options.json ? admin::to_json(explanation) : admin::to_text(explanation));
  return 0;
}

}  // namespace edgemux::cli
