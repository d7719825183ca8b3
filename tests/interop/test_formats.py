# SPDX-License-Identifier: GPL-3.0-or-later
"""The second implementation opens what crypto/ makes. The other direction is in tests/unit/crypto, with the same vectors."""

import functools
import json
import pathlib
import sys

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import sealmq_formats as f  # noqa: E402

VECTORS = pathlib.Path(__file__).parent.parent / "vectors"
BY_C = json.loads((VECTORS / "by_c.json").read_text())
BY_PYTHON = json.loads((VECTORS / "formats.json").read_text())


@functools.lru_cache
def cert(name):
    return x509.load_pem_x509_certificate((VECTORS / f"{name}.crt").read_bytes())


@functools.lru_cache
def key(name):
    return load_pem_private_key((VECTORS / f"{name}.key").read_bytes(), None)


def open_message(v, topic, message):
    part = f.parse(message)
    f.verify(part, topic, cert(v["signer"]).public_key())
    return f.open_sealed(part, f.topic_key(bytes.fromhex(v["root"]), "", topic), topic)


@pytest.mark.parametrize("v", BY_C["messages"])
def test_messages_by_c_open(v):
    assert open_message(v, v["topic"], bytes.fromhex(v["message"])) == v["plain"].encode()


@pytest.mark.parametrize("v", BY_C["messages"])
def test_messages_by_c_open_only_whole_and_for_their_topic(v):
    message = bytes.fromhex(v["message"])
    with pytest.raises(f.Refused):
        open_message(v, "x", message)
    with pytest.raises(f.Refused):
        open_message(v, v["topic"], message + b"\0")
    for i in range(len(message)):
        with pytest.raises(f.Refused):
            open_message(v, v["topic"], message[:i])
        with pytest.raises(f.Refused):
            open_message(v, v["topic"], message[:i] + bytes([message[i] ^ 1]) + message[i + 1:])


def test_a_stripped_signature_does_not_open():
    v = BY_C["messages"][0]
    inner = f.parse(f.parse(bytes.fromhex(v["message"]))["encrypt0"])
    with pytest.raises(f.Refused):
        f.open_sealed(inner, f.topic_key(bytes.fromhex(v["root"]), "", v["topic"]), v["topic"])


@pytest.mark.parametrize("v", BY_C["envelopes"])
def test_envelopes_by_c_open(v):
    content = f.open_envelope(bytes.fromhex(v["envelope"]), cert(v["issuer"]), cert("rsa"), key("rsa"))
    assert content == bytes.fromhex(v["content"])
    (jwk,) = json.loads(content)["keys"]
    assert jwk["kty"] == "oct" and jwk["sealmq"]["filter"] == "plant/#" and jwk["sealmq"]["epoch"] == 3


@pytest.mark.parametrize("v", BY_C["envelopes"])
def test_envelopes_by_c_open_only_whole(v):
    data = bytes.fromhex(v["envelope"])
    with pytest.raises(f.Refused):
        f.open_envelope(data, cert("ca"), cert("rsa"), key("rsa"))
    for i in range(0, len(data), 7):
        with pytest.raises(f.Refused):
            f.open_envelope(data[:i], cert(v["issuer"]), cert("rsa"), key("rsa"))
        with pytest.raises(f.Refused):
            f.open_envelope(data[:i] + bytes([data[i] ^ 1]) + data[i + 1:], cert(v["issuer"]), cert("rsa"), key("rsa"))


def test_the_committed_vectors_are_what_this_code_makes():
    root = bytes.fromhex(BY_PYTHON["keytree"]["root"])
    for v in BY_PYTHON["keytree"]["topics"]:
        assert f.topic_key(root, v["space"], v["topic"]).hex() == v["key"]
    for v in BY_PYTHON["records"]:
        root, boot, topic, aad, plain, sealed = (bytes.fromhex(v[k]) for k in ("root", "boot", "topic", "aad", "plain", "sealed"))
        assert f.record_seal(root, boot, v["counter"], topic, aad, plain) == sealed
        assert f.record_open(root, topic, aad, sealed) == plain
    for v in BY_PYTHON["sealed"]:
        part = f.parse(bytes.fromhex(v["message"]))
        assert f.open_sealed(part, bytes.fromhex(v["topic_key"]), v["topic"]).hex() == v["plain"]
