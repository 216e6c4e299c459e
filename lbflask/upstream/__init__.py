"""Talking to backends: the `requests` Session and its transport adapter, the connections, the probes."""
