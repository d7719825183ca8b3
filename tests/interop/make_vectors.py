# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes tests/vectors/formats.json with the second implementation: python3 tests/interop/make_vectors.py > tests/vectors/formats.json
The unit tests of crypto/ must make the same bytes, or open them. Keys and nonces are fixed, so a run changes signatures alone."""

import json
import pathlib
import sys

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import sealmq_formats as f  # noqa: E402

VECTORS = pathlib.Path(__file__).parent.parent / "vectors"


def run(start, n):
    return bytes((start + i) % 256 for i in range(n))


def keytree():
    root = run(0x40, 32)
    topics = [("", "a"), ("", "/a"), ("", "a/"), ("", "a/b/c"), ("a", "a"), ("a", "a/b"), ("a/b", "a/b"), ("a/b", "a/b//c"), ("", "/"),
              ("plant", "plant/Gerät/€"), ("", "/".join("x" * 200))]
    grants = [("", "#", "a/b"), ("", "/#", "/a"), ("", "a/b", "a/b"), ("a", "a/#", "a"), ("a", "a/b/#", "a/b/c"), ("a/b", "a/b/#", "a/b/c/d"),
              ("a", "a", "a")]
    return {"root": root.hex(),
            "topics": [{"space": s, "topic": t, "key": f.topic_key(root, s, t).hex()} for s, t in topics],
            "grants": [{"space": s, "filter": g, "key": f.grant_key(root, s, g).hex(), "topic": t,
                        "topic_key": f.topic_key_of_grant(f.grant_key(root, s, g), g, t).hex()} for s, g, t in grants]}


def records():
    out = []
    for i, (topic, aad, plain) in enumerate([(b"a/b", b"", b""), (b"a/b", b"head", b"hello"), ("Gerät".encode(), run(0, 40), run(0, 1000))]):
        root, boot = run(i, 32), run(0x80 + i, 8)
        out.append({"root": root.hex(), "topic": topic.hex(), "aad": aad.hex(), "plain": plain.hex(), "counter": i * 7, "boot": boot.hex(),
                    "sealed": f.record_seal(root, boot, i * 7, topic, aad, plain).hex()})
    return out


def master():
    key, label = run(0x11, 32), f.master_label(2, 7, run(1, 8), b"plant/line1")
    return {"key": key.hex(), "id": f.master_id(key).hex(), "check": f.master_check(key).hex(), "text": f.master_text(key).decode(),
            "space": "plant/line1", "epoch": 7, "kid": run(1, 8).hex(), "purpose": 2, "root": run(0x90, 32).hex(),
            "wrapped": f.master_wrap(key, run(0x55, 12), label, run(0x90, 32)).hex()}


def sealed():
    root, out = run(0x40, 32), []
    for name in (None, "ec", "rsa"):
        cert = x509.load_pem_x509_certificate((VECTORS / ((name or "ec") + ".crt")).read_bytes())
        key = load_pem_private_key((VECTORS / ((name or "ec") + ".key")).read_bytes(), None)
        import hashlib
        sender = hashlib.sha256(cert.public_bytes(Encoding.DER)).digest()[:16]
        for space, topic, plain, publisher, time_ms, seq in (("", "a/b", b"hello", None, 1795173342000, 1),
                                                            ("a", "a/b/\u20ac", b"", "device-17", 0, 0), ("", "t", run(0, 300), None, 23, 2**64 - 1)):
            if name and publisher:
                publisher = None
            topic_key = f.topic_key(root, space, topic)
            kid, stream = run(0xA0, 8), run(0xB0, 8)
            message = f.seal(topic_key, topic, kid, stream, seq, time_ms, sender, plain, publisher, bool(name))
            entry = {"space": space, "topic": topic, "root": root.hex(), "topic_key": topic_key.hex(), "kid": kid.hex(), "stream": stream.hex(),
                     "seq": str(seq), "time_ms": time_ms, "sender": sender.hex(), "plain": plain.hex(), "publisher": publisher, "signer": name,
                     "cek": f.content_key(topic_key, topic, kid, stream, sender).hex(), "encrypt0": message.hex()}
            entry["message"] = f.sign(key, topic, message).hex() if name else entry["encrypt0"]
            out.append(entry)
    return out


print(json.dumps({"keytree": keytree(), "records": records(), "master": master(), "sealed": sealed()}, indent=1, ensure_ascii=True))
