"""What the balancer does not do yet: names of cases that have to fail, so that whoever builds it takes the name out.

A name is a case's, or that of a test function; `name @ fast` is that case on one kind of server only.
"""

PENDING = frozenset(
    {
        # Requests
        "Cookie lines become one",
        "trailers are asked for on the client's behalf",
        "of TE only the trailers are left",
        "Via names the version that was received",
        "Max-Forwards of OPTIONS is counted down",
        "Max-Forwards of TRACE is counted down",
        "one hop is left for the backend",
        "Max-Forwards that is no number",
        "Max-Forwards below nought",
        "OPTIONS that may go no further",
        "TRACE that may go no further",
        "trailers of a request are forwarded",
        "trailers that frame or route are not forwarded",
        # Responses
        "what comes after a response is nobody's",
        "a version that is not spoken here",
        "a head of more than 64 KiB",
        "more than a thousand fields",
        "a reason with NUL",
        "test_early_hints_reach_the_client_each_of_them",
        "test_a_hint_arrives_before_the_final_response_is_there",
    }
)
