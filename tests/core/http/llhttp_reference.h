#pragma once
// One message as llhttp reads it: what edgemux' own parser is compared with. Only for tests, fuzzing and benchmarks.

#include <llhttp.h>

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/http/bytes.h"
#include "core/http/field.h"

namespace edgemux::core::differential {

struct Reference {
  bool head_complete = false;
  bool complete = false;     // the whole message was read
  bool in_trailers = false;  // the last chunk was seen
  llhttp_errno_t error = HPE_OK;
  std::string reason;
  std::string method, target, body;
  int status = 0;
  std::vector<std::pair<std::string, std::string>> fields;  // lower-case names, trimmed values, no managed aliases

  // `skip_body`: the message has none, whatever its fields say (an answer to HEAD).
  static Reference read(std::string_view message, llhttp_type_t type, bool skip_body) {
    Reference reference;
    reference.skip_body_ = skip_body;
    llhttp_settings_t settings;
    llhttp_settings_init(&settings);
    settings.on_url = [](llhttp_t* p, const char* at, std::size_t n) { return self(p).target.append(at, n), 0; };
    settings.on_header_field = [](llhttp_t* p, const char* at, std::size_t n) {
      return self(p).name_.append(at, n), 0;
    };
    settings.on_header_value = [](llhttp_t* p, const char* at, std::size_t n) {
      return self(p).value_.append(at, n), 0;
    };
    settings.on_header_value_complete = [](llhttp_t* p) { return self(p).take_field(), 0; };
    settings.on_headers_complete = [](llhttp_t* p) { return self(p).head_complete = true, self(p).skip_body_ ? 1 : 0; };
    settings.on_body = [](llhttp_t* p, const char* at, std::size_t n) { return self(p).body.append(at, n), 0; };
    settings.on_chunk_header = [](llhttp_t* p) { return self(p).in_trailers = p->content_length == 0, 0; };
    settings.on_message_complete = [](llhttp_t* p) { return self(p).complete = true, static_cast<int>(HPE_PAUSED); };
    llhttp_t parser;
    llhttp_init(&parser, type, &settings);
    parser.data = &reference;
    reference.error = llhttp_execute(&parser, message.data(), message.size());
    if (reference.error == HPE_OK && reference.head_complete) reference.error = llhttp_finish(&parser);
    if (reference.error == HPE_PAUSED || reference.error == HPE_PAUSED_UPGRADE) reference.error = HPE_OK;
    if (reference.error != HPE_OK && parser.reason != nullptr) reference.reason = parser.reason;
    if (type == HTTP_REQUEST) reference.method = llhttp_method_name(static_cast<llhttp_method_t>(parser.method));
    reference.status = parser.status_code;
    return reference;
  }

 private:
  static Reference& self(llhttp_t* parser) { return *static_cast<Reference*>(parser->data); }

  void take_field() {
    if (!head_complete) {
      for (char& c : name_) c = lower(c);
      if (!aliases_managed_field(name_)) fields.emplace_back(name_, trim_ows(value_));
    }
    name_.clear();
    value_.clear();
  }

  std::string name_, value_;
  bool skip_body_ = false;
};

}  // namespace edgemux::core::differential
