"""What HAProxy's keywords are that are translated, not needed, or to be replaced by something else."""

from __future__ import annotations

from collections.abc import Mapping

TRANSLATED = frozenset(
    {"bind", "mode", "acl", "use_backend", "default_backend", "http-request", "http-response", "redirect", "server"}
    | {"server-template", "default-server", "balance", "cookie", "http-check", "retries", "retry-on", "monitor-uri"}
    | {"compression", "tcp-request"}
    | {"option httpchk", "timeout connect", "timeout server", "timeout client", "timeout queue", "timeout check"}
    | {"timeout tunnel", "timeout http-request"}
)

UNNEEDED: Mapping[str, str] = {
    "log": "access_log and gunicorn's --error-logfile",
    "option httplog": "access_log_format (docs/logging.md)",
    "option tcplog": "access_log_format (docs/logging.md)",
    "option dontlognull": "connections without a request are not logged",
    "option log-health-checks": "the checker logs changes",
    "option log-separate-errors": "the access log has no levels",
    "option forwardfor": "X-Forwarded-For is always set (docs/forwarding.md)",
    "option redispatch": "retries always go to another backend",
    "option http-server-close": "connections to backends are kept; backend_keepalive bounds them",
    "option http-keep-alive": "is the default",
    "option httpclose": "connections are kept",
    "option forceclose": "connections are kept",
    "option abortonclose": "a queued request whose client leaves is dropped",
    "option tcpka": "tuning of HAProxy",
    "option clitcpka": "tuning of HAProxy",
    "option srvtcpka": "tuning of HAProxy",
    "option http-buffer-request": "buffering.requests, where it is wanted",
    "option contstats": "/metrics counts always",
    "option splice-auto": "tuning of HAProxy",
    "option allbackups": "all backups serve",
    "option tcp-check": "checks connect, unless health.kind is http",
    "option nolinger": "tuning of HAProxy",
    "option tcp-smart-accept": "tuning of HAProxy",
    "option tcp-smart-connect": "tuning of HAProxy",
    "option socket-stats": "/metrics counts always",
    "option prefer-last-server": "connections to backends are always reused",
    "option h1-case-adjust-bogus-client": "names of fields are as they came",
    "timeout http-keep-alive": "lbflask serve --keep-alive",
    "timeout client-fin": "tuning of HAProxy",
    "timeout server-fin": "tuning of HAProxy",
    "timeout tarpit": "nothing is delayed",
    "maxconn": "lbflask serve --worker-connections",
    "fullconn": "tuning of HAProxy",
    "backlog": "gunicorn's --backlog",
    "stats": "the dashboard of the admin listener",
    "http-reuse": "connections to backends are always reused",
    "hash-type": "hashes are always consistent",
    "description": "text for people",
    "stick-table": "the fleet shares its state through the store",
    "load-server-state-from-file": "the store has the state",
    "unique-id-format": "X-Request-ID is always set",
    "unique-id-header": "X-Request-ID is always set",
    "nbproc": "gunicorn's --workers",
    "peers": "the fleet shares its state through the store",
    "resolvers": "names are resolved again; discovery.nameservers has servers",
    "disabled": "not served",
    "enabled": "is the default",
}

LOST: Mapping[str, str] = {
    "errorfile": 'error_pages = { 503 = "down.html" }: the file without its status line and fields',
    "errorfiles": 'error_pages = { 503 = "down.html" }: the file without its status line and fields',
    "errorloc": "error_pages has files",
    "errorloc302": "error_pages has files",
    "log-format": "access_log_format (docs/logging.md)",
    "option dontlog-normal": 'access_log_filter = { status = ["4xx", "5xx"] }',
    "filter": "filters are not here: [tracing], a hook, or the application",
    "stick": '[sticky] with a cookie or a header, or strategy = "consistent_hash"',
    "tcp-response": "responses without HTTP are passed on as they are",
    "tcp-check": "health.kind is tcp, http or https",
    "capture": "access_log_fields has header fields",
    "use-server": "a pool for each server, and a route for each",
    "http-after-response": "response_headers of a route",
    "cache": "a response cache is not here: a CDN or Varnish in front",
    "mailers": "mail is not sent; alerts follow /metrics",
    "program": "another process",
    "http-errors": "error_pages has files",
    "fcgi-app": "FastCGI is not here: an HTTP server before the application",
    "option ssl-hello-chk": "health.kind is tcp, http or https",
    "option mysql-check": "health.kind is tcp, http or https",
    "option pgsql-check": "health.kind is tcp, http or https",
    "option redis-check": "health.kind is tcp, http or https",
}
