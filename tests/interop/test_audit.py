# SPDX-License-Identifier: GPL-3.0-or-later
"""The second implementation reads what the broker wrote and what it wrote itself."""
import pathlib
import sys

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import sealmq_audit  # noqa: E402

VECTORS = pathlib.Path(__file__).parent.parent / "vectors"
LOGS = {"audit_by_c.log": 7, "audit_es256.log": 8, "audit_ps256.log": 8}


def made(key):
    """What made the vectors; signatures differ from run to run."""
    certificate = x509.load_pem_x509_certificate((VECTORS / f"{key}.crt").read_bytes())
    private = serialization.load_pem_private_key((VECTORS / f"{key}.key").read_bytes(), None)
    w = sealmq_audit.Writer(certificate, private, "2026-12-24T18:00:00.000Z")
    w.add(kind="started", text="sealmqd 1.2.3")
    w.add(kind="connected", cn="gerät-東京", client='quote"back\\slash', **{"from": "[2001:db8::1]:4711"}, cert="ab" * 32, serial="0102")
    w.checkpoint("count")
    w.add(kind="subscribe-denied", cn="gerät-東京", text="denied", filter='a/","prev":"' + "0" * 64 + '"}', repeated=92)
    w.add(kind="a-kind-of-the-future", number=18446744073709551615)
    w.add(kind="stopped")
    w.checkpoint("end")
    return w.text()


@pytest.mark.parametrize("name", LOGS)
def test_vectors_verify(name):
    assert sealmq_audit.verify((VECTORS / name).read_text(encoding="utf-8")) == LOGS[name]


@pytest.mark.parametrize("name", LOGS)
def test_a_changed_vector_does_not(name):
    text = (VECTORS / name).read_text(encoding="utf-8")
    for wrong in (text.replace('"started"', '"startea"'), text.replace("Z", "Y", 1)):
        with pytest.raises(AssertionError):
            sealmq_audit.verify(wrong)
    with pytest.raises((AssertionError, InvalidSignature)):
        sealmq_audit.verify(text[:-10] + ("0" if text[-10] != "0" else "1") + text[-9:])


@pytest.mark.parametrize("key", ["ec", "rsa"])
def test_the_vectors_are_what_it_writes(key):
    def without_signatures(text):
        return [line.split(',"sig"')[0].split(',"prev"')[0] for line in text.splitlines()]
    name = {"ec": "audit_es256.log", "rsa": "audit_ps256.log"}[key]
    assert without_signatures(made(key)) == without_signatures((VECTORS / name).read_text(encoding="utf-8"))
