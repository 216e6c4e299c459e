"""Events of requests and their sinks: access log, metrics, hooks, spans; and the error log."""
