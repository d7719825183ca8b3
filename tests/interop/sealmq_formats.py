# SPDX-License-Identifier: GPL-3.0-or-later
"""A second implementation of docs/formats.md, written from the document alone: key tree, stored records, master key, sealed
messages, envelopes. Needs python3-cryptography and python3-cbor2. It is meant to be read; nothing here is fast."""

import hashlib
import hmac

import cbor2
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.ciphers.aead import AESGCM


class Refused(Exception):
    """What a receiver must not accept, with the reason."""


def need(condition, why):
    if not condition:
        raise Refused(why)


# ---- section 1: HKDF-SHA256

def hkdf_expand(key, info):
    return hmac.new(key, info + b"\x01", hashlib.sha256).digest()


def hkdf(salt, secret, info):
    return hkdf_expand(hmac.new(salt, secret, hashlib.sha256).digest(), info)


# ---- section 2: key tree

def levels(space_or_topic):
    return space_or_topic.split("/") if space_or_topic else []


def descend(node, names):
    for name in names:
        node = hkdf_expand(node, b"sealmq v1 node\0" + name.encode())
    return node


def topic_of_node(node):
    return hkdf_expand(node, b"sealmq v1 topic\0")


def is_topic(topic):
    return bool(topic) and topic[0] != "$" and not set("+#\0") & set(topic) and topic.count("/") < 200


def base_of(filter_):
    """The levels at which a filter starts, and whether it covers what is below."""
    if filter_ == "#":
        return [], True
    if filter_.endswith("/#"):
        base = filter_[:-2].split("/")
        need(base == [""] or is_topic(filter_[:-2]), "not a grantable filter")
        return base, True
    need(is_topic(filter_), "not a grantable filter")
    return filter_.split("/"), False


def topic_key(root, space, topic):
    need(is_topic(topic), "not a topic")
    s, t = levels(space), topic.split("/")
    need(t[:len(s)] == s, "the space does not cover the topic")
    return topic_of_node(descend(root, t[len(s):]))


def grant_key(root, space, filter_):
    (base, subtree), s = base_of(filter_), levels(space)
    need(base[:len(s)] == s, "the filter reaches out of the space")
    node = descend(root, base[len(s):])
    return node if subtree else topic_of_node(node)


def topic_key_of_grant(key, filter_, topic):
    (base, subtree), t = base_of(filter_), topic.split("/")
    need(is_topic(topic) and (t[:len(base)] == base if subtree else t == base), "the grant does not open the topic")
    return topic_of_node(descend(key, t[len(base):])) if subtree else key


# ---- section 5: at rest

def record_seal(root, boot, counter, topic, aad, plain):
    key = hkdf_expand(root, b"sealmq v1 store\0" + boot + topic)
    count = counter.to_bytes(8, "big")
    return boot + count + AESGCM(key).encrypt(bytes(4) + count, plain, aad)


def record_open(root, topic, aad, sealed):
    need(len(sealed) >= 32, "too short")
    key = hkdf_expand(root, b"sealmq v1 store\0" + sealed[:8] + topic)
    return aead_open(key, bytes(4) + sealed[8:16], sealed[16:], aad)


def aead_open(key, nonce, sealed, aad):
    try:
        return AESGCM(key).decrypt(nonce, sealed, aad)
    except InvalidTag:
        raise Refused("not authentic") from None


def master_id(key):
    return hkdf_expand(key, b"sealmq v1 master id\0")[:8]


def master_check(key):
    return hkdf_expand(key, b"sealmq v1 master check\0")[:16]


def master_text(key):
    return b"sealmq-master-key v1\n" + key.hex().encode() + b"\n"


def master_label(purpose, epoch, kid, space):
    return bytes([purpose]) + epoch.to_bytes(4, "big") + kid + len(space).to_bytes(2, "big") + space


def master_wrap(key, nonce, label, root):
    return nonce + AESGCM(hkdf_expand(key, b"sealmq v1 master wrap\0")).encrypt(nonce, root, label)


def master_unwrap(key, label, wrapped):
    need(len(wrapped) == 60, "wrong length")
    return aead_open(hkdf_expand(key, b"sealmq v1 master wrap\0"), wrapped[:12], wrapped[12:], label)


# ---- section 4: sealed messages

A256GCM, ES256, PS256 = 3, -7, -37
ALG, KID, PARTIAL_IV, SENDER, PUBLISHER = 1, 4, 6, -70001, -70002


def external_aad(topic, signed):
    return cbor2.dumps(["sealmq v1", topic.encode(), signed])


def content_key(topic_key_, topic, kid, stream, sender):
    return hkdf(stream, topic_key_, b"sealmq v1 content\0" + kid + sender + topic.encode())


def seal(topic_key_, topic, kid, stream, seq, time_ms, sender, plain, publisher=None, signed=False):
    protected = {ALG: A256GCM, KID: kid, PARTIAL_IV: seq.to_bytes(8, "big"), SENDER: [stream, time_ms, sender]}
    if publisher is not None:
        protected[PUBLISHER] = publisher
    protected = cbor2.dumps(protected)  # the keys above are in deterministic order already
    aad = cbor2.dumps(["Encrypt0", protected, external_aad(topic, signed)])
    key = content_key(topic_key_, topic, kid, stream, sender)
    return cbor2.dumps(cbor2.CBORTag(16, [protected, {}, AESGCM(key).encrypt(bytes(4) + seq.to_bytes(8, "big"), plain, aad)]))


def to_be_signed(topic, protected, payload):
    return cbor2.dumps(["Signature1", protected, external_aad(topic, True), payload])


PSS = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=32)


def sign(key, topic, encrypt0):
    protected = cbor2.dumps({ALG: PS256 if isinstance(key, rsa.RSAPrivateKey) else ES256})
    tbs = to_be_signed(topic, protected, encrypt0)
    if isinstance(key, rsa.RSAPrivateKey):
        signature = key.sign(tbs, PSS, hashes.SHA256())
    else:
        r, s = decode_dss_signature(key.sign(tbs, ec.ECDSA(hashes.SHA256())))
        signature = r.to_bytes(32, "big") + s.to_bytes(32, "big")
    return cbor2.dumps(cbor2.CBORTag(18, [protected, {}, encrypt0, signature]))


def parse_exact(data, tag, items):
    try:
        value = cbor2.loads(data)
    except Exception as e:
        raise Refused("not CBOR") from e
    need(isinstance(value, cbor2.CBORTag) and value.tag == tag, "wrong tag")
    need(isinstance(value.value, list) and len(value.value) == items, "wrong number of items")
    need(cbor2.dumps(value) == data, "not deterministic, or trailing bytes")
    need(isinstance(value.value[1], dict) and not value.value[1], "unprotected header is not empty")
    need(all(isinstance(x, bytes) for i, x in enumerate(value.value) if i != 1), "an item is not a byte string")
    return value.value


def parse_map(data):
    try:
        value = cbor2.loads(data)
    except Exception as e:
        raise Refused("protected header is not CBOR") from e
    need(isinstance(value, dict) and cbor2.dumps(value, canonical=True) == data == cbor2.dumps(value), "protected header is not deterministic")
    return value


def parse(message):
    """The parts of a sealed message: a dictionary; signature is None for an unsigned one."""
    out = {"signature": None}
    need(message, "empty")
    if message[0] == 0xd2:
        out["sign_protected"], _, inner, out["signature"] = parse_exact(message, 18, 4)
        head = parse_map(out["sign_protected"])
        need(list(head) == [ALG] and head[ALG] in (ES256, PS256), "signature header")
        out["alg"] = head[ALG]
        message = inner
    out["encrypt0"] = message
    out["protected"], _, out["ciphertext"] = parse_exact(message, 16, 3)
    head = parse_map(out["protected"])
    need(list(head) in ([ALG, KID, PARTIAL_IV, SENDER], [ALG, KID, PARTIAL_IV, SENDER, PUBLISHER]), "header labels")
    need(head[ALG] == A256GCM, "algorithm")
    need(isinstance(head[KID], bytes) and len(head[KID]) == 8, "kid")
    need(isinstance(head[PARTIAL_IV], bytes) and len(head[PARTIAL_IV]) == 8, "partial IV")
    need(isinstance(head[SENDER], list) and len(head[SENDER]) == 3, "sender")
    stream, time_ms, sender = head[SENDER]
    need(isinstance(stream, bytes) and len(stream) == 8 and isinstance(sender, bytes) and len(sender) == 16, "sender")
    need(type(time_ms) is int and 0 <= time_ms < 1 << 63, "time")
    need(len(out["ciphertext"]) >= 16, "ciphertext too short")
    out.update(kid=head[KID], seq=int.from_bytes(head[PARTIAL_IV], "big"), stream=stream, time_ms=time_ms, sender=sender,
               publisher=head.get(PUBLISHER))
    need(out["publisher"] is None or (isinstance(out["publisher"], str) and 1 <= len(out["publisher"].encode()) <= 256), "publisher")
    return out


def verify(part, topic, public_key):
    tbs = to_be_signed(topic, part["sign_protected"], part["encrypt0"])
    try:
        if isinstance(public_key, rsa.RSAPublicKey):
            need(part["alg"] == PS256, "algorithm does not fit the key")
            public_key.verify(part["signature"], tbs, PSS, hashes.SHA256())
        else:
            need(part["alg"] == ES256 and len(part["signature"]) == 64, "algorithm does not fit the key")
            r, s = (int.from_bytes(part["signature"][i:i + 32], "big") for i in (0, 32))
            public_key.verify(encode_dss_signature(r, s), tbs, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        raise Refused("signature") from None


def open_sealed(part, topic_key_, topic):
    key = content_key(topic_key_, topic, part["kid"], part["stream"], part["sender"])
    aad = cbor2.dumps(["Encrypt0", part["protected"], external_aad(topic, part["signature"] is not None)])
    return aead_open(key, bytes(4) + part["seq"].to_bytes(8, "big"), part["ciphertext"], aad)


# ---- section 4.5: signatures of other bytes

def sign_bytes(key, purpose, data):
    tbs = b"sealmq v1 sign\0" + purpose.encode() + b"\0" + data
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(tbs, PSS, hashes.SHA256())
    r, s = decode_dss_signature(key.sign(tbs, ec.ECDSA(hashes.SHA256())))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def verify_bytes(public_key, purpose, data, signature):
    tbs = b"sealmq v1 sign\0" + purpose.encode() + b"\0" + data
    try:
        if isinstance(public_key, rsa.RSAPublicKey):
            public_key.verify(signature, tbs, PSS, hashes.SHA256())
        else:
            need(len(signature) == 64, "length")
            r, s = (int.from_bytes(signature[i:i + 32], "big") for i in (0, 32))
            public_key.verify(encode_dss_signature(r, s), tbs, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        raise Refused("signature") from None


# ---- section 3: envelopes

def oid(text):
    first, second, *rest = (int(x) for x in text.split("."))
    out = [first * 40 + second]
    for n in rest:
        digits = [n & 127]
        while n := n >> 7:
            digits.insert(0, n & 127 | 128)
        out += digits
    return bytes(out)


DATA, SIGNED, AUTH_ENVELOPED = oid("1.2.840.113549.1.7.1"), oid("1.2.840.113549.1.7.2"), oid("1.2.840.113549.1.9.16.1.23")
SHA256, OAEP, MGF1 = oid("2.16.840.1.101.3.4.2.1"), oid("1.2.840.113549.1.1.7"), oid("1.2.840.113549.1.1.8")
AES256_GCM, ECDSA_SHA256 = oid("2.16.840.1.101.3.4.1.46"), oid("1.2.840.10045.4.3.2")
RSA, RSA_SHA256 = oid("1.2.840.113549.1.1.1"), oid("1.2.840.113549.1.1.11")
CONTENT_TYPE, MESSAGE_DIGEST = oid("1.2.840.113549.1.9.3"), oid("1.2.840.113549.1.9.4")


class Der:
    """Reads strict DER: the shortest lengths, no indefinite ones."""

    def __init__(self, data):
        self.data = data

    def take(self, tag):
        need(len(self.data) >= 2 and self.data[0] == tag, f"expected tag {tag:#x}")
        n, at = self.data[1], 2
        if n >= 0x80:
            size = n & 0x7f
            need(1 <= size <= 3 and len(self.data) >= 2 + size, "length")
            n, at = int.from_bytes(self.data[2:2 + size], "big"), 2 + size
            need(n >= 0x80 and n >> 8 * (size - 1), "length is not in its shortest form")
        need(len(self.data) >= at + n, "cut off")
        content, self.whole, self.data = self.data[at:at + n], self.data[:at + n], self.data[at + n:]
        return content

    def inside(self, tag):
        return Der(self.take(tag))

    def version(self):
        value = self.take(0x02)
        need(len(value) == 1, "version")
        return value[0]

    def next_is(self, tag):
        return self.data[:1] == bytes([tag])

    def end(self):
        need(not self.data, "trailing bytes")


def take_algorithm(d):
    alg = d.inside(0x30)
    name = alg.take(0x06)
    if alg.data:
        need(alg.take(0x05) == b"", "parameters")
    alg.end()
    return name


def content_info(data, kind):
    outer = Der(data)
    info = outer.inside(0x30)
    outer.end()
    need(info.take(0x06) == kind, "content type")
    wrapper = info.inside(0xa0)
    info.end()
    body = wrapper.inside(0x30)
    wrapper.end()
    return body


def take_name(d, version, by_issuer, by_ski):
    need(version in (by_issuer, by_ski), "version")
    if version == by_ski:
        return {"ski": d.take(0x80)}
    pair = d.inside(0x30)
    pair.take(0x30)
    name = {"issuer": pair.whole, "serial": pair.take(0x02)}
    pair.end()
    return name


def names(name, cert):
    from cryptography import x509
    if "ski" in name:
        return name["ski"] == cert.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    return name["issuer"] == cert.issuer.public_bytes() and int.from_bytes(name["serial"], "big") == cert.serial_number


def open_envelope(data, issuer, recipient, recipient_key):
    """The content of an envelope for recipient (certificate and key), signed by the certificate issuer."""
    from cryptography.hazmat.primitives.serialization import Encoding
    body = content_info(data, SIGNED)
    version = body.version()
    digests = body.inside(0x31)
    need(take_algorithm(digests) == SHA256, "digest")
    digests.end()
    encap = body.inside(0x30)
    need(encap.take(0x06) == DATA, "signed content type")
    wrapper = encap.inside(0xa0)
    encap.end()
    inner = wrapper.take(0x04)
    wrapper.end()
    if body.next_is(0xa0):
        need(body.take(0xa0) == issuer.public_bytes(Encoding.DER), "certificate sent along")
    signers = body.inside(0x31)
    body.end()
    signer = signers.inside(0x30)
    signers.end()
    signer_version = signer.version()
    name = take_name(signer, signer_version, 1, 3)
    need(version == signer_version and names(name, issuer), "signed by somebody else")
    need(take_algorithm(signer) == SHA256, "digest")
    signed = inner
    if signer.next_is(0xa0):
        attrs = signer.take(0xa0)
        signed = b"\x31" + signer.whole[1:]
        attrs, seen, last = Der(attrs), {}, b""
        while attrs.data:
            attr = attrs.inside(0x30)
            need(last < attrs.whole, "attributes are not in order")
            last, kind = attrs.whole, attr.take(0x06)
            need(kind not in seen, "repeated attribute")
            seen[kind] = attr.take(0x31)
            attr.end()
        need(seen.get(CONTENT_TYPE) == b"\x06" + bytes([len(DATA)]) + DATA, "content type attribute")
        need(seen.get(MESSAGE_DIGEST) == b"\x04\x20" + hashlib.sha256(inner).digest(), "message digest attribute")
    alg, signature = take_algorithm(signer), signer.take(0x04)
    signer.end()
    key = issuer.public_key()
    try:
        if isinstance(key, rsa.RSAPublicKey):
            need(alg in (RSA, RSA_SHA256), "signature algorithm")
            key.verify(signature, signed, padding.PKCS1v15(), hashes.SHA256())
        else:
            need(alg == ECDSA_SHA256, "signature algorithm")
            key.verify(signature, signed, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        raise Refused("signature") from None
    return open_inner(inner, recipient, recipient_key)


def open_inner(data, recipient, recipient_key):
    body = content_info(data, AUTH_ENVELOPED)
    need(body.take(0x02) == b"\0", "version")
    recipients = body.inside(0x31)
    info = recipients.inside(0x30)
    recipients.end()
    need(names(take_name(info, info.version(), 0, 2), recipient), "for somebody else")
    alg = info.inside(0x30)
    need(alg.take(0x06) == OAEP, "key transport")
    params = alg.inside(0x30)
    need(take_algorithm(params.inside(0xa0)) == SHA256, "OAEP hash")
    mgf = params.inside(0xa1).inside(0x30)
    need(mgf.take(0x06) == MGF1 and take_algorithm(mgf) == SHA256, "MGF")
    params.end()
    wrapped = info.take(0x04)
    info.end()
    content = body.inside(0x30)
    need(content.take(0x06) == DATA, "content type")
    cipher = content.inside(0x30)
    need(cipher.take(0x06) == AES256_GCM, "cipher")
    gcm = cipher.inside(0x30)
    nonce = gcm.take(0x04)
    need(len(nonce) == 12 and gcm.take(0x02) == b"\x10", "nonce or tag length")
    gcm.end()
    sealed = content.take(0x80)
    content.end()
    tag = body.take(0x04)
    need(len(tag) == 16, "tag")
    body.end()
    oaep = padding.OAEP(mgf=padding.MGF1(hashes.SHA256()), algorithm=hashes.SHA256(), label=None)
    try:
        key = recipient_key.decrypt(wrapped, oaep)
    except ValueError:
        raise Refused("wrapped key") from None
    need(len(key) == 32, "wrapped key")
    return aead_open(key, nonce, sealed + tag, None)
