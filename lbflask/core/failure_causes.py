"""Causes: why a backend or the store cannot be used, as far as a remedy depends on it.

A reason is a text for people; advice is looked up by its cause. The process that meets the failure records both.
"""

from __future__ import annotations

import errno
from enum import StrEnum


class FailureCause(StrEnum):
    """Why a peer cannot be used. The value is part of records in the store and of the admin API."""

    UNKNOWN = ""  #: not recorded, or by a later version

    NAME = "name"  #: its name does not exist, or has no address
    NAME_SERVER = "name_server"  #: no name server answers
    REFUSED = "refused"  #: nothing listens at the port
    NO_ROUTE = "no_route"  #: no route leads there, or a firewall rejects the packets
    TIMED_OUT = "timed_out"  #: no connection in time
    NO_SOCKET = "no_socket"  #: the path of the unix socket does not exist
    FORBIDDEN = "forbidden"  #: the system does not permit the connection
    ADMIN_LISTENER = "admin_listener"  #: the peer is the balancer's own admin listener
    CLOSED = "closed"  #: it closed or reset the connection
    NO_ANSWER = "no_answer"  #: connected, but no answer in time

    CERTIFICATE_EXPIRED = "certificate_expired"
    CERTIFICATE_EARLY = "certificate_early"  #: not valid yet
    CERTIFICATE_AUTHORITY = "certificate_authority"  #: its issuer is not trusted
    CERTIFICATE_NAME = "certificate_name"  #: it is for other names
    CERTIFICATE = "certificate"  #: not accepted for another reason
    TLS = "tls"  #: no handshake
    TLS_FILES = "tls_files"  #: the balancer's own files for TLS cannot be loaded

    PROTOCOL = "protocol"  #: the answer is not HTTP
    STATUS = "status"  #: another status than expected
    BODY = "body"  #: another body than expected, or a part of one

    SHORTAGE = "shortage"  #: this process lacks a resource, such as descriptors

    READ_ONLY = "read_only"  #: the store is a replica
    FULL = "full"  #: the store has reached its memory limit
    DISK = "disk"  #: the store cannot save to its disk, and refuses writes
    LOGIN = "login"  #: the store does not accept the user or the password
    PERMISSION = "permission"  #: the store's user may not do what lbflask does
    LOADING = "loading"  #: the store is starting, and reads its data
    BUSY = "busy"  #: the store runs a long script
    CLUSTER = "cluster"  #: a part of the cluster, or its primary, is down
    REPLICAS = "replicas"  #: too few replicas follow the store
    CLIENTS = "clients"  #: the store has as many clients as it may have


#: By errno, of sockets.
_BY_NUMBER = {
    errno.ECONNREFUSED: FailureCause.REFUSED,
    errno.EHOSTUNREACH: FailureCause.NO_ROUTE,
    errno.ENETUNREACH: FailureCause.NO_ROUTE,
    errno.EHOSTDOWN: FailureCause.NO_ROUTE,
    errno.ETIMEDOUT: FailureCause.TIMED_OUT,
    errno.ENOENT: FailureCause.NO_SOCKET,
    errno.EACCES: FailureCause.FORBIDDEN,
    errno.EPERM: FailureCause.FORBIDDEN,
    errno.ECONNRESET: FailureCause.CLOSED,
    errno.ECONNABORTED: FailureCause.CLOSED,
    errno.EPIPE: FailureCause.CLOSED,
    errno.EMFILE: FailureCause.SHORTAGE,
    errno.ENFILE: FailureCause.SHORTAGE,
}

#: By the number of OpenSSL for the result of a verification (x509_vfy.h).
_BY_VERIFICATION = {
    9: FailureCause.CERTIFICATE_EARLY,
    10: FailureCause.CERTIFICATE_EXPIRED,
    2: FailureCause.CERTIFICATE_AUTHORITY,
    18: FailureCause.CERTIFICATE_AUTHORITY,
    19: FailureCause.CERTIFICATE_AUTHORITY,
    20: FailureCause.CERTIFICATE_AUTHORITY,
    21: FailureCause.CERTIFICATE_AUTHORITY,
    62: FailureCause.CERTIFICATE_NAME,
    64: FailureCause.CERTIFICATE_NAME,
}

#: By the code of a refusal of Redis, or the name that redis-py has for it.
_BY_REFUSAL = {
    "READONLY": FailureCause.READ_ONLY,
    "ReadOnlyError": FailureCause.READ_ONLY,
    "OOM": FailureCause.FULL,
    "OutOfMemoryError": FailureCause.FULL,
    "MISCONF": FailureCause.DISK,
    "NOAUTH": FailureCause.LOGIN,
    "WRONGPASS": FailureCause.LOGIN,
    "AuthenticationError": FailureCause.LOGIN,
    "NOPERM": FailureCause.PERMISSION,
    "NoPermissionError": FailureCause.PERMISSION,
    "LOADING": FailureCause.LOADING,
    "BusyLoadingError": FailureCause.LOADING,
    "BUSY": FailureCause.BUSY,
    "CLUSTERDOWN": FailureCause.CLUSTER,
    "MASTERDOWN": FailureCause.CLUSTER,
    "ClusterDownError": FailureCause.CLUSTER,
    "MasterDownError": FailureCause.CLUSTER,
    "SlotNotCoveredError": FailureCause.CLUSTER,
    "RedisClusterException": FailureCause.CLUSTER,
    "NOREPLICAS": FailureCause.REPLICAS,
}


def of_number(number: int | None) -> FailureCause:
    """The cause of an error of a socket with this errno."""
    return _BY_NUMBER.get(number or 0, FailureCause.UNKNOWN)


def of_verification(code: int) -> FailureCause:
    """The cause of a certificate that OpenSSL does not accept with this code."""
    return _BY_VERIFICATION.get(code, FailureCause.CERTIFICATE)


def of_refusal(code: str) -> FailureCause:
    """The cause of a refusal of the store with this code."""
    return _BY_REFUSAL.get(code, FailureCause.UNKNOWN)


def recorded(value: object) -> FailureCause:
    """The cause with this value in a record; UNKNOWN for those of a later version."""
    try:
        return FailureCause(str(value))
    except ValueError:
        return FailureCause.UNKNOWN
