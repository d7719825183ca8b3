# SPDX-License-Identifier: GPL-3.0-or-later
"""The audit log of docs/formats.md 9, a second implementation: writes one, and verifies one."""
import base64
import hashlib
import json
import re

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils

LABEL = b"sealmq audit v1\0"
PSS = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=32)
SIGNED = re.compile(r'^(.*"prev":"[0-9a-f]{64}"),"sig":"([0-9a-f]+)"\}$')


def compact(members):
    return json.dumps(members, separators=(",", ":"), ensure_ascii=False)


def fingerprint(certificate):
    return certificate.fingerprint(hashes.SHA256()).hex()


class Writer:
    def __init__(self, certificate, key, ts):
        self.certificate, self.key, self.ts = certificate, key, ts
        self.lines, self.prev = [], "0" * 64
        der = certificate.public_bytes(serialization.Encoding.DER)
        self.add(kind="file", format="sealmq audit 1", previous="", certificate=base64.b64encode(der).decode())

    def _put(self, line):
        self.lines.append(line)
        self.prev = hashlib.sha256(line.encode()).hexdigest()

    def _members(self, members):
        return {"seq": len(self.lines) + 1, "ts": self.ts, **members, "prev": self.prev}

    def add(self, **members):
        self._put(compact(self._members(members)))

    def checkpoint(self, why):
        is_rsa = isinstance(self.key, rsa.RSAPrivateKey)
        body = compact(self._members({"kind": "checkpoint", "why": why, "cert": fingerprint(self.certificate),
                                      "alg": "PS256" if is_rsa else "ES256"}))[:-1]
        data = LABEL + body.encode()
        if is_rsa:
            signature = self.key.sign(data, PSS, hashes.SHA256())
        else:
            r, s = utils.decode_dss_signature(self.key.sign(data, ec.ECDSA(hashes.SHA256())))
            signature = r.to_bytes(32, "big") + s.to_bytes(32, "big")
        self._put(f'{body},"sig":"{signature.hex()}"}}')

    def text(self):
        return "".join(line + "\n" for line in self.lines)


def verify(text):
    """Raises what is wrong; returns the number of lines that a signature covers."""
    assert text.endswith("\n")
    seq, prev, certificates, covered = 1, "0" * 64, {}, 0
    for line in text[:-1].split("\n"):
        members = json.loads(line)
        assert list(members)[:3] == ["seq", "ts", "kind"] and members["seq"] == seq and members["prev"] == prev
        assert (seq == 1) == (members["kind"] == "file")
        if "certificate" in members:
            certificate = x509.load_der_x509_certificate(base64.b64decode(members["certificate"], validate=True))
            certificates[fingerprint(certificate)] = certificate.public_key()
        if members["kind"] == "checkpoint":
            body, signature = SIGNED.match(line).groups()
            check(certificates[members["cert"]], members["alg"], LABEL + body.encode(), bytes.fromhex(signature))
            covered = seq
        seq, prev = seq + 1, hashlib.sha256(line.encode()).hexdigest()
    assert members["kind"] == "checkpoint" and members["why"] in ("end", "rotation")
    return covered


def check(key, alg, data, signature):
    if isinstance(key, rsa.RSAPublicKey):
        assert alg == "PS256"
        key.verify(signature, data, PSS, hashes.SHA256())
        return
    if alg != "ES256" or len(signature) != 64:
        raise InvalidSignature
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    key.verify(utils.encode_dss_signature(r, s), data, ec.ECDSA(hashes.SHA256()))
