"""What the balancer does not do yet: names of cases that have to fail, so that whoever builds it takes the name out.

A name is a case's, or that of a test function; `test_…[id]` is one of its cases, and `name @ fast` is that on one kind
of server only.
"""

PENDING: frozenset[str] = frozenset()
