# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes tests/vectors/owner.json with the second implementation: python3 tests/interop/make_owner_vectors.py > tests/vectors/owner.json"""

import hashlib
import json
import pathlib
import sys

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import sealmq_owner as o  # noqa: E402

VECTORS = pathlib.Path(__file__).parent.parent / "vectors"


def run(start, n):
    return bytes((start + i) % 256 for i in range(n))


def own():
    out = []
    for name in ("ec", "rsa"):
        secret = o.own_secret(load_pem_private_key((VECTORS / f"{name}.key").read_bytes(), None))
        for purpose, plain in ((b"owner/a", b""), (b"outbox/1", b"hello"), (run(0, 40), run(7, 300))):
            out.append({"key": name, "id": o.own_id(secret).hex(), "purpose": purpose.hex(), "plain": plain.hex(),
                        "sealed": o.own_seal(secret, purpose, run(0x33, 32), plain).hex()})
    return out


def members():
    out = []
    rows = [("zoe", 3, run(1, 32), 1, 0), ("ann", 1, run(2, 32), 1, 3), ("ann", 3, run(3, 32), 4, 0), ("Ger\u00e4t", 2, run(4, 32), 2, 0), ("ann", 1, run(9, 32), 1, 3)]
    for name in ("ec", "rsa"):
        cert = x509.load_pem_x509_certificate((VECTORS / f"{name}.crt").read_bytes())
        issuer = hashlib.sha256(cert.public_bytes(Encoding.DER)).digest()
        key = load_pem_private_key((VECTORS / f"{name}.key").read_bytes(), None)
        for given in ([], rows[:1], rows):
            signed = o.members_make(key, issuer, "plant/line1", 7, 4, 1795173342, given)
            out.append({"signer": name, "space": "plant/line1", "number": 7, "epoch": 4, "made": 1795173342, "signed": signed.hex(),
                        "members": [{"cn": cn, "access": a, "fingerprint": p.hex(), "since": s, "until": u} for cn, a, p, s, u in given]})
    return out


print(json.dumps({"own": own(), "members": members()}, indent=1))
