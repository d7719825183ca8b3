# SPDX-License-Identifier: GPL-3.0-or-later
"""libsealmq.so, through its public functions alone, against the second implementation and the openssl command line, in both directions."""

import base64
import ctypes
import hashlib
import json
import os
import pathlib
import subprocess
import sys
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import sealmq_formats as f  # noqa: E402

ROOT = pathlib.Path(__file__).parents[2]
VECTORS = ROOT / "tests" / "vectors"
OK, NEED_CERT, REFUSED = 0, 8, 9
TOPIC = "plant/line1/temperature"


class Options(ctypes.Structure):
    _fields_ = [(name, ctypes.c_char_p) for name in ("certfile", "keyfile", "cafile", "crlfile")] + [("windows_max", ctypes.c_size_t), ("no_clock", ctypes.c_int)]


class Message(ctypes.Structure):
    _fields_ = [("verdict", ctypes.c_int), ("sender", ctypes.c_char_p), ("fingerprint", ctypes.c_uint8 * 32), ("by_broker", ctypes.c_int),
                ("is_signed", ctypes.c_int), ("epoch", ctypes.c_uint32), ("kid", ctypes.c_uint8 * 8), ("stream", ctypes.c_uint8 * 8),
                ("seq", ctypes.c_uint64), ("time_ms", ctypes.c_uint64), ("len", ctypes.c_size_t)]


def cert(name):
    return x509.load_pem_x509_certificate((VECTORS / f"{name}.crt").read_bytes())


def key(name):
    return load_pem_private_key((VECTORS / f"{name}.key").read_bytes(), None)


def fingerprint(name):
    return hashlib.sha256(cert(name).public_bytes(Encoding.DER)).digest()


class Member:
    def __init__(self, name):
        self.lib = ctypes.CDLL(str(pathlib.Path(os.environ.get("BUILD_DIR", ROOT / "build" / "release")) / "libsealmq.so"))
        for function in ("sealmq_reason", "sealmq_wanted", "sealmq_version"):
            getattr(self.lib, function).restype = ctypes.c_char_p
        paths = [str(VECTORS / file).encode() for file in (f"{name}.crt", f"{name}.key", "ca.crt")]
        self.handle, why = ctypes.c_void_p(), ctypes.create_string_buffer(256)
        options = Options(paths[0], paths[1], paths[2], None, 0, 0)
        assert self.lib.sealmq_open_member(ctypes.byref(self.handle), ctypes.byref(options), why, ctypes.c_size_t(256)) == OK, why.value

    def take_keys(self, data):
        return self.lib.sealmq_take_keys(self.handle, TOPIC.encode(), data, ctypes.c_size_t(len(data)))

    def take_cert(self, name):
        data = cert(name).public_bytes(Encoding.DER)
        return self.lib.sealmq_take_cert(self.handle, data, ctypes.c_size_t(len(data)))

    def seal(self, plain, flags=0):
        out, n = ctypes.create_string_buffer(4096), ctypes.c_size_t()
        assert self.lib.sealmq_seal(self.handle, TOPIC.encode(), plain, ctypes.c_size_t(len(plain)), flags, out, ctypes.c_size_t(4096), ctypes.byref(n)) == OK
        return out.raw[:n.value]

    def open(self, message, flags=0):
        out, about = ctypes.create_string_buffer(4096), Message()
        status = self.lib.sealmq_open(self.handle, TOPIC.encode(), message, ctypes.c_size_t(len(message)), flags, out, ctypes.c_size_t(4096), ctypes.byref(about))
        return status, out.raw[:about.len], about

    def sign(self, purpose, data):
        out, n = ctypes.create_string_buffer(512), ctypes.c_size_t()
        assert self.lib.sealmq_sign(self.handle, purpose.encode(), data, ctypes.c_size_t(len(data)), out, ctypes.byref(n)) == OK
        return out.raw[:n.value]

    def verify(self, purpose, data, signer, signature):
        return self.lib.sealmq_verify(self.handle, purpose.encode(), data, ctypes.c_size_t(len(data)), signer, signature, ctypes.c_size_t(len(signature)))

    def close(self):
        self.lib.sealmq_close(self.handle)


@pytest.fixture
def member():
    one = Member("rsa")
    yield one
    one.close()


KID, NODE = b"kid-0001", bytes(range(32))


def envelope_by_openssl(folder):
    """What docs/formats.md 3.2 says, with stock tools: issuer ec, recipient rsa."""
    def text(data):
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
    about = {"filter": "plant/#", "space": "plant", "epoch": 1, "mode": "broker", "sign": "optional", "issuer": fingerprint("ec").hex(),
             "recipient": fingerprint("rsa").hex(), "issued": int(time.time()), "not_after": 0}
    (folder / "keys.json").write_text(json.dumps({"keys": [{"kty": "oct", "key_ops": ["deriveKey"], "kid": text(KID), "k": text(NODE), "sealmq": about}]}))
    encrypt = (f"openssl cms -encrypt -in keys.json -binary -outform DER -aes-256-gcm -keyid -recip {VECTORS}/rsa.crt -keyopt rsa_padding_mode:oaep "
               "-keyopt rsa_oaep_md:sha256 -keyopt rsa_mgf1_md:sha256 -out inner.der")
    sign = f"openssl cms -sign -nodetach -binary -outform DER -in inner.der -signer {VECTORS}/ec.crt -inkey {VECTORS}/ec.key -out key.cms"
    for command in (encrypt, sign):
        subprocess.run(command.split(), cwd=folder, check=True, capture_output=True)
    return (folder / "key.cms").read_bytes()


def topic_key():
    return f.topic_key_of_grant(NODE, "plant/#", TOPIC)


def test_an_envelope_by_openssl_opens_and_the_twin_opens_what_is_sealed_under_it(member, tmp_path):
    assert member.take_keys(envelope_by_openssl(tmp_path)) == OK, member.lib.sealmq_reason(member.handle)
    for flags in (0, 1):
        part = f.parse(member.seal(b"hello", flags))
        assert (part["kid"], part["sender"], part["signature"] is not None) == (KID, fingerprint("rsa")[:16], bool(flags))
        if flags:
            f.verify(part, TOPIC, cert("rsa").public_key())
        assert f.open_sealed(part, topic_key(), TOPIC) == b"hello"


@pytest.mark.parametrize("signed", [False, True])
def test_what_the_twin_seals_opens(member, tmp_path, signed):
    assert member.take_keys(envelope_by_openssl(tmp_path)) == OK
    now = int(time.time() * 1000)
    message = f.seal(topic_key(), TOPIC, KID, b"stream-1", 5, now, fingerprint("ec")[:16], b"from python", None, signed)
    if signed:
        message = f.sign(key("ec"), TOPIC, message)
    if member.take_cert("ec") != OK:
        pytest.fail(member.lib.sealmq_reason(member.handle).decode())
    status, plain, about = member.open(message)
    assert (status, plain, about.verdict, about.seq, about.time_ms, bool(about.is_signed)) == (OK, b"from python", 0, 5, now, signed)
    assert member.open(message)[2].verdict == 3  # duplicate
    assert member.open(message[:-1] + bytes([message[-1] ^ 1]), 1)[0] == REFUSED


def test_signatures_of_other_bytes_both_ways(member):
    signature = member.sign("receipt", b"data")
    f.verify_bytes(cert("rsa").public_key(), "receipt", b"data", signature)
    with pytest.raises(f.Refused):
        f.verify_bytes(cert("rsa").public_key(), "other", b"data", signature)
    by_python = f.sign_bytes(key("ec"), "receipt", b"data")
    assert member.verify("receipt", b"data", fingerprint("ec"), by_python) == NEED_CERT
    assert member.take_cert("ec") == OK
    assert member.verify("receipt", b"data", fingerprint("ec"), by_python) == OK
    assert member.verify("receipt", b"date", fingerprint("ec"), by_python) == REFUSED


def test_only_its_own_names_are_exported():
    build = pathlib.Path(os.environ.get("BUILD_DIR", ROOT / "build" / "release"))
    for arguments in (["-D", "--defined-only", build / "libsealmq.so"], ["-g", "--defined-only", build / "libsealmq.a"]):
        names = [line.split()[2] for line in subprocess.run(["nm", *arguments], check=True, capture_output=True, text=True).stdout.splitlines() if len(line.split()) == 3]
        assert names and all(name.startswith("sealmq_") for name in names if not name.startswith("SEALMQ_")), names


def key_open(folder, *arguments, member="rsa"):
    build = pathlib.Path(os.environ.get("BUILD_DIR", ROOT / "build" / "release"))
    environ = {"SEALMQ_CAFILE": f"{VECTORS}/ca.crt", "SEALMQ_CERT": f"{VECTORS}/{member}.crt", "SEALMQ_KEY": f"{VECTORS}/{member}.key", "HOME": str(folder)}
    return subprocess.run([build / "sealmq", "key", "open", *arguments], cwd=folder, env=environ, capture_output=True, text=True, check=False)


def test_sealmq_key_open(tmp_path):
    data = envelope_by_openssl(tmp_path)
    shown = key_open(tmp_path, "key.cms")
    assert shown.returncode == 0 and shown.stdout == (f"issuer 'ec'\nepoch 1  key id {KID.hex()}  filter plant/#  space 'plant'  mode broker  "
                                                      "signatures optional  for good\n"), shown.stderr
    assert f"  key {NODE.hex()}\n" in key_open(tmp_path, "key.cms", "--show-keys").stdout
    assert json.loads(key_open(tmp_path, "key.cms", "--show-keys", "--json").stdout)["keys"][0]["sealmq"]["filter"] == "plant/#"
    other = key_open(tmp_path, "key.cms", member="ec")
    assert other.returncode == 3 and other.stderr.startswith("sealmq: key.cms: refused: ")
    (tmp_path / "bad.cms").write_bytes(data[:-1])
    assert key_open(tmp_path, "bad.cms").returncode == 3
    assert "none.cms: cannot read" in key_open(tmp_path, "none.cms").stderr
