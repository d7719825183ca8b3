"""A certificate authority for tests. Certificates are put together byte by byte, so that the forbidden ones can be made too."""
import collections
import datetime
import itertools
import os
import subprocess
import threading

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509 import SubjectKeyIdentifier

Cert = collections.namedtuple("Cert", "cn crt key")       # cn: text, or None where the certificate has no usable one

UTF8, PRINTABLE, IA5, TELETEX, BMP = 0x0c, 0x13, 0x16, 0x14, 0x1e


# -- DER

def der(tag, *parts):
    body = b"".join(parts)
    n = len(body)
    if n < 0x80:
        return bytes([tag, n]) + body
    size = n.to_bytes((n.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(size)]) + size + body


def oid(dotted):
    arcs = [int(a) for a in dotted.split(".")]
    body = bytearray([arcs[0] * 40 + arcs[1]])
    for arc in arcs[2:]:
        low = [arc & 0x7f]
        while arc := arc >> 7:
            low.append(arc & 0x7f | 0x80)
        body += bytes(reversed(low))
    return der(0x06, bytes(body))


def integer(n):
    return der(0x02, n.to_bytes(n.bit_length() // 8 + 1, "big"))


def seq(*parts):
    return der(0x30, *parts)


def attribute(text, kind="2.5.4.3", tag=UTF8):
    """One AttributeTypeAndValue; the value's bytes are taken as they are."""
    value = text.encode("utf-16-be") if tag == BMP and isinstance(text, str) else text
    return seq(oid(kind), der(tag, value.encode() if isinstance(value, str) else value))


def name(*rdns):
    """Each RDN is one attribute, or a list of them (a multi-valued RDN)."""
    return seq(*(der(0x31, *sorted([r] if isinstance(r, bytes) else r)) for r in rdns))


def time(t):
    if t.year >= 2050:
        return der(0x18, t.strftime("%Y%m%d%H%M%SZ").encode())
    return der(0x17, t.strftime("%y%m%d%H%M%SZ").encode())


def extension(dotted, value, critical=False):
    return seq(oid(dotted), der(0x01, b"\xff") if critical else b"", der(0x04, value))


SHA256_RSA = seq(oid("1.2.840.113549.1.1.11"), der(0x05))
SHA256_ECDSA = seq(oid("1.2.840.10045.4.3.2"))
CLIENT_AUTH, SERVER_AUTH = "1.3.6.1.5.5.7.3.2", "1.3.6.1.5.5.7.3.1"


def new_key(kind):
    return ec.generate_private_key(ec.SECP256R1()) if kind == "ec" else rsa.generate_private_key(65537, int(kind[3:]))


def spki(key):
    return key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


class Authority:
    """A CA key and its certificate, self-signed or of `parent`; issues what it is told to."""

    _serials = itertools.count(int.from_bytes(os.urandom(6), "big"))

    def __init__(self, directory, cn, kind="ec", parent=None):
        self.dir, self.key, self.name = directory, new_key(kind), name(attribute(cn))
        self.crt = directory / (cn.replace(" ", "-") + ".crt")
        self.crt.write_bytes(pem((parent or self)._certificate(self.name, self.key, [
            extension("2.5.29.19", seq(der(0x01, b"\xff")), critical=True),
            extension("2.5.29.15", der(0x03, b"\x01\x06"), critical=True),
            extension("2.5.29.14", der(0x04, SubjectKeyIdentifier.from_public_key(self.key.public_key()).digest)),
        ])))

    def _certificate(self, subject, key, extensions, days=(-1, 365), version=3):
        now = datetime.datetime.utcnow()
        algorithm = SHA256_RSA if isinstance(self.key, rsa.RSAPrivateKey) else SHA256_ECDSA
        tbs = seq(der(0xa0, integer(version - 1)) if version > 1 else b"", integer(next(self._serials)), algorithm, self.name,
                  seq(*(time(now + datetime.timedelta(days=d)) for d in days)), subject, spki(key),
                  der(0xa3, seq(*extensions)) if extensions else b"")
        return seq(tbs, algorithm, der(0x03, b"\0", self._sign(tbs)))

    def crl(self, file, *certs, days=(-1, 30)):
        """A revocation list of these certificates (or serial numbers), as PEM in `file`."""
        now = datetime.datetime.utcnow()
        algorithm = SHA256_RSA if isinstance(self.key, rsa.RSAPrivateKey) else SHA256_ECDSA
        serials = [c if isinstance(c, int) else x509.load_pem_x509_certificate(c.crt.read_bytes()).serial_number for c in certs]
        entries = [seq(integer(serial), time(now)) for serial in serials]
        tbs = seq(integer(1), algorithm, self.name, *(time(now + datetime.timedelta(days=d)) for d in days), *([seq(*entries)] if entries else []))
        file.write_bytes(pem(seq(tbs, algorithm, der(0x03, b"\0", self._sign(tbs))), "X509 CRL"))
        return file

    def _sign(self, tbs):
        if isinstance(self.key, rsa.RSAPrivateKey):
            return self.key.sign(tbs, padding.PKCS1v15(), hashes.SHA256())
        return self.key.sign(tbs, ec.ECDSA(hashes.SHA256()))

    def issue(self, file, subject, cn=None, kind="ec", eku=(CLIENT_AUTH,), days=(-1, 365), version=3, san=(), key=None):
        """subject: DER of the name, or the CN as text. eku: () writes none."""
        if isinstance(subject, str):
            cn, subject = subject, name(attribute(subject))
        key = key or new_key(kind)
        extensions = []
        if version == 3:
            extensions = [extension("2.5.29.19", seq(), critical=True), extension("2.5.29.15", der(0x03, b"\x07\x80"), critical=True)]
            if eku:
                extensions.append(extension("2.5.29.37", seq(*(oid(e) for e in eku))))
            if san:
                extensions.append(extension("2.5.29.17", seq(*san)))
        crt_path, key_path = self.dir / f"{file}.crt", self.dir / f"{file}.key"
        crt_path.write_bytes(pem(self._certificate(subject, key, extensions, days, version)))
        key_path.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                               serialization.NoEncryption()))
        key_path.chmod(0o600)
        return Cert(cn, crt_path, key_path)


def pem(data, label="CERTIFICATE"):
    import base64
    text = base64.encodebytes(data).replace(b"\n", b"")
    lines = [text[i:i + 64] for i in range(0, len(text), 64)]
    return b"-----BEGIN %s-----\n%s\n-----END %s-----\n" % (label.encode(), b"\n".join(lines), label.encode())


class Pki:
    """Everything that the tests present. Good certificates: `device(n)`, `rsa`, `v1`; `bad` maps each kind to (cert, reason)."""

    def __init__(self, directory):
        self.dir = directory
        self.authority = ca = Authority(directory, "Test CA", "rsa2048")
        self.other_authority = other = Authority(directory, "Other CA")
        self.ca = ca.crt
        dns = [der(0x82, b"localhost"), der(0x87, bytes([127, 0, 0, 1])), der(0x87, bytes(15) + b"\x01")]
        self.server = ca.issue("server", "localhost", eku=(SERVER_AUTH,), san=dns)
        self.rsa = ca.issue("rsa", "rsa-device", kind="rsa2048")
        self.no_eku = ca.issue("no-eku", "no-eku-device", eku=())
        self.v1 = self._by_hand("client2")
        self.utf8 = ca.issue("utf8", "gerät-東京")
        self.spaces = ca.issue("spaces", "pump 7 (north)")
        self.printable = ca.issue("printable", name(attribute("printable-device", tag=PRINTABLE)), cn="printable-device")
        self.ia5 = ca.issue("ia5", name(attribute("ia5@device", tag=IA5)), cn="ia5@device")
        self.more_names = ca.issue("more-names", name(attribute("Example", "2.5.4.10"), attribute("named-device"),
                                                      attribute("Unit", "2.5.4.11")), cn="named-device")
        self.long_cn = ca.issue("long", "d" * 64)
        intermediate = Authority(directory, "Intermediate CA", parent=ca)
        self.chained = intermediate.issue("chained", "chained-device")
        self.chained.crt.write_bytes(self.chained.crt.read_bytes() + intermediate.crt.read_bytes())
        self.leaf_alone = intermediate.issue("leaf-alone", "leaf-alone")
        self._devices, self._lock = {}, threading.Lock()

        def bad_cn(file, value, **options):
            return ca.issue(file, name(attribute(value, **options)))
        # A CN of ill-formed UTF-8 is not here: OpenSSL does not load it. tests/unit/crypto has it.
        self.bad = {
            "expired": (ca.issue("expired", "expired", days=(-30, -1)), "expired"),
            "expired_v1": (ca.issue("expired-v1", "expired-v1", days=(-30, -1), version=1), "expired"),
            "not_yet_valid": (ca.issue("early", "early", days=(5, 30)), "not yet valid"),
            "other_ca": (other.issue("other", "device1"), "unknown ca"),
            "other_ca_v1": (other.issue("other-v1", "device1", version=1), "unknown ca"),
            "same_named_ca": (self._impostor().issue("impostor", "device1"), "unknown ca"),
            "server_eku": (ca.issue("server-eku", "server-eku", eku=(SERVER_AUTH,)), "eku"),
            "cn_plus": (bad_cn("plus", "a+b"), "cn"),
            "cn_hash": (bad_cn("hash", "a#"), "cn"),
            "cn_slash": (bad_cn("slash", "a/b"), "cn"),
            "cn_nul": (bad_cn("nul", b"admin\0.evil"), "cn"),
            "cn_nul_last": (bad_cn("nul-last", b"admin\0"), "cn"),
            "cn_control": (bad_cn("control", "a\x01b"), "cn"),
            "cn_newline": (bad_cn("newline", "a\nb"), "cn"),
            "cn_del": (bad_cn("del", "a\x7fb"), "cn"),
            "cn_c1_control": (bad_cn("c1", "a\u0085b"), "cn"),
            "cn_bmp": (bad_cn("bmp", "device1", tag=BMP), "cn"),
            "cn_teletex": (bad_cn("teletex", "device1", tag=TELETEX), "cn"),
            "cn_empty": (bad_cn("empty", b""), "cn"),
            "cn_none": (ca.issue("none", name(attribute("Example", "2.5.4.10"))), "cn"),
            "cn_two": (ca.issue("two", name(attribute("device1"), attribute("admin"))), "cn"),
            "cn_two_in_one_rdn": (ca.issue("two-rdn", name([attribute("device1"), attribute("admin")])), "unreadable"),
            "no_subject": (ca.issue("no-subject", name()), "cn"),
        }

    def device(self, n=1):
        """The nth ordinary client, CN device<n>, P-256."""
        with self._lock:
            if n not in self._devices:
                self._devices[n] = self.authority.issue(f"device{n}", f"device{n}")
            return self._devices[n]

    def member(self, n=1):
        """The nth client that can receive envelopes, CN member<n>, RSA-2048."""
        with self._lock:
            if ("member", n) not in self._devices:
                self._devices["member", n] = self.authority.issue(f"member{n}", f"member{n}", kind="rsa2048")
            return self._devices["member", n]

    def _impostor(self):
        """A CA with the name of ours and another key."""
        (self.dir / "impostor").mkdir()
        return Authority(self.dir / "impostor", "Test CA", "rsa2048")

    def _by_hand(self, cn):
        """An RSA certificate without extensions, X.509 v1, made by the three commands that people use."""
        ca_key = self.dir / "ca.key"
        ca_key.write_bytes(self.authority.key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                                            serialization.NoEncryption()))
        for command in (f"openssl genrsa -out {cn}.key 2048",
                        f"openssl req -new -key {cn}.key -out {cn}.csr -subj /CN={cn}",
                        f"openssl x509 -req -in {cn}.csr -CA {self.ca.name} -CAkey ca.key -CAcreateserial -out {cn}.crt -days 365 -sha256"):
            subprocess.run(command.split(), cwd=self.dir, check=True, capture_output=True)
        return Cert(cn, self.dir / f"{cn}.crt", self.dir / f"{cn}.key")
