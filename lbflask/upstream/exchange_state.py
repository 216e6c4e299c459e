"""The states of a connection to a backend, and what may follow what.

Only a connection whose request was sent completely and whose response was read completely becomes IDLE, and only a new
or an idle one carries a request: the rest of an unfinished request would be read as the next one (RFC 9112 §9.3).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum, auto
from typing import Final


class ExchangeState(IntEnum):
    """The state of a connection: how far its request and its response are."""

    NEW = auto()  #: has carried no request
    SENDING = auto()  #: the request is being sent
    WAITING = auto()  #: the request was sent, the head of the final response is awaited
    CUT_OFF = auto()  #: the request broke off; the backend may have responded before (RFC 9112 §9.5)
    DUPLEX = auto()  #: an early response: its head arrived while the request is being sent
    BODY = auto()  #: the request was sent, the body of the response is read
    LAST_BODY = auto()  #: the request broke off, the body of the response is read
    RESPONDED = auto()  #: the response is complete, the request is still being sent
    IDLE = auto()  #: the exchange is complete; the connection may carry another request
    MUST_CLOSE = auto()  #: the response is complete; the connection may not carry another request
    TUNNEL = auto()  #: the protocol was switched
    CLOSED = auto()


class ExchangeEvent(IntEnum):
    """What changes the state of a connection. Informational responses (RFC 9110 §15.2) change nothing."""

    REQUEST_STARTED = auto()
    REQUEST_SENT = auto()  #: all of it, with its body
    REQUEST_BROKEN_OFF = auto()  #: the rest will never be sent
    RESPONSE_STARTED = auto()  #: the head of the final response is complete, and its body is not
    RESPONSE_ENDED = auto()  #: the response is complete, and the connection persists (RFC 9112 §9.3)
    LAST_RESPONSE_ENDED = auto()  #: the response is complete, and no other may follow
    PROTOCOL_SWITCHED = auto()  #: RFC 9110 §15.2.2
    CLOSED = auto()


_S, _E = ExchangeState, ExchangeEvent
_CLOSED = {_E.CLOSED: _S.CLOSED}
#: The state after each event that is possible in a state.
TRANSITIONS: Final[Mapping[ExchangeState, Mapping[ExchangeEvent, ExchangeState]]] = {
    _S.NEW: _CLOSED | {_E.REQUEST_STARTED: _S.SENDING},
    _S.SENDING: _CLOSED
    | {_E.REQUEST_SENT: _S.WAITING, _E.REQUEST_BROKEN_OFF: _S.CUT_OFF, _E.RESPONSE_STARTED: _S.DUPLEX}
    | {_E.RESPONSE_ENDED: _S.RESPONDED, _E.LAST_RESPONSE_ENDED: _S.MUST_CLOSE},
    _S.WAITING: _CLOSED
    | {_E.RESPONSE_STARTED: _S.BODY, _E.PROTOCOL_SWITCHED: _S.TUNNEL}
    | {_E.RESPONSE_ENDED: _S.IDLE, _E.LAST_RESPONSE_ENDED: _S.MUST_CLOSE},
    _S.CUT_OFF: _CLOSED
    | {_E.RESPONSE_STARTED: _S.LAST_BODY, _E.RESPONSE_ENDED: _S.MUST_CLOSE, _E.LAST_RESPONSE_ENDED: _S.MUST_CLOSE},
    _S.DUPLEX: _CLOSED
    | {_E.REQUEST_SENT: _S.BODY, _E.REQUEST_BROKEN_OFF: _S.LAST_BODY}
    | {_E.RESPONSE_ENDED: _S.RESPONDED, _E.LAST_RESPONSE_ENDED: _S.MUST_CLOSE},
    _S.BODY: _CLOSED | {_E.RESPONSE_ENDED: _S.IDLE, _E.LAST_RESPONSE_ENDED: _S.MUST_CLOSE},
    _S.LAST_BODY: _CLOSED | {_E.RESPONSE_ENDED: _S.MUST_CLOSE, _E.LAST_RESPONSE_ENDED: _S.MUST_CLOSE},
    _S.RESPONDED: _CLOSED | {_E.REQUEST_SENT: _S.IDLE, _E.REQUEST_BROKEN_OFF: _S.MUST_CLOSE},
    _S.IDLE: _CLOSED | {_E.REQUEST_STARTED: _S.SENDING},
    # A sender in the background may report its outcome late.
    _S.MUST_CLOSE: _CLOSED | {_E.REQUEST_SENT: _S.MUST_CLOSE, _E.REQUEST_BROKEN_OFF: _S.MUST_CLOSE},
    _S.TUNNEL: _CLOSED,
    _S.CLOSED: _CLOSED | {_E.REQUEST_SENT: _S.CLOSED, _E.REQUEST_BROKEN_OFF: _S.CLOSED},
}
#: All of the request was sent.
SENT: Final = frozenset({_S.WAITING, _S.BODY, _S.IDLE, _S.TUNNEL})
#: The backend has got all that it will get of the request, and owes the response.
AWAITING: Final = frozenset({_S.WAITING, _S.CUT_OFF})
#: The client still has to deliver a part of the request.
UPLOADING: Final = frozenset({_S.SENDING, _S.DUPLEX, _S.RESPONDED})
#: No exchange is under way, and one may start.
READY: Final = frozenset({_S.NEW, _S.IDLE})
