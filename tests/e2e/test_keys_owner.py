# SPDX-License-Identifier: GPL-3.0-or-later
"""Mode owner: the broker hands out envelopes that it cannot open, and never holds a key or plain text."""
import base64
import json
import os
import subprocess
import time

import pytest

from lib import packets as p
from lib.sealing import Failed, Member, control, fingerprint, formats, load

pytestmark = pytest.mark.sealmqd_only("key spaces are ours")

OPTIONS = {"topic_admin": "device1", "store": "lmdb", "store_dir": "store", "store_max_size": "64M"}


class Owner:
    """device1, who makes roots and envelopes (with openssl) and uploads them."""

    def __init__(self, broker, directory):
        self.broker, self.dir, self.cert = broker, directory, broker.pki.device(1)
        self.mqtt, self.epochs = broker.client("owner"), []

    def new_epoch(self):
        self.epochs.append((os.urandom(8), os.urandom(32)))
        return len(self.epochs)

    def envelope(self, cert, topic="t"):
        keys = [{"kty": "oct", "key_ops": ["deriveKey"], "kid": base64.urlsafe_b64encode(kid).decode().rstrip("="),
                 "k": base64.urlsafe_b64encode(formats.grant_key(root, topic, topic + "/#")).decode().rstrip("="),
                 "sealmq": {"filter": topic + "/#", "space": topic, "epoch": i + 1, "mode": "owner", "sign": "optional",
                            "issuer": fingerprint(load(self.cert.crt)).hex(), "recipient": fingerprint(load(cert.crt)).hex(),
                            "issued": int(time.time()), "not_after": 0}} for i, (kid, root) in enumerate(self.epochs)]
        inner = self.cms(["-encrypt", "-binary", "-outform", "DER", "-aes-256-gcm", "-recip", cert.crt, "-keyopt", "rsa_padding_mode:oaep",
                          "-keyopt", "rsa_oaep_md:sha256", "-keyopt", "rsa_mgf1_md:sha256"], json.dumps({"keys": keys}).encode())
        return self.cms(["-sign", "-nodetach", "-binary", "-outform", "DER", "-signer", self.cert.crt, "-inkey", self.cert.key], inner)

    def cms(self, arguments, data):
        return subprocess.run(["openssl", "cms", *map(str, arguments)], input=data, capture_output=True, check=True).stdout

    def upload(self, *certs, **more):
        envelopes = [{"certificate": fingerprint(load(c.crt)).hex(), "envelope": base64.b64encode(self.envelope(c)).decode()} for c in certs]
        return control(self.mqtt, **{"command": "putEnvelopes", "topic": "t", "epoch": len(self.epochs), "kid": self.epochs[-1][0].hex(),
                                     "envelopes": envelopes, **more})


@pytest.fixture
def broker(start_broker):
    return start_broker(OPTIONS)


@pytest.fixture
def owner(broker, tmp_path):
    one = Owner(broker, tmp_path)
    control(one.mqtt, command="createTopic", topic="t", mode="owner", members=[{"cn": "member1"}, {"cn": "member2"}], history={"count": 9})
    return one


def joined(broker, cert, client_id):
    one = Member(broker, cert, client_id)
    one.issuer = load(broker.pki.device(1).crt)
    assert one.mqtt.subscribe(("$KEYS/t", 1)) == [1]
    return one


def take(one, retain):
    return one.open_envelope(one.mqtt.recv_publish("$KEYS/t", retain=retain).payload)


def test_the_broker_hands_out_what_it_cannot_open(broker, owner, pki):
    one = joined(broker, pki.member(1), "one")
    one.mqtt.publish("t", b"before there is a key", 1)  # dropped
    assert control(owner.mqtt, command="getTopic", topic="t")["pending"] == [{"cn": "member1", "certificate": one.fingerprint.hex()}]
    owner.new_epoch()
    assert owner.upload(pki.member(1)) == {"epoch": 1, "active": True}
    assert take(one, False) == [1]
    two = joined(broker, pki.member(2), "two")
    assert [m["cn"] for m in control(owner.mqtt, command="getTopic", topic="t")["pending"]] == ["member2"]
    assert owner.upload(pki.member(2)) == {"epoch": 1, "active": True}  # who waits gets it
    assert take(two, False) == [1]
    assert two.mqtt.subscribe(("$SEALED/t", 1)) == [1]
    text = b"a text that the broker never sees"
    one.publish("t", text, retain=True)
    one.mqtt.publish("t", b"plain", 1)  # dropped
    one.mqtt.publish("t", one.seal("t", b"to the topic itself"), 1)
    assert [two.open("t", two.mqtt.recv_publish("$SEALED/t").payload)[0] for _ in range(2)] == [text, b"to the topic itself"]
    two.mqtt.unsubscribe("$SEALED/t")
    two.mqtt.subscribe(("t", 1))
    assert two.open("t", two.mqtt.recv_publish("t", retain=True).payload)[0] == text
    secrets = [text, *(root for _, root in owner.epochs), *(key for key, _ in one.keys.values())]
    with open(f"/proc/{broker.process.pid}/maps", encoding="ascii") as maps, open(f"/proc/{broker.process.pid}/mem", "rb") as memory:
        for line in maps:
            area, mode, *_ = line.split()
            start, end = (int(x, 16) for x in area.split("-"))
            if not mode.startswith("rw") or end - start > 1 << 30:  # a sanitizer's shadow
                continue
            try:
                memory.seek(start)
                data = memory.read(end - start)
            except (OSError, ValueError, OverflowError):
                continue
            assert not [s for s in secrets if s in data]
    broker.stop()
    data = (broker.dir / "store/data.mdb").read_bytes()
    assert not [s for s in secrets if s in data]


def test_rotation_and_removal_are_the_owners(broker, owner, pki):
    owner.new_epoch()
    owner.upload(pki.member(1), pki.member(2))
    one, two = joined(broker, pki.member(1), "one"), joined(broker, pki.member(2), "two")
    assert take(one, True) == [1] and take(two, True) == [1]
    two.mqtt.subscribe(("$SEALED/t", 1))
    with pytest.raises(Failed, match="its owner makes the keys"):
        control(owner.mqtt, command="rotateKey", topic="t")
    control(owner.mqtt, command="removeMember", topic="t", cn="member2")
    one.publish("t", b"not for two")
    two.mqtt.ping()
    assert not two.mqtt.inbox and two.mqtt.subscribe("$KEYS/t", "t") == [0x80, 0x80]
    owner.new_epoch()
    assert owner.upload(pki.member(1), activate=False) == {"epoch": 2, "active": False}
    late = one.seal("t", b"under the old key")
    assert owner.upload() == {"epoch": 2, "active": True}
    assert sorted(take(one, False)) == [1, 2]
    one.publish("t", b"new")
    one.mqtt.send(p.publish("$SEALED/t", late, 1, pid=77))  # there is no grace after a removal
    one.mqtt.expect_close()
    with pytest.raises(Failed, match="^epoch: expected the current epoch, 2, or the next, 3$"):
        owner.upload(epoch=5)


def test_only_the_owner_uploads_and_only_envelopes(broker, owner, pki):
    owner.new_epoch()
    other = broker.client("other", cert=pki.member(1))
    for who, more, text in ((other, {}, "you may not manage it"), (owner.mqtt, {"kid": "12"}, "kid: expected 16 hex digits"),
                            (owner.mqtt, {"envelopes": [{"certificate": "00" * 32, "envelope": "AAAA"}]}, "envelopes: "),
                            (owner.mqtt, {"envelopes": [{"certificate": "0", "envelope": "AAAA"}]}, "envelopes: expected")):
        owner.mqtt, kept = who, owner.mqtt
        with pytest.raises(Failed, match=text):
            owner.upload(**more)
        owner.mqtt = kept
    assert control(owner.mqtt, command="getTopic", topic="t")["epoch"] == 0


def test_uploads_outlive_kill_9(broker, owner, pki):
    owner.new_epoch()
    owner.upload(pki.member(1))
    broker.process.kill()
    broker.process.wait()
    broker.start()
    one = joined(broker, pki.member(1), "one")
    assert take(one, True) == [1]
    one.publish("t", b"x")
