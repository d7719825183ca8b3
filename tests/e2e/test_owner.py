# SPDX-License-Identifier: GPL-3.0-or-later
"""Mode owner by the command line: the owner's keys and member list are on the owner's machine, and everything works as in mode broker."""
import base64
import hashlib
import json
import re

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from lib.memory import find_in_memory
from lib.pki import CLIENT_AUTH
from lib.programs import Mosquitto
from lib.sealing import fingerprint, formats, load

import sealmq_owner  # tests/interop: lib.sealing has put it on the path

pytestmark = pytest.mark.sealmqd_only("key spaces are ours")
STORES = (0,)
BROKER_OPTIONS = {"topic_admin": "boss", "history": "100 kept/#"}


@pytest.fixture(scope="session")
def people(pki):
    return {cn: pki.authority.issue(f"owner-{cn}", cn, kind="rsa2048", eku=(CLIENT_AUTH,)) for cn in ("boss", "ann", "bob", "cid", "late", "never", "stranger")}


@pytest.fixture
def cli(broker, people, sealmq):
    return lambda cn: sealmq(broker, people[cn])


@pytest.fixture
def seen(cli):
    """All of these have connected once, so that the broker knows their certificates."""
    for cn in ("ann", "bob", "cid"):
        cli(cn).run("sub", "-t", "x/seen", "-E", "-W", 5)


def lines_of(done):
    return [json.loads(x) for x in (done if isinstance(done, list) else done.stdout.splitlines())]


@pytest.fixture
def topic(cli, seen, name):
    cli("boss").run("topic", "create", name, "--mode", "owner", "--member", "ann", "--member", "bob", "--history", 100)
    return name


def test_members_talk_and_nobody_else_reads(cli, broker, people, topic):
    spy = Mosquitto(broker, people["bob"])
    raw = spy.sub("-t", topic, "-C", 1, "-q", 1, "-F", "%x")
    sub = cli("bob").sub("-t", topic, "-C", 1, "-F", "jsonl")
    assert "sealed, " in cli("ann").pub("-t", topic, "-m", "for bob's eyes", "-v").stdout
    (m,) = lines_of(sub.finish())
    assert (m["payload"], m["verdict"], m["sender"], m["by_broker"]) == ("for bob's eyes", "live", "ann", False)
    assert b"for bob's eyes" not in bytes.fromhex(raw.finish()[0])  # a standard client gets the sealed bytes
    assert "the broker refuses the subscription" in cli("stranger").run("sub", "-t", topic, "-W", 5, status=1).stderr
    spy.pub("-t", topic, "-m", "plain", "-q", 1)  # acknowledged and dropped
    assert [m["payload"] for m in lines_of(cli("bob").run("sub", "-t", topic, "--history", "all", "-C", 1, "-F", "jsonl"))] == ["for bob's eyes"]
    spy.close()


def test_a_filter_above_the_key_space_opens_it_too(cli, topic):
    sub = cli("bob").sub("-t", "#", "-R", "-C", 1, "-F", "%t %c %V %p")
    cli("ann").pub("-t", f"{topic}/below", "-m", "hello")
    assert sub.finish() == [f"{topic}/below ann live hello"]


def test_late_joiners_wait_for_the_owner(cli, seen, name):
    """late is added before it has ever connected: its key comes when the owner is back, and it sees the past."""
    kept = f"kept/{name}"
    made = cli("boss").run("topic", "create", kept, "--mode", "owner", "--member", "ann", "--member", "late", "--member", "never", "--history", 100).stdout
    assert re.search(r"^member       late .* certificate -$", made, re.M)
    cli("ann").pub("-t", kept, "-m", "early")
    sub = cli("late").sub("-t", kept, "--history", "all", "-C", 1, "-F", "jsonl")
    assert "pending      late" in cli("boss").run("topic", "show", kept).stdout
    cli("boss").run("topic", "admit", kept)
    assert [(m["payload"], m["verdict"], m["sender"]) for m in lines_of(sub.finish())] == [("early", "past", "ann")]
    assert "pending" not in cli("boss").run("topic", "show", kept).stdout


def test_removal_and_rotation(cli, topic):
    assert "done, epoch 2" in cli("boss").run("topic", "rotate", topic).stdout
    cli("ann").pub("-t", topic, "-m", "to both")
    assert "done, epoch 3" in cli("boss").run("topic", "remove", topic, "bob").stdout
    cli("ann").pub("-t", topic, "-m", "to ann alone")
    assert "refuses the subscription" in cli("bob").run("sub", "-t", topic, "-W", 5, status=1).stderr
    assert "'bob' is not a member" in cli("boss").run("topic", "remove", topic, "bob", status=1).stderr
    cli("boss").run("topic", "add", topic, "--member", "bob")
    assert [m["payload"] for m in lines_of(cli("bob").run("sub", "-t", topic, "--history", "all", "-C", 2, "-F", "jsonl"))] == ["to both", "to ann alone"]


def test_new_members_from_their_joining(cli, seen, name):
    cli("boss").run("topic", "create", name, "--mode", "owner", "--new-members", "from-join", "--member", "ann", "--history", 100)
    cli("ann").pub("-t", name, "-m", "before")
    assert "done, epoch 2" in cli("boss").run("topic", "add", name, "--member", "bob").stdout
    cli("ann").pub("-t", name, "-m", "after")
    assert [m["payload"] for m in lines_of(cli("bob").run("sub", "-t", name, "--history", "all", "-C", 1, "-F", "jsonl"))] == ["after"]


def test_members_by_certificate_and_access(cli, people, seen, name):
    cli("boss").run("topic", "create", name, "--mode", "owner", "--signatures", "required", "--member-cert", f"{people['ann'].crt}:write",
                    "--member-cert", f"{people['bob'].crt}:read")
    shown = cli("boss").run("topic", "show", name).stdout
    assert re.search(r"member       ann  write .* alone$", shown, re.M) and re.search(r"member       bob  read .* alone$", shown, re.M)
    sub = cli("bob").sub("-t", name, "-C", 1, "-F", "jsonl")
    cli("ann").pub("-t", name, "-m", "hello")
    assert lines_of(sub.finish())[0]["signed"] is True


def test_delete_forgets_the_keys(cli, topic, tmp_path):
    (state,) = [p for p in (tmp_path / "share/sealmq/owner").rglob("*") if p.is_file() and p.name[0] != "."]
    assert state.stat().st_mode & 0o777 == 0o600
    cli("boss").run("topic", "delete", topic)
    assert not state.exists() and "there is no such key space" in cli("boss").run("topic", "show", topic, status=1).stderr
    assert "keys are not on this machine" in cli("boss").run("topic", "admit", topic, status=1).stderr


def secrets_of(cli, topic):
    """Keys as bytes and as text, as far as ann has them: the owner's root keys among them."""
    keys = json.loads(cli("ann").run("key", "open", f"$KEYS/{topic}", "--show-keys", "--json").stdout)["keys"]
    raw = [base64.urlsafe_b64decode(k["k"] + "==") for k in keys]
    return [*raw, *(formats.topic_key_of_grant(k, topic + "/#", topic) for k in raw), *(k["k"].encode() for k in keys)]


def test_the_broker_never_holds_a_key_or_plain_text(start_broker, people, sealmq):
    """Its memory, as a core dump would have it, and its store, over a space's life."""
    broker = start_broker({"topic_admin": "boss", "store": "lmdb", "store_dir": "store", "store_max_size": "64M"})

    def cli(cn):
        return sealmq(broker, people[cn])
    for cn in ("ann", "bob"):
        cli(cn).run("sub", "-t", "x/seen", "-E", "-W", 10)
    cli("boss").run("topic", "create", "t", "--mode", "owner", "--member", "ann", "--member", "bob", "--history", 100)
    secrets, texts = [], []
    for step in (("add", "t", "--member", "cid"), ("rotate", "t"), ("remove", "t", "bob")):
        texts.append(f"nobody but members reads this, {step[0]}".encode())
        cli("ann").pub("-t", "t", "-m", texts[-1].decode(), "-r")
        cli("ann").pub("-t", "t", "-m", texts[-1].decode(), "--sign", "-q", 2)
        secrets += secrets_of(cli, "t")
        cli("boss").run("topic", *step)
    secrets += secrets_of(cli, "t")
    assert len(set(secrets)) == 9  # three epochs
    assert find_in_memory(broker.process.pid, b"x/seen") or find_in_memory(broker.process.pid, b"boss")  # so it does look
    for one in {*secrets, *texts}:
        assert not find_in_memory(broker.process.pid, one)
    broker.stop()
    kept = b"".join(p.read_bytes() for p in broker.dir.rglob("*") if p.is_file())
    assert not [one for one in {*secrets, *texts} if one in kept]


def test_the_second_implementation_reads_list_and_state(cli, broker, people, topic, tmp_path):
    """docs/formats.md 11 and 12, by tests/interop: the list in a member's envelope, and the owner's file."""
    owner, key = load(people["boss"].crt), load_pem_private_key(people["boss"].key.read_bytes(), None)
    ann = broker.client("reader", people["ann"])
    assert ann.subscribe((f"$KEYS/{topic}", 1)) == [1]
    content = json.loads(formats.open_envelope(ann.recv_publish(f"$KEYS/{topic}").payload, owner, load(people["ann"].crt),
                                               load_pem_private_key(people["ann"].key.read_bytes(), None)))
    signed = base64.urlsafe_b64decode(content["members"] + "=" * (-len(content["members"]) % 4))
    said = sealmq_owner.members_open(signed, fingerprint(owner), owner.public_key())
    assert (said["space"], said["epoch"]) == (topic, 1)
    assert said["members"] == [(cn, 3, fingerprint(load(people[cn].crt)), 1, 0) for cn in ("ann", "bob")]
    (state,) = [p for p in (tmp_path / "share/sealmq/owner").rglob("*") if p.is_file() and p.name[0] != "."]
    assert state.name == hashlib.sha256(topic.encode()).hexdigest()[:32]
    plain = sealmq_owner.own_open(sealmq_owner.own_secret(key), b"owner/" + state.name.encode(), state.read_bytes())
    n = int.from_bytes(plain[:4], "big")
    about, keys = json.loads(plain[4:4 + n]), json.loads(plain[4 + n:])
    assert about["topic"] == topic and base64.b64decode(about["list"]) == signed and keys["keys"][0]["k"] == content["keys"][0]["k"]
