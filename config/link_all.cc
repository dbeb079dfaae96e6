// Compiler::State, the linking of everything: the platform's unit always, tenants' units unless they stand as they
// were.
#include <algorithm>

#include "config/compiler_state.h"
#include "config/reminders.h"

namespace edgemux::config {

routing::Listened Compiler::State::listened_now(const Settings& settings) {
  auto machine = options_.machine_addresses ? options_.machine_addresses() : machine_addresses();
  machine_told_ = machine_told_ || machine.has_value();
  machine_problem_ = machine ? "" : machine.error().message;
  auto now = listened(settings, machine ? std::move(*machine) : listened_.machine);
  now.machine_known = machine_told_;
  return now;
}

void Compiler::State::warn_of_machine(Problems& problems) const {
  if (machine_problem_.empty()) return;
  problems.warning(
      {}, "the addresses of this machine cannot be told: " + machine_problem_,
      (machine_told_
           ? std::string("those known before count")
           : std::string("tenants' endpoints are refused at every port that is listened on at all addresses")) +
          "; under systemd, RestrictAddressFamilies must allow AF_NETLINK");
}

void Compiler::State::look_at_own(const Settings& settings) {
  const auto before = std::exchange(listened_, listened_now(settings));
  const auto& now = listened_;
  own_->set_machine(now);
  if (!serving_) own_->set_listeners(now);
  if (before == now || last_ == nullptr) return;
  const auto matters = [&](const routing::Upstream& upstream) {
    return std::any_of(upstream.endpoints.begin(), upstream.endpoints.end(), [&](const auto& endpoint) {
      return endpoint.address && before.hold(*endpoint.address) != now.hold(*endpoint.address);
    });
  };
  for (const auto& upstream : last_->upstreams) {
    if (upstream->tenant != nullptr && matters(*upstream)) concerned_.insert(upstream->tenant->name);
  }
  // What is wrong with files that are not in force may be another matter, too.
  for (const auto& [tenant, unit] : units_) {
    if (!tenant.empty() && unit.tells()) concerned_.insert(tenant);
  }
}

std::shared_ptr<routing::Snapshot> Compiler::State::link(const Settings& settings, Parsing& parsing, Inputs& inputs,
                                                         Problems& problems) {
  auto snapshot = std::make_shared<routing::Snapshot>();
  if (!settings.tenants.empty()) {
    look_at_own(settings);
    warn_of_machine(problems);
  }
  tenancy_ = Tenancy(settings, general_.listing.folders, own_, tenants_, problems);
  snapshot->certificates = pairs_.load(settings, general_.listing.folders, inputs, problems);
  snapshot->pair_places = pairs_.places();
  const auto remind_of_missing = [&](const Name& directory) {
    if (directory.text.empty() || files_->exists(directory.text)) return;
    problems.warning(directory.place, "the directory " + directory.text + " does not exist");
  };
  const bool any_http = !settings.sound.listeners ||
                        std::any_of(settings.listeners.begin(), settings.listeners.end(),
                                    [](const auto& listener) { return listener.protocol == routing::Protocol::http; });
  const auto remind_of_tokens = [&](const Name& directory) {
    remind_of_missing(directory);
    if (any_http || directory.text.empty()) return;
    problems.warning(directory.place, "'tokens_dir' has no effect: there is no http listener",
                     "add one on port 80, where certificate authorities ask for the tokens");
  };
  remind_of_tokens(settings.tokens_dir);
  remind_of_unwritable(settings, *files_, problems);
  for (const auto& tenant : settings.tenants) remind_of_tokens(tenant.tokens_dir);
  const auto last = std::exchange(last_, nullptr);
  const auto before = std::exchange(linked_, {});
  Since since{last.get(), *snapshot->certificates};
  const auto now = ground(settings);
  since.claims = now.claims.hex() != ground_.claims.hex();
  since.places = now.places.hex() != ground_.places.hex();
  since.tls = now.tls.hex() != ground_.tls.hex();
  since.pairs = last == nullptr || last->certificates->pairs() != snapshot->certificates->pairs() ||
                now.pairs.hex() != ground_.pairs.hex();
  if (last != nullptr) {
    for (const auto& tenant : last->tenants) since.tenants.emplace(tenant->name, tenant);
  }
  since.listeners = last == nullptr || now.listeners != ground_.listeners;
  since.same_listeners = same_listeners(ground_, now);
  since.firm = last != nullptr && same_kinds(ground_, now);
  ground_ = now;
  if (!link_units(settings, parsing, since, problems)) return nullptr;
  const Assembly assembly(settings, tenancy_, linked_);
  if (since.firm && !since.listeners) {
    assembly.build_from(*last, changed_since(before), *snapshot);
  } else {
    assembly.build(*snapshot);
  }
  const bool knows_hosts =
      std::any_of(settings.listeners.begin(), settings.listeners.end(),
                  [](const routing::ListenerSpec& spec) { return spec.protocol != routing::Protocol::tcp; });
  if (knows_hosts && main().current->spec.routes.empty() && snapshot->host_count == 0) {
    problems.warning({}, "there are no routes: every host is unknown");
  }
  fill(settings, *snapshot);
  return snapshot;
}

// What was linked for the tenant is what linking it anew would come to.
bool Compiler::State::stands(const std::string& tenant, const Unit& unit, const Since& since) const {
  if (!since.firm || !unit.stands() || !same(material_.at(tenant)) || concerned_.count(tenant) != 0) return false;
  // Problems name places, claims and tenants, and who has errors may have no hosts for now.
  if (unit.tells() && (since.claims || since.places || since.pairs || since.tls || since.listeners)) return false;
  if ((unit.linked()->named_listeners & ~since.same_listeners) != 0) return false;
  if (since.tls && unit.linked()->has_tls) return false;
  const auto before = since.tenants.find(tenant);
  if (before == since.tenants.end() || before->second != tenancy_.find(tenant)) return false;
  const auto& hosts = unit.linked()->hosts;
  if (since.claims && std::any_of(hosts.begin(), hosts.end(), [&](const auto& host) {
        return tenancy_.claims().owner(host.name) != before->second.get();
      })) {
    return false;
  }
  // Of a host without a certificate there is a problem to tell, so that these have one.
  return !since.pairs || std::all_of(hosts.begin(), hosts.end(), [&](const auto& host) {
    const auto serves = [&](const core::CertificateStore& store) {
      return static_cast<bool>(store.find(name_to_serve(std::string(host.name)), tenant));
    };
    return serves(since.certificates) || !serves(*since.last->certificates);
  });
}

// Links the platform's unit, and those of tenants that do not stand.
bool Compiler::State::link_units(const Settings& settings, Parsing& parsing, Since& since, Problems& problems) {
  const auto link = [&](const std::string& tenant, Unit& unit, const Linked* platform, Problems& to) {
    parsing.need(unit.files);
    const bool ok = unit.link(context(settings, since.certificates, platform), to);
    material_[tenant] = see_all(unit.material().paths());
    return ok;
  };
  Unit& platform = unit_of("");
  const bool was_apart = platform.linked() != nullptr && platform.linked()->apart;
  const bool main_ok = link("", platform, nullptr, problems);
  linked_.emplace("", platform.linked());
  since.firm = since.firm && was_apart && main_ok && platform.linked()->apart;
  // What the platform's unit said of the defaults of `tls:` need not be said again.
  Problems said(main().display, main().current->bytes);
  // Where the main file is broken, the tenants' files still say what is wrong with them.
  const LinkedPtr nothing = std::make_shared<const Linked>();
  const Linked* beside = main_ok ? platform.linked().get() : nothing.get();
  for (auto& [tenant, unit] : units_) {
    if (tenant.empty()) continue;
    if (!stands(tenant, unit, since)) link(tenant, unit, beside, said);
    linked_.emplace(tenant, unit.linked());
  }
  std::erase_if(material_, [this](const auto& entry) { return units_.count(entry.first) == 0; });
  return main_ok;
}

Assembly::Units Compiler::State::changed_since(const Assembly::Units& before) const {
  Assembly::Units changed;
  for (const auto& [tenant, unit] : linked_) {
    const auto old = before.find(tenant);
    if (old == before.end()) changed.emplace(tenant, nullptr);
    if (old != before.end() && old->second != unit) changed.insert(*old);
  }
  for (const auto& old : before) {
    if (linked_.count(old.first) == 0) changed.insert(old);
  }
  return changed;
}

// Which listeners stand where they stood.
std::uint64_t Compiler::State::same_listeners(const Ground& before, const Ground& now) {
  const auto end =
      std::mismatch(before.listeners.begin(), before.listeners.end(), now.listeners.begin(), now.listeners.end()).first;
  const auto same = static_cast<unsigned>(end - before.listeners.begin());
  return same == max_listeners ? UINT64_MAX : (1ULL << same) - 1;
}

// Hosts are told that they are nowhere to be asked for, so that the first and the last listener of a kind concern all.
bool Compiler::State::same_kinds(const Ground& before, const Ground& now) {
  const auto any = [](const Ground& ground, routing::Protocol protocol) {
    return std::any_of(ground.listeners.begin(), ground.listeners.end(),
                       [&](const auto& listener) { return listener.second == protocol; });
  };
  return any(before, routing::Protocol::tls) == any(now, routing::Protocol::tls) &&
         any(before, routing::Protocol::http) == any(now, routing::Protocol::http);
}

Compiler::State::Ground Compiler::State::ground(const Settings& settings) const {
  Ground out;
  const auto say = [](Digest& to, const std::vector<std::string>& all) {
    for (const auto& one : all) to.add(one);
    to.add("end");
  };
  for (const auto& listener : settings.listeners) out.listeners.emplace_back(listener.name, listener.protocol);
  const TlsSpec& tls = settings.tls;
  say(out.tls, {"tls", tls.min_version ? std::to_string(static_cast<int>(*tls.min_version)) : ""});
  const std::vector<std::string> unsaid{"-"};
  for (const auto* list : {&tls.ciphers, &tls.curves}) say(out.tls, *list ? texts_of(**list) : unsaid);
  say(out.tls, tls.alpn.value_or(unsaid));
  const auto say_pairs = [&](const std::string& owner, const std::vector<CertificateEntry>& entries) {
    for (const auto& entry : entries) say(out.pairs, {owner, entry.cert, entry.key, entry.directory});
  };
  say_pairs("", settings.certificates);
  for (const auto& tenant : settings.tenants) say_pairs(tenant.name.text, tenant.certificates);
  for (const auto& claim : tenancy_.claims().claims()) {
    say(out.claims, {claim.host, claim.tenant->name});
    out.places.add(claim.origin.to_string());
  }
  for (const auto& place : tenancy_.places()) out.places.add(place.to_string());
  return out;
}

}  // namespace edgemux::config
