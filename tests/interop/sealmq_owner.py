# SPDX-License-Identifier: GPL-3.0-or-later
"""A second implementation of docs/formats.md 11 and 12, written from the document alone: what is sealed under an identity's own key, and an owner's list
of members."""

import hashlib
import hmac

import cbor2

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


# ---- section 12.1: lists of members

READ, WRITE = 1, 2
VERSION = "sealmq members v1"


def members_make(key, issuer, space, number, epoch, made, members):
    """members: (cn, access, fingerprint, since, until) in any order."""
    rows = sorted(members, key=lambda m: (m[0].encode(), m[3], m[2]))
    body = cbor2.dumps([VERSION, space, number, epoch, made, issuer, [list(m) for m in rows]])
    return cbor2.dumps([body, f.sign_bytes(key, "members", body)])


def members_open(signed, issuer, public_key):
    try:
        outer = cbor2.loads(signed)
        body, signature = outer
        version, space, number, epoch, made, by, rows = row = cbor2.loads(body)
    except Exception as e:
        raise f.Refused("not a list of members") from e
    f.need(cbor2.dumps(outer) == signed and cbor2.dumps(row) == body, "not deterministic")
    f.need(version == VERSION and by == issuer and epoch >= 1, "version, issuer or epoch")
    f.verify_bytes(public_key, "members", body, signature)
    for cn, access, fingerprint, since, until in rows:
        f.need(cn and 1 <= access <= READ | WRITE and len(fingerprint) == 32 and since >= 1 and (until == 0 or until >= since), "a member")
    order = [(m[0].encode(), m[3], m[2]) for m in rows]
    f.need(order == sorted(set(order)), "not in order")
    return {"space": space, "number": number, "epoch": epoch, "made": made, "members": [tuple(m) for m in rows]}
