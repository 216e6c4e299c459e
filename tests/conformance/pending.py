"""What the balancer does not do yet: names of cases that have to fail, so that whoever builds it takes the name out.

A name is a case's, or that of a test function; `test_…[id]` is one of its cases, and `name @ fast` is on that
kind of server only.
"""

PENDING = frozenset(
    {
        # Requests
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
        # Bodies
        "test_an_early_answer_reaches_a_client_that_is_still_sending",
        "test_an_early_answer_over_a_connection_that_stays_open",
        "test_a_backend_may_answer_while_it_is_still_being_told",
        "test_a_client_that_goes_while_it_waits_ends_the_backends_work",
        "test_trailers_of_a_response_reach[who asked]",
        "test_trailers_that_frame_or_route_do_not_reach_the_client",
        "test_trailers_of_a_status_of_a_call",
        # Expectations
        "test_the_backend_is_asked_and_its_word_passed_on",
        "test_a_final_answer_comes_in_place_of_the_word",
        # Upgrades
        "test_a_protocol_that_is_switched_to_is_tunnelled",
        "test_the_handshake_of_websocket_is_the_two_sides_own",
        "test_what_the_client_says_early_is_kept",
        "test_what_the_backend_says_with_its_answer_is_kept",
        "test_a_backend_that_closes_the_tunnel_closes_it_for_the_client",
        "test_a_backend_that_has_said_all_may_go_on_listening",
        "test_a_client_that_is_gone_ends_the_tunnel",
        "test_a_tunnel_that_breaks_breaks",
        "test_a_tunnel_that_nobody_uses_is_closed",
    }
)
