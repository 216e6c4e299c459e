"""The data plane: WSGI in, a plan, attempts, a reply out. Data passes each file once."""
