"""What the balancer does not do yet: names of cases that have to fail, so that whoever builds it takes the name out.

A name is a case's, or that of a test function; `test_…[id]` is one of its cases, and `name @ fast` is that on one kind
of server only.
"""

PENDING = frozenset(
    {
        # Bodies
        "test_trailers_of_a_response_reach[at once-who asked]",
        "test_trailers_that_belong_into_a_head_do_not_reach_the_client",
        "test_trailers_of_a_status_of_a_call",
    }
)
