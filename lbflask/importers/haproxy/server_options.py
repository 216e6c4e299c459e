"""Options of HAProxy's `server` lines: those that are settings, and what to do about the others."""

from __future__ import annotations

from collections.abc import Mapping

#: Those without a value.
FLAGS = frozenset(
    {"check", "backup", "disabled", "enabled", "ssl", "no-check", "check-send-proxy", "check-ssl", "tfo", "agent-check"}
    | {"send-proxy", "send-proxy-v2", "send-proxy-v2-ssl", "send-proxy-v2-ssl-cn", "no-backup", "no-tfo", "stick"}
)
SETTINGS = frozenset(
    {"weight", "maxconn", "slowstart", "inter", "fastinter", "rise", "fall", "port", "cookie", "verify", "sni"}
    | {"ca-file", "crt", "verifyhost", "observe", "error-limit", "on-marked-down", "pool-max-conn", "maxqueue"}
)
UNNEEDED: Mapping[str, str] = {
    "resolvers": "names of backends are resolved again every five seconds; discovery.nameservers",
    "init-addr": "a name that is not resolved yet is no error",
    "resolve-prefer": "all addresses of a name are tried",
    "on-marked-up": "backends that are up serve",
    "on-error": "failures eject: [ejection]",
    "alpn": "backends are always addressed by HTTP/1.1",
    "check-sni": "checks connect as requests do",
    "downinter": "health.fast_interval is for changes, health.interval for all else",
    "id": "backends have names",
    "ssl-min-ver": "TLS 1.2 or newer",
    "ssl-max-ver": "TLS 1.2 or newer",
    "pool-purge-delay": "backend_keepalive",
    "agent-port": "belongs to agent-check",
    "agent-inter": "belongs to agent-check",
    "agent-addr": "belongs to agent-check",
    "agent-send": "belongs to agent-check",
}
LOST: Mapping[str, str] = {
    "track": "each pool checks its backends: [pools.NAME.health]",
    "agent-check": "[health] asks for a status; weights change by lbflask weight",
    "source": "connections are from the address that the system chooses",
    "minconn": "max_connections of a backend is fixed",
    "addr": "checks ask the backend itself, at health.port",
    "crl-file": "backend_tls has no list of revoked certificates: short-lived ones",
    "proto": "backends are addressed by HTTP/1.1",
    "redir": "redirect of a route",
}
