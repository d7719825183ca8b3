# SPDX-License-Identifier: GPL-3.0-or-later
"""Mode owner against a broker that lies about envelopes, certificates, members and epochs: each lie is found out, said, and shows in the exit status."""
import base64
import json
import os
import time

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from lib.liar import Liar
from lib.pki import CLIENT_AUTH, Authority
from lib.sealing import fingerprint, formats, load

pytestmark = pytest.mark.sealmqd_only("key spaces are ours")
STORES = (0,)
BROKER_OPTIONS = {"topic_admin": "boss"}


@pytest.fixture(scope="session")
def people(pki):
    return {cn: pki.authority.issue(f"liar-{cn}", cn, kind="rsa2048", eku=(CLIENT_AUTH,)) for cn in ("boss", "ann", "bob", "cid")}


@pytest.fixture
def cli(broker, people, sealmq):
    return lambda cn: sealmq(broker, people[cn])


@pytest.fixture
def behind(broker, people, sealmq):
    """behind(cn): a lying broker in front of the real one, and that client of it."""
    made = []

    def make(cn):
        made.append(Liar(broker, people[cn]))
        return made[-1], sealmq(broker, people[cn], SEALMQ_PORT=str(made[-1].port))
    yield make
    for one in made:
        one.close()


@pytest.fixture
def topic(cli, name):
    for cn in ("ann", "bob", "cid"):
        cli(cn).run("sub", "-t", "x/seen", "-E", "-W", 5)
    cli("boss").run("topic", "create", name, "--mode", "owner", "--member", "ann", "--member", "bob", "--history", 10)
    return name


def der(cert):
    return load(cert.crt).public_bytes(Encoding.DER)


def known(liar, client, topic):
    """The client takes an envelope while all is well; that envelope."""
    client.pub("-t", topic, "-m", "all is well")
    return liar.last(f"$KEYS/{topic}")


def refused(client, topic, why):
    for command in (("sub", "-t", topic, "-W", 10), ("pub", "-t", topic, "-m", "x", "-W", 10)):
        assert f"$KEYS/{topic}: refused: {why}" in client.run(*command, status=3).stderr


def says(topic, payload):
    return lambda t, p: payload if t == topic else p


def test_an_envelope_of_an_old_epoch(behind, cli, topic):
    liar, bob = behind("bob")
    old = known(liar, bob, topic)
    cli("boss").run("topic", "rotate", topic)
    known(liar, bob, topic)
    liar.lie = says(f"$KEYS/{topic}", old)
    refused(bob, topic, "the list of members is older")


def test_an_envelope_with_an_old_list_of_members(behind, cli, topic):
    liar, bob = behind("bob")
    old = known(liar, bob, topic)
    cli("boss").run("topic", "add", topic, "--member", "cid")  # the epoch stays
    known(liar, bob, topic)
    liar.lie = says(f"$KEYS/{topic}", old)
    refused(bob, topic, "the list of members is older")


def envelope_by(signer, recipient, topic, mode="owner", root=bytes(32), epoch=9):
    """An envelope of somebody else's making."""
    import subprocess
    keys = [{"kty": "oct", "key_ops": ["deriveKey"], "kid": base64.urlsafe_b64encode(os.urandom(8)).decode().rstrip("="),
             "k": base64.urlsafe_b64encode(root).decode().rstrip("="),
             "sealmq": {"filter": topic + "/#", "space": topic, "epoch": epoch, "mode": mode, "sign": "optional", "issuer": fingerprint(load(signer.crt)).hex(),
                        "recipient": fingerprint(load(recipient.crt)).hex(), "issued": int(time.time()), "not_after": 0}}]

    def cms(*arguments, data):
        return subprocess.run(["openssl", "cms", *map(str, arguments)], input=data, capture_output=True, check=True).stdout
    inner = cms("-encrypt", "-binary", "-outform", "DER", "-aes-256-gcm", "-recip", recipient.crt, "-keyopt", "rsa_padding_mode:oaep", "-keyopt", "rsa_oaep_md:sha256",
                "-keyopt", "rsa_mgf1_md:sha256", data=json.dumps({"keys": keys}).encode())
    return cms("-sign", "-nodetach", "-binary", "-outform", "DER", "-signer", signer.crt, "-inkey", signer.key, data=inner)


@pytest.mark.parametrize("mode", ["owner", "broker"])
def test_the_brokers_own_envelope(behind, broker, people, topic, mode):
    """It knows the key of what it has made, and would read along."""
    liar, bob = behind("bob")
    known(liar, bob, topic)
    liar.lie = says(f"$KEYS/{topic}", envelope_by(broker.pki.server, people["bob"], topic, mode))
    refused(bob, topic, "the space is pinned to another issuer")


def test_an_owners_envelope_without_its_list(behind, people, topic):
    """Not even the owner's certificate in the wrong hands can do without the list again."""
    liar, bob = behind("bob")
    known(liar, bob, topic)
    liar.lie = says(f"$KEYS/{topic}", envelope_by(people["boss"], people["bob"], topic))
    refused(bob, topic, "the list of members has gone")


def test_a_lie_during_a_run(behind, cli, topic):
    liar, bob = behind("bob")
    old = known(liar, bob, topic)
    sub = bob.start("sub", "-d", "-t", topic, "-C", 1)
    sub.wait(lambda: "Subscribed" in sub.lines)
    liar.lie = says(f"$KEYS/{topic}", old[:-1] + bytes([old[-1] ^ 1]))
    cli("boss").run("topic", "rotate", topic)
    sub.wait(lambda: any(f"$KEYS/{topic}: refused" in x for x in sub.err))
    sub.close()


def test_a_message_of_somebody_who_is_no_member(behind, cli, people, topic):
    """cid has got the key from a member who talks, and the broker lets it in: its messages are refused all the same."""
    liar, bob = behind("bob")
    (jwk,) = json.loads(cli("ann").run("key", "open", f"$KEYS/{topic}", "--show-keys", "--json").stdout)["keys"]
    key, kid = (base64.urlsafe_b64decode(jwk[x] + "==") for x in ("k", "kid"))
    print_ = fingerprint(load(people["cid"].crt))

    def lie(t, payload):
        if t == f"$SEALED/{topic}":
            sealed = formats.seal(formats.topic_key_of_grant(key, topic + "/#", topic), topic, kid, os.urandom(8), 0, int(time.time() * 1000), print_[:16], b"obey", None,
                                  True)
            return formats.sign(load_pem_private_key(people["cid"].key.read_bytes(), None), topic, sealed)
        return der(people["cid"]) if t == f"$CERTS/sha256/{print_[:16].hex()}" else payload
    liar.lie = lie
    sub = bob.start("sub", "-d", "-t", topic)
    sub.wait(lambda: "Subscribed" in sub.lines)
    cli("ann").pub("-t", topic, "-m", "hello")
    sub.wait(lambda: any("not on the owner's list of members" in x for x in sub.err))
    sub.process.terminate()
    assert sub.finish(status=3) == []


def test_another_certificate_for_a_member(behind, people, pki, topic, tmp_path):
    """The owner adds cid, and the broker gives another certificate: somebody else's, or one that it has made itself."""
    liar, boss = behind("boss")
    for other, why in ((people["ann"], "somebody else's"),
                       (Authority(tmp_path, "my own authority").issue("cid", "cid", kind="rsa2048"), "unknown CA"),
                       (pki.authority.issue("liar-cid2", "cid", kind="rsa2048", eku=(CLIENT_AUTH,)), "another certificate than the one it names")):
        liar.lie = lambda t, payload, other=other: der(other) if t.startswith("$CERTS/") else payload
        assert why in boss.run("topic", "add", topic, "--member", "cid", status=3).stderr
    liar.lie = None
    assert "pending      cid" in boss.run("topic", "show", topic).stdout  # it has got no key
    assert "done" in boss.run("topic", "admit", topic).stdout


def test_another_certificate_in_place_of_a_known_one(behind, cli, people, pki, topic):
    """The authority's key is in the wrong hands: a second certificate for bob. The owner keeps to the one that it knows, and is told."""
    liar, boss = behind("boss")
    other = pki.authority.issue("liar-bob2", "bob", kind="rsa2048", eku=(CLIENT_AUTH,))
    ours, theirs = fingerprint(load(people["bob"].crt)).hex().encode(), fingerprint(load(other.crt)).hex().encode()
    liar.lie = lambda t, payload: der(other) if t.startswith("$CERTS/") else payload.replace(ours, theirs)
    assert f"other cert.  bob  has connected with {theirs.decode()[:16]}" in boss.run("topic", "show", topic, status=3).stdout
    boss.run("topic", "rotate", topic)
    cli("ann").pub("-t", topic, "-m", "still for bob")
    assert cli("bob").run("sub", "-t", topic, "--history", "1", "-C", 1).stdout == "still for bob\n"


def test_a_member_whom_the_owner_has_not_added(behind, cli, topic):
    liar, boss = behind("boss")

    def lie(t, payload):
        answer = json.loads(payload)
        for one in answer["responses"]:
            if one["command"] == "getTopic" and "data" in one:
                cid = {"cn": "cid", "certificate": "00" * 32}
                one["data"]["members"].append({**cid, "access": "readwrite", "since": 1, "pinned": False})
                one["data"]["pending"].append(cid)
        return json.dumps(answer).encode()
    liar.lie = lambda t, payload: lie(t, payload) if t.startswith("$CONTROL/") else payload
    assert "not yours    cid" in boss.run("topic", "show", topic, status=3).stdout
    boss.run("topic", "admit", topic)
    boss.run("topic", "rotate", topic)
    liar.lie = None
    assert "cid" not in boss.run("topic", "show", topic).stdout


@pytest.mark.parametrize("epoch, why", [(1, "another key of this epoch"), (7, "a newer epoch than this machine")])
def test_another_key_in_force(behind, topic, epoch, why):
    liar, boss = behind("boss")

    def lie(payload):
        answer = json.loads(payload)
        for one in answer["responses"]:
            if one["command"] == "getTopic":
                one["data"].update(epoch=epoch, kid="00" * 8)
        return json.dumps(answer).encode()
    liar.lie = lambda t, payload: lie(payload) if t.startswith("$CONTROL/") else payload
    assert f"{why}" in boss.run("topic", "rotate", topic, status=3).stderr
