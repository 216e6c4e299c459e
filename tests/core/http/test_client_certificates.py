from __future__ import annotations

import pytest

from lbflask.core.http.client_certificates import with_certificates
from lbflask.core.http.types import Fields

OTHERS: Fields = [("Accept", "*/*"), ("X-Client-Cert", "kept")]


@pytest.mark.parametrize(
    ("chain", "added"),
    [
        ([], []),
        ([b"leaf"], [("Client-Cert", ":bGVhZg==:")]),
        ([b"leaf", b"ca", b"root"], [("Client-Cert", ":bGVhZg==:"), ("Client-Cert-Chain", ":Y2E=:, :cm9vdA==:")]),
    ],
)
def test_backends_get_the_certificates_of_the_connection_and_no_others(chain: list[bytes], added: Fields) -> None:
    forged = [("client-cert", ":Zm9yZ2Vk:"), ("CLIENT-CERT-CHAIN", ":Zm9yZ2Vk:")]
    assert with_certificates([*OTHERS, *forged], chain) == [*OTHERS, *added]
