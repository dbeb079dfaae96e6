// edgemux: the command line. One sub-command, one file.

#include <CLI/CLI.hpp>
#include <cstdio>
#include <iostream>

#include "cli/check.h"
#include "cli/run.h"
#include "cli/schema.h"

int main(int argc, char** argv) {
  CLI::App app("edgemux, an edge proxy: TLS passthrough and termination by server name, HTTP routing, ACME HTTP-01");
  app.require_subcommand(1);

  std::string config;
  const auto add_config = [&config](CLI::App* command) {
    command->add_option("--config,-c", config, "the configuration file")->required();
  };

  CLI::App* run = app.add_subcommand("run", "Run the proxy. SIGTERM drains, SIGHUP reloads, SIGUSR1 reopens logs");
  add_config(run);

  CLI::App* check = app.add_subcommand("check", "Report every problem of a configuration; exit 1 if there is an error");
  add_config(check);
  std::string format = "text";
  check->add_option("--format", format, "text or json")->check(CLI::IsMember({"text", "json"}));

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
  if (check->parsed()) {
    edgemux::cli::CheckOptions options;
    options.config = config;
    options.format =
        format == "json" ? edgemux::cli::CheckOptions::Format::json : edgemux::cli::CheckOptions::Format::text;
    return edgemux::cli::check(options, std::cout);
  }
  return edgemux::cli::run(config);
}
