"""What is on the wire: conversations on raw sockets, each with the rule that it holds us to.

The balancer is a gunicorn of its own process, started once a session for each kind of worker and parser; the backend
is scripted and plays what the test sets. A rule is a section of an RFC, or a trap: G… are gunicorn's, R… those of
HTTP clients in Python.
"""

import pytest

pytest.register_assert_rewrite("tests.conformance.cases")
