#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Opens one unsigned or signed sealed message without libsealmq: sealed.py KEYS.JSON TOPIC <MESSAGE

KEYS.JSON is an envelope's content, a JWK Set (README.md says how to get it). Shown is how the key is found and the text decrypted; what else a
receiver has to check (strict encoding, signature, sender's certificate, replay) is in docs/formats.md 4.3, and done in tests/interop.
Needs python3-cryptography and python3-cbor2."""

import base64
import hashlib
import hmac
import json
import sys

import cbor2
from cryptography.hazmat.primitives.ciphers.aead import AESGCM


def expand(key, info):
    return hmac.new(key, info + b"\x01", hashlib.sha256).digest()


def unbase64(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def topic_key(jwk, topic):
    """From the grant's key down to the topic's."""
    key, filter_ = unbase64(jwk["k"]), jwk["sealmq"]["filter"]
    if not filter_.endswith("#"):
        return key
    above = filter_[:-2].split("/") if len(filter_) > 1 else []
    for level in topic.split("/")[len(above):]:
        key = expand(key, b"sealmq v1 node\0" + level.encode())
    return expand(key, b"sealmq v1 topic\0")


def open_message(jwks, topic, message):
    message = cbor2.loads(message)
    signed = message.tag == 18
    if signed:
        message = cbor2.loads(message.value[2])  # the payload of the signature
    protected, _, ciphertext = message.value
    head = cbor2.loads(protected)
    kid, iv, (stream, time_ms, sender) = head[4], head[6], head[-70001]
    jwk = next(k for k in jwks["keys"] if unbase64(k["kid"]) == kid)
    extracted = hmac.new(stream, topic_key(jwk, topic), hashlib.sha256).digest()
    key = expand(extracted, b"sealmq v1 content\0" + kid + sender + topic.encode())
    aad = cbor2.dumps(["Encrypt0", protected, cbor2.dumps(["sealmq v1", topic.encode(), signed])])
    return AESGCM(key).decrypt(bytes(4) + iv, ciphertext, aad)


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8") as file:
        sys.stdout.buffer.write(open_message(json.load(file), sys.argv[2], sys.stdin.buffer.read()))
