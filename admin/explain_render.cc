#include <nlohmann/json.hpp>

#include "admin/explain.h"

namespace edgemux::admin {

namespace {

using Json = nlohmann::ordered_json;

// A terminal is not steered by what a URL or a file holds.
std::string printable(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    out += byte < 0x20 || byte == 0x7f ? '?' : c;
  }
  return out;
}

std::string place(const routing::Origin& at) { return at.file == nullptr ? "" : "  (" + at.to_string() + ")"; }

Json json_of(const routing::Origin& at) {
  if (at.file == nullptr) return nullptr;
  return {{"file", *at.file}, {"line", at.line}, {"column", at.column}};
}

}  // namespace

std::string to_text(const Explanation& explanation) {
  constexpr std::size_t kTopic = 13;
  std::string out = printable(explanation.question) + "\n\n";
  for (const auto& step : explanation.steps) {
    out += "  " + step.topic + std::string(kTopic - std::min(kTopic - 1, step.topic.size()), ' ');
    out += printable(step.text + place(step.at)) + "\n";
    for (const auto& candidate : step.candidates) {
      out += std::string(kTopic + 2, ' ') + (candidate.chosen ? "> " : "- ");
      out += printable(candidate.text + place(candidate.at)) + "\n";
    }
  }
  return out + "\n=> " + printable(explanation.summary) + "\n";
}

std::string to_json(const Explanation& e) {
  Json result{{"action", e.action}};
  if (e.status != 0) result["status"] = e.status;
  for (const auto& [key, value] : {std::pair{"reason", &e.reason},
                                   {"location", &e.location},
                                   {"listener", &e.listener},
                                   {"host", &e.host},
                                   {"tenant", &e.tenant},
                                   {"certificate", &e.certificate},
                                   {"upstream", &e.upstream}}) {
    if (!value->empty()) result[key] = *value;
  }
  Json steps = Json::array();
  for (const auto& step : e.steps) {
    Json candidates = Json::array();
    for (const auto& candidate : step.candidates) {
      candidates.push_back({{"text", candidate.text}, {"chosen", candidate.chosen}, {"at", json_of(candidate.at)}});
    }
    steps.push_back(
        {{"topic", step.topic}, {"text", step.text}, {"at", json_of(step.at)}, {"candidates", std::move(candidates)}});
  }
  const Json whole{
      {"question", e.question}, {"summary", e.summary}, {"result", std::move(result)}, {"steps", std::move(steps)}};
  return whole.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace edgemux::admin
