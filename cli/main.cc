// edgemux: the command line. One sub-command, one file.

#include <CLI/CLI.hpp>
#include <cstdio>
#include <iostream>

#include "cli/check.h"
#include "cli/explain.h"
#include "cli/run.h"
#include "cli/schema.h"

int main(int argc, char** argv) {
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
  if (schema->parsed()) return edgemux::cli::schema(included, std::cout);
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
