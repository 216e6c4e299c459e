"""The table of our parsers: what reads bytes of peers, of the store, or of users. Each has a property and corpora."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from pkgutil import resolve_name
from types import MappingProxyType

CORPORA = Path(__file__).with_name("corpora")


@dataclass(frozen=True, slots=True)
class Target:
    """A property by its name, and the parsers whose property it is, by their names. A property of texts has the
    `encoding` of its inputs, and how bytes are read that are no text in it; others take bytes.
    """

    property: str
    parsers: tuple[str, ...]
    encoding: str = ""
    errors: str = "replace"

    def load(self) -> Callable[[str | bytes], None]:
        """The property as a function. Imports it, with the parsers."""
        loaded: Callable[[str | bytes], None] = resolve_name(f"fuzz.properties.{self.property}")
        return loaded

    def check(self, data: bytes) -> None:
        """Raises AssertionError where the property does not hold, and whatever a parser should not raise."""
        self.load()(data.decode(self.encoding, self.errors) if self.encoding else data)

    def modules(self) -> list[str]:
        """The modules of its parsers, without repeats."""
        return list(dict.fromkeys(parser.partition(":")[0] for parser in self.parsers))


def _named(prefix: str, *names: str) -> tuple[str, ...]:
    return tuple(f"lbflask.{prefix}{name}" for name in names)


_HTTP = "core.http."
TARGETS: MappingProxyType[str, Target] = MappingProxyType(
    {
        "request": Target(
            "requests:request",
            _named("server.worker.", "plain_head:plain_head", "request_parser:ParsedRequest"),
        ),
        "target": Target(
            "requests:target",
            _named(_HTTP, "target:request_target", "paths:readings", "paths:plain_path", "paths:without_dots")
            + _named("core.", "routing:RouteTable"),
            "latin-1",
        ),
        "host": Target("requests:host", _named(_HTTP, "target:check_host", "target:host_of"), "latin-1"),
        "file_path": Target("static_files:file_path", _named(_HTTP, "file_paths:file_names"), "latin-1"),
        "file_request": Target(
            "static_files:file_request",
            _named(_HTTP, "file_answers:asked_of", "preconditions:failed_status", "byte_ranges:byte_range")
            + _named(_HTTP, "content_codings:accepted_codings", "http_dates:date_seconds"),
            "latin-1",
        ),
        "compression": Target(
            "compression:compression",
            _named(_HTTP, "compression:CompressionRules", "compression:with_strong_tags"),
            "latin-1",
        ),
        "internal_file": Target(
            "static_files:internal_file",
            _named(_HTTP, "internal_files:named_file", "internal_files:redirect_places")
            + _named(_HTTP, "internal_files:sendfile_places"),
            "latin-1",
        ),
        "response": Target(
            "responses:response",
            _named("", "core.http.response_head:plain_head", "upstream.response_reader:ResponseReader"),
        ),
        "interim": Target("responses:interim", _named(_HTTP, "interim:InterimFilter")),
        "framing": Target(
            "responses:framing",
            _named(_HTTP, "framing:response_framing", "framing:content_length", "field_names:decimal"),
            "latin-1",
        ),
        "probe": Target("responses:probe", _named("upstream.", "health_probe:Prober")),
        "fields": Target(
            "fields:fields",
            _named(_HTTP, "fields:backend_request", "fields:client_response", "field_names:members")
            + _named(_HTTP, "trailers:passable_trailers", "max_forwards:with_one_hop_less")
            + _named(_HTTP, "upgrade:requested_upgrade", "upgrade:accepted_upgrade", "request_origin:origin_of")
            + _named(_HTTP, "proxy_fields:is_disguised_claim"),
            "latin-1",
        ),
        "forwarded": Target(
            "fields:forwarded", _named(_HTTP, "forwarded:forwarded_elements", "forwarded:plain_line"), "latin-1"
        ),
        "address": Target(
            "fields:address",
            _named(_HTTP, "addresses:parsed_address", "addresses:node_address", "addresses:plain_nodes")
            + _named(_HTTP, "trusted_proxies:TrustedProxies", "request_origin:port_of")
            + _named("core.", "rate_limit:of_client"),
            "latin-1",
        ),
        "proxy_header": Target("connections:proxy_header", _named("core.", "proxy_protocol:read_header")),
        "client_hello": Target("connections:client_hello", _named("core.", "client_hello:server_name")),
        "cookie": Target(
            "fields:cookie",
            _named("core.", "http.cookies:take", "sticky_cookie:Affinity"),
            "latin-1",
        ),
        "request_key": Target("fields:request_key", _named(_HTTP, "request_key:RequestKey"), "latin-1"),
        "trace": Target("fields:trace", _named(_HTTP, "trace_context:parsed", "trace_context:begun"), "latin-1"),
        "header_edits": Target(
            "fields:header_edits",
            _named("", "core.http.header_edits:Edits", "core.hook_api:Change", "config.header_edits:HeaderEditsConfig")
            + _named(_HTTP, "value_templates:parsed_value")
            + _named("core.", "braced_names:parts"),
            "utf-8",
        ),
        "secrets": Target(
            "texts:secrets",
            _named(
                "", "core.redaction:masked_target", "core.redaction:masked_url", "telemetry.redaction:masked_message"
            ),
            "latin-1",
        ),
        "log_line": Target("texts:log_line", _named("telemetry.", "log_formats:TEXT", "log_formats:JSON"), "latin-1"),
        "log_format": Target(
            "texts:log_format",
            _named("", "core.log_fields:parsed", "core.braced_names:parts", "telemetry.log_formats:format_of"),
            "utf-8",
        ),
        "expression": Target("texts:expression", _named("core.", "bounded_expression:BoundedExpression"), "latin-1"),
        "linear_expression": Target(
            "texts:linear_expression", _named("core.", "linear_expression:LinearExpression"), "latin-1"
        ),
        "rewrite": Target(
            "texts:rewrite", _named(_HTTP, "rewrites:ExpressionRewrite", "rewrites:unknown_groups"), "latin-1"
        ),
        "routed_request": Target("fields:routed_request", _named("core.", "route_match:RoutedRequest"), "latin-1"),
        "duration": Target("texts:duration", _named("cli.", "duration:Duration"), "utf-8", "surrogateescape"),
        "redirect": Target(
            "texts:redirect",
            _named(_HTTP, "direct_response:Redirect"),
            "latin-1",
        ),
        "distinguished_name": Target(
            "texts:distinguished_name", _named("core.", "distinguished_names:line_of"), "utf-8"
        ),
        "record": Target(
            "records:record",
            _named("store.records:", "parse_active", "parse_ejection", "parse_override", "parse_backends")
            + _named("store.records:", "parse_loads", "parse_report", "parse_source"),
        ),
        "beats": Target(
            "records:beats",
            _named("store.", "roster_records:roster")
            + _named(
                "store.fleet_records:", "parse_drains", "parse_bans", "parse_events", "event_id", "parse_configuration"
            ),
        ),
        "snapshot": Target("records:snapshot", _named("store.", "snapshots:SnapshotReader")),
        "metrics_file": Target("records:metrics_file", _named("telemetry.metrics.", "mmap_values:read")),
        "setting": Target(
            "settings:setting",
            _named("", "config.field_types:ListenAddress", "config.field_types:RedisURL", "config.health:Header")
            + _named("", "config.sticky:CookieName", "config.redaction:without_secrets", "config.paths:absolute_path")
            + _named(_HTTP, "status_classes:statuses_of")
            + _named("", "config.units:byte_count", "config.units:second_count", "store.redis_client:connect"),
            "utf-8",
        ),
        "backend": Target(
            "settings:backend",
            _named("", "config.backends:BackendConfig", "store.records:parse_backends"),
            "utf-8",
            "surrogateescape",
        ),
        "source": Target("settings:source", _named("config.", "discovery:Where", "discovery:server_address"), "utf-8"),
        "ban": Target("settings:ban", _named("core.", "bans:banned_network"), "utf-8"),
        "networks": Target("settings:networks", _named("core.", "access_list:network_list"), "utf-8"),
        "rate": Target("settings:rate", _named("config.", "rate_limits:RateLimitConfig"), "utf-8"),
        "statuses": Target("settings:statuses", _named("core.", "checks:StatusSet"), "utf-8"),
        "tokens": Target(
            "settings:tokens",
            _named("", "core.admin_tokens:AdminToken", "config.admin:read_tokens"),
            "utf-8",
            "surrogateescape",
        ),
        "certificate": Target("settings:certificate", _named("core.", "x509:expiry")),
        "configuration": Target(
            "settings:configuration",
            _named("config.", "load:load", "files:read_text", "toml_location:line_of", "documents:Documents")
            + _named("config.", "variables:expanded", "validation_errors:first_error"),
        ),
        "variable": Target("settings:variable", _named("config.", "load:load"), "utf-8", "surrogateescape"),
        "backends_file": Target("settings:backends_file", _named("config.", "load:read_backends")),
        "route": Target("settings:route", _named("config.", "routes:RouteConfig", "route_match:MatchConfig"), "utf-8"),
        "imported_nginx": Target(
            "imports:imported_nginx",
            _named("importers.", "nginx.reader:read"),
            "utf-8",
        ),
        "authorization": Target(
            "authentication:authorization", _named(_HTTP, "credentials:basic_credentials"), "latin-1"
        ),
        "granted_fields": Target(
            "authentication:granted_fields", _named(_HTTP, "granted_fields:GrantedFields"), "latin-1"
        ),
        "service_address": Target("authentication:service", _named(_HTTP, "service_address:service_address"), "utf-8"),
        "web_token": Target("authentication:token", _named("core.", "web_token:web_token"), "latin-1"),
        "key_set": Target("authentication:keys", _named("credentials.", "key_set:KeySet")),
        "password_file": Target(
            "authentication:password_file", _named("core.", "password_file:password_hashes"), "utf-8"
        ),
        "imported_caddy": Target("imports:imported_caddy", _named("importers.", "caddy.reader:read"), "utf-8"),
        "imported_traefik": Target("imports:imported_traefik", _named("importers.", "traefik.reader:read"), "utf-8"),
        "imported_haproxy": Target("imports:imported_haproxy", _named("importers.", "haproxy.reader:read"), "utf-8"),
        "credentials": Target("admin:credentials", _named("control.", "auth:Authenticator"), "latin-1"),
        "body": Target("admin:body", _named("control.api.", "operation:Operation")),
        "explanation": Target("admin:explanation", _named("control.", "explain:parse_query"), "utf-8"),
        "url": Target("admin:url", _named("cli.", "api_client:ApiClient"), "utf-8", "surrogateescape"),
    }
)

#: The other modules that use a library which reads texts or bytes, by the reason why they are no parsers.
NO_PARSERS: MappingProxyType[str, tuple[str, ...]] = MappingProxyType(
    {
        "it only writes JSON": _named(
            "",
            "cli",
            "cli.context",
            "cli.https_site",
            "cli.inspect",
            "config.render",
            "config.secrets_digest",
            "config.template",
            "importers.document",
            "control.api.openapi",
        )
        + _named("", "proxy.error_response", "telemetry.error_log"),
        "dnspython or the system has parsed its addresses": _named(
            "", "core.discovery", "discovery.dns_resolver", "upstream.resolver"
        ),
        "its addresses are those of settings that are valid": _named(
            "",
            "acme.permission",
            "config.admin_address",
            "config.store_command",
            "server.startup_checks",
            "upstream.requests_adapter",
        )
        + _named("", "wiring.certificate_storage"),
        "what it reads is sealed with the key of the fleet": _named("", "acme.last_good_copy", "acme.records"),
        "its expressions are those of settings that are valid": _named("", "core.reachability"),
        "it writes options of sockets only": _named("", "server.worker.client_connection", "upstream.socket_stream"),
        "processes of one instance write what it reads": _named(
            "", "server.config_handover", "server.worker.connection_balance", "telemetry.debug"
        ),
        "it finds what another parser reads": _named("", "config.certificates"),
        "it compares one line with one pattern": _named(
            "",
            "config.auth",
            "config.compression",
            "config.cors",
            "config.listeners",
            "config.passed_sockets",
            "config.static_files",
            "config.traffic",
            "core.fleet_stats",
            "core.http.challenge_target",
            "core.operator_note",
        ),
        "it decodes the path of a request that was read": _named("", "core.http.uwsgi_packet"),
        "it looks at one byte": _named("", "server.worker.tls_stream"),
        "it matches a message of a library or the beginning of a URL": _named(
            "", "config.acme", "config.tracing", "server.worker.server_log", "wiring.preflight"
        ),
        "it makes names": _named("", "importers.site"),
        "the reader of an import reads with it": _named(
            "importers.",
            "caddy.addresses",
            "caddy.caddyfile",
            "caddy.handlers",
            "caddy.proxies",
            "caddy.values",
            "haproxy.backends",
            "haproxy.binds",
            "haproxy.checks",
            "haproxy.conditions",
            "haproxy.connections",
            "haproxy.lines",
            "haproxy.rules",
            "literals",
            "networks",
            "nginx.actions",
            "nginx.authentication",
            "nginx.routes",
            "nginx.streams",
            "nginx.upstreams",
            "nginx.variables",
            "precedence",
            "traefik.certificates",
            "traefik.connections",
            "traefik.documents",
            "traefik.entry_points",
            "traefik.middlewares",
            "traefik.rules",
            "traefik.services",
        ),
        "it is for demonstrations": _named("", "demo.backend"),
    }
)
