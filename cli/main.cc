// edgemux: the command line. One sub-command, one file.

#include <CLI/CLI.hpp>
#include <cstdio>
#include <iostream>

#include "cli/check.h"
#include "cli/diff.h"
#include "cli/explain.h"
#include "cli/run.h"
#include "cli/schema.h"
#include "cli/status.h"

namespace {

int act(int argc, char** argv) {
  CLI::App app("edgemux, an edge proxy: TLS passthrough and termination by server name, HTTP routing, ACME HTTP-01");
  app.require_subcommand(1);

  std::string config;
  const auto add_config = [&config](CLI::App* command) {
    command->add_option("--config,-c", config, "the configuration file")->required();
  };

  std::string format = "text";
  const auto add_format = [&format](CLI::App* command) {
    command->add_option("--format", format, "text or json")->check(CLI::IsMember({"text", "json"}));
  };

  CLI::App* run = app.add_subcommand("run", "Run the proxy. SIGTERM drains, SIGHUP reloads, SIGUSR1 reopens logs");
  add_config(run);

  CLI::App* check = app.add_subcommand("check", "Report every problem of a configuration; exit 1 if there is an error");
  add_config(check);
  add_format(check);

  edgemux::cli::DiffOptions compared;
  CLI::App* diff = app.add_subcommand("diff", "Which hosts appear, vanish or change hands; exit 1 if any does");
  diff->add_option("old", compared.before, "the configuration before")->required();
  diff->add_option("new", compared.after, "the configuration after")->required();
  add_format(diff);

  edgemux::cli::ExplainOptions explained;
  CLI::App* explain = app.add_subcommand("explain", "Say what a request or a TLS connection would meet, and why");
  explain->add_option("url", explained.asked.url, "https://host/path; or a TLS connection only, with --sni");
  explain->add_option("--config,-c", explained.config, "the configuration file")->required();
  explain->add_flag("--running", explained.running, "ask the running process, through the admin socket of the file");
  explain->add_option("--request,-X", explained.asked.method, "the request's method");
  explain->add_option("--header,-H", explained.asked.headers, "'name: value', any number")->allow_extra_args(false);
  explain->add_option("--listener", explained.asked.listener, "where it comes in; default: by scheme and port");
  explain->add_option("--sni", explained.asked.sni, "the server name of the TLS handshake; default: the URL's host");
  explain->add_option("--alpn", explained.asked.alpn, "protocols that the client offers; default: h2,http/1.1");
  explain->add_option("--from", explained.asked.from, "the client's address");
  add_format(explain);

  edgemux::cli::StatusOptions watched;
  watched.config = "/etc/edgemux/edgemux.yaml";
  const auto add_socket = [&watched](CLI::App* command) {
    command->add_option("--config,-c", watched.config, "the file that names the admin socket")->capture_default_str();
    command->add_option("--socket", watched.socket, "the path of the admin socket");
  };
  CLI::App* status = app.add_subcommand("status", "Ask the running process what it serves and how it is");
  add_socket(status);
  add_format(status);
  CLI::App* top = app.add_subcommand("top", "Watch rates and connections of the running process; ends with Ctrl-C");
  add_socket(top);
  top->add_flag("--once", watched.once, "one page, over one interval");
  top->add_option("--interval", watched.interval, "seconds")->check(CLI::Range(1, 3600))->capture_default_str();

  CLI::App* schema = app.add_subcommand("schema", "Print the JSON Schema of the configuration");
  bool included = false;
  schema->add_flag("--include", included, "that of an included file");

  CLI::App* version = app.add_subcommand("version", "Print the version");

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  if (version->parsed()) {
    std::puts("edgemux " EDGEMUX_VERSION);
    return 0;
  }
  if (status->parsed()) {
    watched.json = format == "json";
    return edgemux::cli::status(watched, std::cout, std::cerr);
  }
  if (top->parsed()) return edgemux::cli::top(watched, std::cout, std::cerr);
  if (schema->parsed()) return edgemux::cli::schema(included, std::cout);
  if (diff->parsed()) {
    compared.json = format == "json";
    return edgemux::cli::diff(compared, std::cout, std::cerr);
  }
  if (explain->parsed()) {
    explained.json = format == "json";
    return edgemux::cli::explain(explained, std::cout, std::cerr);
  }
  if (check->parsed()) {
    edgemux::cli::CheckOptions options;
    options.config = config;
    options.format =
        format == "json" ? edgemux::cli::CheckOptions::Format::json : edgemux::cli::CheckOptions::Format::text;
    return edgemux::cli::check(options, std::cout);
  }
  return edgemux::cli::run(config);
}

}  // namespace

int main(int argc, char** argv) {
  const int status = act(argc, argv);
  if (std::cout.flush()) return status;
  std::cerr << "edgemux: the output could not be written\n";
  return status == 0 ? 1 : status;
}
