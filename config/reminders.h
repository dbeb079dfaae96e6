#pragma once
// Reminders: what is no error, but hardly meant. Each adds warnings. Pure.

#include <cstdint>

#include "config/files.h"
#include "config/problems.h"
#include "config/settings.h"
#include "config/spec.h"
#include "core/tls/certificate_store.h"

namespace edgemux::config {

constexpr std::int64_t expiry_days = 14;

// Why a certificate is not valid at `now`, in unix seconds; empty: it is.
std::string out_of_date(const core::CertifiedKey& pair, std::int64_t now);

// A certificate that is not valid, or expires within expiry_days. To be asked each time that anything is told: the
// clock goes on while files stay as they are. False: neither.
bool remind_of_expiry(const core::CertifiedKey& pair, Place place, std::int64_t now, Problems& problems);

// Parts of a route that no listener ever reaches.
void remind_of_unreachable(const RouteSpec& spec, bool on_tls, bool on_http, Problems& problems);

// Rules that redirect a request to where it already is, or there and back.
void remind_of_circles(const RouteSpec& spec, bool on_tls, bool on_http, Problems& problems);

// What `on_http` does not do, or does beyond what is meant.
void remind_of_on_http(const RouteSpec& spec, bool on_tls, bool on_http, Problems& problems);

// Of an upstream that tunnels alone use: what it says for requests.
void remind_of_tunnels_only(const UpstreamSpec& spec, Problems& problems);

// Of an upstream of a tenant: names of tenants are asked for at most once a second.
void remind_of_short_ttls(const UpstreamSpec& spec, Problems& problems);

// Files that a start could not make: it ends there.
void remind_of_unwritable(const Settings& settings, Files& files, Problems& problems);

// A host name that stands for `host` when certificates are looked for: itself, or some name that a wildcard covers.
std::string name_to_serve(const std::string& host);

}  // namespace edgemux::config
