# SPDX-License-Identifier: GPL-3.0-or-later
"""A second implementation of docs/formats.md 11, written from the document alone: what is sealed under an identity's own key."""

import hashlib
import hmac

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

import sealmq_formats as f

OWN_MAGIC = b"sealmq-own v1\n"


def own_secret(key):
    numbers = key.private_numbers()
    if isinstance(key, rsa.RSAPrivateKey):
        primes = sorted((numbers.p, numbers.q), reverse=True)
        material = b"".join(n.to_bytes((n.bit_length() + 7) // 8, "big") for n in primes)
    else:
        material = numbers.private_value.to_bytes(32, "big")
    return hmac.new(b"sealmq v1 own", material, hashlib.sha256).digest()


def own_id(secret):
    return f.hkdf_expand(secret, b"sealmq v1 own id\0")[:8]


def own_seal(secret, purpose, salt, plain):
    key = f.hkdf_expand(secret, b"sealmq v1 own key\0" + salt + purpose)
    head = OWN_MAGIC + own_id(secret) + salt
    return head + AESGCM(key).encrypt(bytes(12), plain, head)


def own_open(secret, purpose, sealed):
    head = sealed[:54]
    f.need(len(sealed) >= 70 and head[:14] == OWN_MAGIC, "not sealed by sealmq for its own use")
    f.need(head[14:22] == own_id(secret), "sealed by another identity")
    return f.aead_open(f.hkdf_expand(secret, b"sealmq v1 own key\0" + head[22:] + purpose), bytes(12), sealed[54:], head)
