# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes tests/vectors/owner.json with the second implementation: python3 tests/interop/make_owner_vectors.py > tests/vectors/owner.json"""

import json
import pathlib
import sys

from cryptography.hazmat.primitives.serialization import load_pem_private_key

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


print(json.dumps({"own": own()}, indent=1))
