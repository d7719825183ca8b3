# SPDX-License-Identifier: GPL-3.0-or-later
"""A client that understands key spaces, in Python: commands, envelopes, sealed messages. It checks what it is given as docs/formats.md says."""
import base64
import hashlib
import json
import os
import sys
import time

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from . import env
from . import packets as p

sys.path.insert(0, str(env.ROOT / "tests/interop"))
import sealmq_formats as formats  # noqa: E402

CONTROL, RESPONSE = "$CONTROL/topics/v1", "$CONTROL/topics/v1/response"


class Failed(Exception):
    """A command's error."""


def fingerprint(cert):
    return hashlib.sha256(cert.public_bytes(serialization.Encoding.DER)).digest()


def load(path):
    return x509.load_pem_x509_certificate(path.read_bytes())


def control(client, **command):
    """One command and its data; Failed with the error's text."""
    if not getattr(client, "hears", False):
        assert client.subscribe((RESPONSE, 1)) == [1]
        client.hears = True
    client.publish(CONTROL, json.dumps({"commands": [{**command, "correlationData": "x"}]}), 1)
    answer = response(client)
    assert answer["command"] == command["command"] and answer["correlationData"] == "x"
    if "error" in answer:
        raise Failed(answer["error"])
    return answer.get("data")


def response(client):
    """The answer among what comes; other messages stay in the inbox."""
    seen = []
    while True:
        m = client.wait_for(p.PUBLISH)
        if m.topic == RESPONSE:
            client.acknowledge(m)
            client.inbox.extendleft(reversed(seen))
            (one,) = json.loads(m.payload)["responses"]
            return one
        seen.append(m)


class Member:
    """A connection with its certificate, keys and stream."""

    def __init__(self, broker, cert, client_id, **connect):
        self.mqtt = broker.client(client_id, cert, **connect)
        self.cert, self.issuer = load(cert.crt), load(broker.pki.server.crt)
        self.key = serialization.load_pem_private_key(cert.key.read_bytes(), None)
        self.fingerprint = fingerprint(self.cert)
        self.stream, self.seq, self.keys, self.epoch = os.urandom(8), 0, {}, 0
        self.newest = None

    def open_envelope(self, der):
        content = json.loads(formats.open_envelope(der, self.issuer, self.cert, self.key))
        keys = {}
        for k in content["keys"]:
            meta = k["sealmq"]
            assert meta["recipient"] == self.fingerprint.hex() and meta["issuer"] == fingerprint(self.issuer).hex()
            kid = base64.urlsafe_b64decode(k["kid"] + "==")
            keys[kid] = (base64.urlsafe_b64decode(k["k"] + "=="), meta)
        self.keys.update(keys)
        self.newest = max(keys, key=lambda kid: keys[kid][1]["epoch"])
        self.epoch = keys[self.newest][1]["epoch"]
        return [keys[kid][1]["epoch"] for kid in keys]

    def ask_keys(self, topic, qos=1, retain=True):
        """Subscribes to the envelopes of a topic; the epochs of the first one. retain None: an epoch may be turned at this moment."""
        assert self.mqtt.subscribe((f"$KEYS/{topic}", qos)) == [qos]
        m = self.mqtt.recv_publish(f"$KEYS/{topic}", retain=retain)
        return self.open_envelope(m.payload)

    def seal(self, topic, plain, kid=None, signed=False, sender=None, stream=None, publisher=None, seq=None, time_ms=None):
        kid = kid or self.newest
        key, meta = self.keys[kid]
        self.seq += 1
        topic_key = formats.topic_key_of_grant(key, meta["filter"], topic)
        sealed = formats.seal(topic_key, topic, kid, stream or self.stream, self.seq if seq is None else seq,
                              int(time.time() * 1000) if time_ms is None else time_ms,
                              sender or self.fingerprint[:16], plain, publisher, signed)
        return formats.sign(self.key, topic, sealed) if signed else sealed

    def publish(self, topic, plain, qos=1, retain=False, **how):
        self.mqtt.publish(f"$SEALED/{topic}", self.seal(topic, plain, **how), qos, retain)

    def open(self, topic, payload):
        """(plain text, parsed message)"""
        part = formats.parse(payload)
        key, meta = self.keys[part["kid"]]
        return formats.open_sealed(part, formats.topic_key_of_grant(key, meta["filter"], topic), topic), part
