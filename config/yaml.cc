#include "config/yaml.h"

#include <libfyaml.h>

#include <algorithm>
#include <unordered_map>

#include "config/utf8.h"

namespace edgemux::config {
namespace {

Place place_at(std::string_view bytes, std::size_t offset) {
  const auto before = bytes.substr(0, offset);
  const auto line_start = before.rfind('\n') == std::string_view::npos ? 0 : before.rfind('\n') + 1;
  Place place;
  place.line = static_cast<std::uint32_t>(std::count(before.begin(), before.end(), '\n') + 1);
  for (const char c : before.substr(line_start)) {
    if ((static_cast<unsigned char>(c) & 0xC0U) != 0x80U) ++place.column;
  }
  ++place.column;
  return place;
}

bool check_bytes(std::string_view text, Problems& problems) {
  for (std::size_t at = 0; at < text.size();) {
    const auto byte = static_cast<unsigned char>(text[at]);
    if (byte == 0) {
      problems.error(place_at(text, at), "the file holds a NUL byte; it is no YAML text");
      return false;
    }
    if ((byte < 0x20 && byte != '\t' && byte != '\n' && byte != '\r') || byte == 0x7f) {
      problems.error(place_at(text, at), "the file holds a control character; it is no YAML text");
      return false;
    }
    const std::size_t length = byte < 0x80 ? 1 : utf8_length(text, at);
    if (length == 0) {
      problems.error(place_at(text, at), "the file is not valid UTF-8", "save it in that encoding");
      return false;
    }
    at += length;
  }
  return true;
}

// Builds the tree from the parser's events.
class Builder {
 public:
  Builder(Document& document, Problems& problems)
      : document_(document), problems_(problems), has_tabs_(document.bytes().find('\t') != std::string::npos) {}

  // False: a problem was reported, stop.
  bool take(fy_event* event) {
    switch (event->type) {
      case FYET_DOCUMENT_START:
        if (++documents_ > 1) {
          const auto* mark = event->document_start.document_start != nullptr
                                 ? fy_token_start_mark(event->document_start.document_start)
                                 : nullptr;
          return stop(place(mark), "several YAML documents in one file; write one, without '---' between parts");
        }
        return true;
      case FYET_SCALAR:
        return scalar(event);
      case FYET_ALIAS:
        return alias(event);
      case FYET_MAPPING_START:
        return open(Node::Kind::map, event);
      case FYET_SEQUENCE_START:
        return open(Node::Kind::list, event);
      case FYET_MAPPING_END:
        return close();
      case FYET_SEQUENCE_END:
        return close();
      default:
        return true;
    }
  }

  [[nodiscard]] const Node* root() const { return root_; }

 private:
  struct Open {
    Node* node;
    Node* last = nullptr;
    std::string_view anchor;
  };

  static Place place(const fy_mark* mark) {
    if (mark == nullptr) return {};
    return {static_cast<std::uint32_t>(mark->line + 1), static_cast<std::uint32_t>(mark->column + 1)};
  }

  bool stop(Place at, std::string message, std::string hint = {}) {
    problems_.error(at, std::move(message), std::move(hint));
    return false;
  }

  static std::string_view token_text(fy_token* token) {
    if (token == nullptr) return {};
    std::size_t size = 0;
    const char* text = fy_token_get_text(token, &size);
    return text == nullptr ? std::string_view{} : std::string_view(text, size);
  }

  // Whether the token's text is a stretch of the file: on one line, without escapes.
  [[nodiscard]] bool verbatim(fy_token* token) const {
    const fy_mark* begin = fy_token_start_mark(token);
    const fy_mark* end = fy_token_end_mark(token);
    if (begin == nullptr || end == nullptr) return true;  // a value that is not there
    const auto from = std::min(begin->input_pos, document_.bytes().size());
    const auto raw = std::string_view(document_.bytes()).substr(from, end->input_pos - std::min(from, end->input_pos));
    switch (fy_token_scalar_style(token)) {
      case FYSS_PLAIN:
        return raw.find('\n') == std::string_view::npos;
      case FYSS_SINGLE_QUOTED:
        return raw.find_first_of("'\n") == std::string_view::npos;
      case FYSS_DOUBLE_QUOTED:
        return raw.find_first_of("\\\n") == std::string_view::npos;
      default:
        return false;
    }
  }

  // Other texts are put together piece by piece: fy_token_get_text() of libfyaml 0.7.12 leaks where the pieces are
  // many.
  std::string_view scalar_text(fy_token* token) {
    if (verbatim(token)) return document_.keep(token_text(token));
    std::string whole;
    if (fy_token_iter* pieces = fy_token_iter_create(token); pieces != nullptr) {
      const fy_iter_chunk* piece = nullptr;
      int error = 0;
      while ((piece = fy_token_iter_chunk_next(pieces, piece, &error)) != nullptr) whole.append(piece->str, piece->len);
      fy_token_iter_destroy(pieces);
    }
    return document_.keep(whole);
  }

  // YAML forbids tabs as indentation; the parser lets some of them pass.
  bool indented_by_tab(const fy_mark* mark) {
    if (!has_tabs_ || mark == nullptr) return false;
    const auto& bytes = document_.bytes();
    for (std::size_t at = std::min(mark->input_pos, bytes.size()); at > 0; --at) {
      const char c = bytes[at - 1];
      if (c == '\n') return tab_seen_;
      if (c == '\t') {
        tab_seen_ = true;
        tab_ = at - 1;
      } else if (c != ' ') {
        break;
      }
      if (at == 1 && tab_seen_) return true;
    }
    tab_seen_ = false;
    return false;
  }

  bool common(fy_event* event, Node* node, std::string_view& anchor) {
    const fy_mark* mark = fy_event_start_mark(event);
    node->place = place(mark);
    if (indented_by_tab(mark)) {
      return stop(place_at(document_.bytes(), tab_), "tabs cannot indent YAML; use spaces");
    }
    if (fy_event_get_tag_token(event) != nullptr) return stop(node->place, "YAML tags are not supported here");
    if (fy_token* token = fy_event_get_anchor_token(event); token != nullptr)
      anchor = document_.keep(token_text(token));
    return true;
  }

  bool scalar(fy_event* event) {
    Node* node = document_.make();
    std::string_view anchor;
    if (!common(event, node, anchor)) return false;
    node->plain = fy_token_scalar_style(event->scalar.value) == FYSS_PLAIN;
    node->text = scalar_text(event->scalar.value);
    // The mark of a quoted text is behind its quote.
    if (const fy_mark* mark = fy_event_start_mark(event); mark != nullptr && mark->column > 0 && mark->input_pos > 0) {
      const auto style = fy_token_scalar_style(event->scalar.value);
      if (style == FYSS_SINGLE_QUOTED || style == FYSS_DOUBLE_QUOTED) --node->place.column;
    }
    if (node->place.line == 0 && !stack_.empty()) {
      // A value that is not there has no token of its own: it stands where its key does.
      const Open& parent = stack_.back();
      node->place = parent.last != nullptr ? parent.last->place : parent.node->place;
    }
    if (!anchor.empty()) anchors_[anchor] = node;
    return add(node);
  }

  bool open(Node::Kind kind, fy_event* event) {
    Node* node = document_.make();
    node->kind = kind;
    std::string_view anchor;
    if (!common(event, node, anchor)) return false;
    if (stack_.size() >= max_yaml_depth) {
      return stop(node->place, "nested deeper than " + std::to_string(max_yaml_depth) + " levels");
    }
    if (!add(node)) return false;
    stack_.push_back({node, nullptr, anchor});
    return true;
  }

  bool close() {
    const Open done = stack_.back();
    stack_.pop_back();
    // Only a finished node can be referred to, so that no alias contains itself.
    if (!done.anchor.empty()) anchors_[done.anchor] = done.node;
    return done.node->kind != Node::Kind::map || unique_keys(*done.node);
  }

  bool alias(fy_event* event) {
    const auto name = token_text(event->alias.anchor);
    const fy_mark* mark = fy_event_start_mark(event);
    Place at = place(mark);
    // The mark is behind the star.
    if (mark != nullptr && mark->column > 0) --at.column;
    const auto found = anchors_.find(name);
    if (found == anchors_.end()) {
      return stop(at, "unknown alias " + quote(name),
                  name.starts_with('.') ? "a wildcard is quoted: \"*" + std::string(name) + "\"" : "");
    }
    if (++aliases_ > max_yaml_aliases) {
      return stop(at, "more than " + std::to_string(max_yaml_aliases) + " aliases in one file");
    }
    Node* copy = expand(*found->second, stack_.size());
    if (copy == nullptr) {
      return stop(at, "the aliases of this file expand to more than " + std::to_string(max_yaml_alias_nodes) +
                          " values or nest too deeply");
    }
    copy->place = at;
    problems_.note_alias(at, found->second->place, last_place(*found->second));
    return add(copy);
  }

  static Place last_place(const Node& node) {
    Place last = node.place;
    for (const Node* child = node.first; child != nullptr; child = child->next)
      last = std::max(last, last_place(*child));
    return last;
  }

  Node* expand(const Node& from, std::size_t depth) {
    if (++expanded_ > max_yaml_alias_nodes || depth > max_yaml_depth) return nullptr;
    Node* to = document_.make();
    *to = from;
    to->first = nullptr;
    to->next = nullptr;
    Node* last = nullptr;
    for (const Node* child = from.first; child != nullptr; child = child->next) {
      Node* copy = expand(*child, depth + 1);
      if (copy == nullptr) return nullptr;
      (last == nullptr ? to->first : last->next) = copy;
      last = copy;
    }
    return to;
  }

  bool add(Node* node) {
    if (stack_.empty()) {
      root_ = node;
      return true;
    }
    Open& parent = stack_.back();
    if (parent.node->is_map() && parent.node->size % 2 == 0) {
      if (!node->is_scalar()) return stop(node->place, "a key must be a plain word, not a list or a map");
      if (node->text == "<<" && node->plain) return stop(node->place, "merge keys ('<<') are not supported");
    }
    (parent.last == nullptr ? parent.node->first : parent.last->next) = node;
    parent.last = node;
    ++parent.node->size;
    return true;
  }

  bool unique_keys(const Node& map) {
    constexpr std::uint32_t few = 32;
    if (map.size <= few) {
      for (const Node* k = map.first; k != nullptr; k = k->next->next) {
        for (const Node* before = map.first; before != k; before = before->next->next) {
          if (before->text != k->text) continue;
          duplicate(*before, *k);
          break;
        }
      }
      return true;
    }
    std::unordered_map<std::string_view, const Node*> seen;
    seen.reserve(map.size / 2);
    for (const Node* k = map.first; k != nullptr; k = k->next->next) {
      const auto [at, fresh] = seen.emplace(k->text, k);
      if (!fresh) duplicate(*at->second, *k);
    }
    return true;
  }

  // Reading goes on, so that every duplicate is named.
  void duplicate(const Node& first, const Node& second) {
    problems_.error(second.place, "duplicate key " + quote(second.text) + ", which stands at " +
                                      problems_.origin(first.place).to_string() + " already");
  }

  Document& document_;
  Problems& problems_;
  std::vector<Open> stack_;
  std::unordered_map<std::string_view, const Node*> anchors_;
  const Node* root_ = nullptr;
  std::size_t documents_ = 0;
  std::size_t aliases_ = 0;
  std::size_t expanded_ = 0;
  bool has_tabs_ = false;
  bool tab_seen_ = false;
  std::size_t tab_ = 0;
};

struct ParserGuard {
  fy_diag* diag;
  fy_parser* parser;
  ~ParserGuard() {
    if (parser != nullptr) fy_parser_destroy(parser);
    if (diag != nullptr) fy_diag_destroy(diag);
  }
};

void swallow(fy_diag*, void*, const char*, std::size_t) {}

// The first tab in the indentation of a line, at or before `line` and after the last blank one; npos if there is none.
std::size_t tab_before(std::string_view bytes, std::uint32_t line) {
  std::size_t at = 0;
  for (std::uint32_t n = 1; n <= line && at < bytes.size(); ++n) {
    const auto end = std::min(bytes.find('\n', at), bytes.size());
    const auto text = bytes.substr(at, end - at);
    const auto word = text.find_first_not_of(" \t\r");
    if (word != std::string_view::npos && text[word] != '#') {
      const auto tab = text.find('\t');
      if (tab < word) return at + tab;
    }
    at = end + 1;
  }
  return std::string_view::npos;
}

void report(fy_diag* diag, std::string_view bytes, Problems& problems) {
  void* iterator = nullptr;
  const fy_diag_error* found = nullptr;
  while (const fy_diag_error* error = fy_diag_errors_iterate(diag, &iterator)) {
    if (error->type == FYET_ERROR && (found == nullptr || (found->line < 0 && error->line >= 0))) found = error;
  }
  const auto lines = static_cast<std::uint32_t>(std::count(bytes.begin(), bytes.end(), '\n') + 1);
  Place place;
  std::string message = "this is not valid YAML";
  if (found != nullptr) {
    if (found->line > 0) {
      place = {static_cast<std::uint32_t>(found->line), static_cast<std::uint32_t>(std::max(found->column, 1))};
    }
    if (found->msg != nullptr) message += ": " + std::string(found->msg);
  }
  if (place.line == 0) place = place_at(bytes, bytes.size());
  place.line = std::min(place.line, lines);
  if (const auto tab = tab_before(bytes, place.line); tab != std::string_view::npos) {
    problems.error(place_at(bytes, tab), "tabs cannot indent YAML; use spaces");
    return;
  }
  problems.error(place, message);
}

}  // namespace

std::unique_ptr<Document> parse_yaml(std::shared_ptr<const std::string> bytes, Problems& problems) {
  if (!check_bytes(*bytes, problems)) return nullptr;
  if (bytes->find_first_not_of(" \t\r\n") == std::string::npos) {
    problems.error({}, "the file is empty", "a file without routes says 'routes: []'");
    return nullptr;
  }
  auto document = std::make_unique<Document>(bytes);
  const std::size_t before = problems.errors();

  fy_diag_cfg diag_cfg{};
  diag_cfg.output_fn = swallow;
  diag_cfg.level = FYET_ERROR;
  diag_cfg.module_mask = ~0U;
  ParserGuard guard{fy_diag_create(&diag_cfg), nullptr};
  if (guard.diag == nullptr) {
    problems.error({}, "out of memory");
    return nullptr;
  }
  fy_diag_set_collect_errors(guard.diag, true);
  fy_parse_cfg cfg{};
  cfg.search_path = "";
  cfg.flags = static_cast<fy_parse_cfg_flags>(FYPCF_QUIET | FYPCF_COLLECT_DIAG | FYPCF_JSON_NONE);
  cfg.diag = guard.diag;
  guard.parser = fy_parser_create(&cfg);
  if (guard.parser == nullptr || fy_parser_set_string(guard.parser, bytes->data(), bytes->size()) != 0) {
    problems.error({}, "out of memory");
    return nullptr;
  }

  Builder builder(*document, problems);
  for (;;) {
    fy_event* event = fy_parser_parse(guard.parser);
    if (event == nullptr) break;
    const bool end = event->type == FYET_STREAM_END;
    const bool go_on = builder.take(event);
    fy_parser_event_free(guard.parser, event);
    if (!go_on) return nullptr;
    if (end) break;
  }
  if (fy_parser_get_stream_error(guard.parser)) {
    if (problems.errors() == before) report(guard.diag, *bytes, problems);
    return nullptr;
  }
  const Node* root = builder.root();
  if (root == nullptr || root->is_null()) {
    problems.error({}, "the file is empty: it holds comments only", "a file without routes says 'routes: []'");
    return nullptr;
  }
  if (!root->is_map()) {
    problems.error(root->place, "the file must be a map of keys, like 'routes: [...]'");
    return nullptr;
  }
  document->set_root(root);
  return document;
}

}  // namespace edgemux::config
