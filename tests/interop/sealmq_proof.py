# SPDX-License-Identifier: GPL-3.0-or-later
"""A second implementation of docs/formats.md 10, written from the document alone: checks a transcript against its receipt."""

import base64
import datetime
import hashlib
import json

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from sealmq_formats import PSS, Refused, need, parse, verify


def b64(text):
    data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    need(base64.urlsafe_b64encode(data).decode().rstrip("=") == text, "not base64url")
    return data


def trust(cert, authority, ms):
    """The certificate was the authority's, and valid at the time."""
    try:
        key = authority.public_key()
        if isinstance(key, rsa.RSAPublicKey):
            key.verify(cert.signature, cert.tbs_certificate_bytes, padding.PKCS1v15(), cert.signature_hash_algorithm)
        else:
            key.verify(cert.signature, cert.tbs_certificate_bytes, ec.ECDSA(cert.signature_hash_algorithm))
    except InvalidSignature:
        raise Refused("unknown authority") from None
    when = datetime.datetime.utcfromtimestamp(ms // 1000)
    need(cert.not_valid_before <= when <= cert.not_valid_after, "not valid at the time")


def read_receipt(text, authority):
    header, payload, signature = text.rstrip("\n").split(".")
    head = json.loads(b64(header))
    need(head["typ"] == "sealmq-receipt" and len(head["x5c"]) == 1, "header")
    der = base64.b64decode(head["x5c"][0], validate=True)
    cert = x509.load_der_x509_certificate(der)
    signed, sig = f"{header}.{payload}".encode(), b64(signature)
    try:
        if head["alg"] == "PS256":
            cert.public_key().verify(sig, signed, PSS, hashes.SHA256())
        else:
            need(head["alg"] == "ES256" and len(sig) == 64, "algorithm")
            r, s = (int.from_bytes(sig[i:i + 32], "big") for i in (0, 32))
            cert.public_key().verify(encode_dss_signature(r, s), signed, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        raise Refused("the receipt's signature") from None
    r = json.loads(b64(payload))
    need(r["receipt"] == "sealmq v1" and r["holder"] == hashlib.sha256(der).hexdigest(), "holder")
    need(1 <= r["first"] <= r["last"] < r["lines"] and r["count"] == r["last"] - r["first"] + 1, "numbers")
    trust(cert, authority, r["made"])
    return r


def check_message(o, certificates, authority):
    sealed = b64(o["sealed"])
    part = parse(sealed)
    signature = part["signature"]
    need(o["sender"][:32] == part["sender"].hex() and o["stream"] == part["stream"].hex(), "sender or stream")
    need(o["seq"] == str(part["seq"]) and o["sent"] == part["time_ms"], "number or time")
    need(o.get("signature") == (base64.urlsafe_b64encode(signature).decode().rstrip("=") if signature else None), "signature as shown")
    need(o["sender"] in certificates, "no certificate before it")
    if signature:
        cert = certificates[o["sender"]]
        verify(part, o["topic"], cert.public_key())
        trust(cert, authority, part["time_ms"] or o["received"])


def check(lines, receipt, authority):
    """The number of signed messages that the receipt covers. lines: bytes, without line feeds."""
    r = read_receipt(receipt, authority)
    need(len(lines) >= r["lines"], "the end is missing")
    certificates, n, signed, prev = {}, 0, 0, None
    for number, line in enumerate(lines, 1):
        o = json.loads(line)
        need(json.dumps(o, ensure_ascii=False, separators=(",", ":")).encode() == line, f"line {number} is not in its form")
        need(("transcript" in o) == (number == 1) and o.get("prev") == prev, f"line {number} does not continue the one before")
        if "transcript" in o:
            need(o["transcript"] == "sealmq v1" and o["holder"] == r["holder"], "head")
        elif "certificate" in o:
            der = b64(o["certificate"])
            certificates[hashlib.sha256(der).hexdigest()] = x509.load_der_x509_certificate(der)
        else:
            n += 1
            need(o["n"] == n, f"line {number} is not message {n}")
            check_message(o, certificates, authority)
            signed += "signature" in o and r["first"] <= n <= r["last"]
        prev = hashlib.sha256(line).hexdigest()
        if number % r["step"] == 0 and number // r["step"] <= len(r["marks"]):
            need(prev == r["marks"][number // r["step"] - 1], f"line {number} is not the receipt's")
        if number == r["lines"]:
            need(prev == r["hash"] and n == r["last"], f"line {number} is not the receipt's")
    return signed
