"""Direct messages: which key spaces an identity may create itself; sealmq send and sealmq inbox."""
import base64
import json
import re

import pytest

from lib import env
from lib.memory import find_in_memory
from lib.pki import CLIENT_AUTH
from lib.sealing import Failed, Member, control

pytestmark = pytest.mark.sealmqd_only("key spaces are ours")
STORES = (0,)
BROKER_OPTIONS = {"direct_messages": 3, "topic_admin": "boss"}
OWNER = {"mode": "owner", "sign": "required"}


@pytest.fixture(scope="session")
def people(pki):
    """Identities of this module alone: what one owns counts."""
    return {cn: pki.authority.issue(f"direct-{cn}", cn, kind="rsa2048", eku=(CLIENT_AUTH,)) for cn in ("boss", "ann", "bob", "carol", "dora", "eve")}


@pytest.fixture
def member(broker, people, name):
    made = []

    def make(cn):
        made.append(Member(broker, people[cn], f"{name}-{cn}-{len(made)}"))
        return made[-1]
    yield make
    for one in made:
        one.mqtt.drop()


def refused(client, text, **command):
    with pytest.raises(Failed, match=text):
        control(client.mqtt, **command)


# ---- the broker's rule

def test_anybody_may_have_direct_messages_of_their_own(member):
    ann = member("ann")
    made = control(ann.mqtt, command="createTopic", topic="direct/ann/bob", members=[{"cn": "ann"}, {"cn": "bob", "access": "read"}], **OWNER)
    assert (made["owner"], made["mode"], made["sign"]) == ("ann", "owner", "required")
    assert made["history"] == {"count": 1000, "age": 30 * 86400, "bytes": 16 * 1024 * 1024}
    refused(ann, "exists already", command="createTopic", topic="direct/ann/bob", members=[], **OWNER)
    control(ann.mqtt, command="deleteTopic", topic="direct/ann/bob")


@pytest.mark.parametrize("topic, why", [("direct/bob/ann", "topic_admin"), ("direct/ann", "topic_admin"), ("direct/ann/", "topic_admin"), ("direct/ann/ann", "topic_admin"),
                                        ("direct/ann/bob/x", "topic_admin"), ("direct", "topic_admin"), ("plant", "topic_admin"), ("direct/annabel/x", "topic_admin")])
def test_no_other_topics(member, topic, why):
    refused(member("ann"), why, command="createTopic", topic=topic, members=[], **OWNER)


@pytest.mark.parametrize("settings, why", [
    ({"mode": "broker", "sign": "required"}, "mode owner"), ({"mode": "open"}, "mode owner"), ({"mode": "owner"}, "sign required"), ({}, "mode owner"),
    ({**OWNER, "history": {"count": 5}}, "history"), ({**OWNER, "members": [{"cn": "ann"}, {"cn": "carol"}]}, "sender and recipient alone")], ids=str)
def test_nothing_else_than_direct_messages(member, settings, why):
    refused(member("ann"), why, command="createTopic", topic="direct/ann/bob", **settings)


def test_they_stay_what_they_are(member):
    carol, boss = member("carol"), member("boss")
    control(carol.mqtt, command="createTopic", topic="direct/carol/bob", members=[{"cn": "carol"}], **OWNER)
    assert control(carol.mqtt, command="addMembers", topic="direct/carol/bob", members=[{"cn": "bob", "access": "read"}]) == {"epoch": 0}
    refused(carol, "sender and recipient alone", command="addMembers", topic="direct/carol/bob", members=[{"cn": "eve"}])
    refused(carol, "history", command="setHistory", topic="direct/carol/bob", history={"count": 100000})
    refused(member("eve"), "no such key space", command="getTopic", topic="direct/carol/bob")
    refused(member("bob"), "may not manage", command="addMembers", topic="direct/carol/bob", members=[{"cn": "bob"}])
    control(boss.mqtt, command="setHistory", topic="direct/carol/bob", history={"count": 5})
    control(boss.mqtt, command="deleteTopic", topic="direct/carol/bob")
    assert control(boss.mqtt, command="createTopic", topic="direct/boss/bob", members=[{"cn": "boss"}], **OWNER)["history"]["count"] == 1000


def test_so_many_and_no_more(member):
    dora = member("dora")
    for cn in ("ann", "bob", "carol"):
        control(dora.mqtt, command="createTopic", topic=f"direct/dora/{cn}", members=[{"cn": "dora"}, {"cn": cn}], **OWNER)
    refused(dora, "as many as you may", command="createTopic", topic="direct/dora/eve", members=[], **OWNER)
    control(dora.mqtt, command="deleteTopic", topic="direct/dora/ann")
    control(dora.mqtt, command="createTopic", topic="direct/dora/eve", members=[{"cn": "dora"}, {"cn": "eve"}], **OWNER)


def test_certificates_are_known_to_all(member, people):
    member("bob")
    eve = member("eve")
    assert eve.mqtt.subscribe(("$CERTS/bob", 1)) == [1]
    assert eve.mqtt.recv_publish("$CERTS/bob", retain=True).payload
    assert eve.mqtt.subscribe(("$CERTS/nobody-at-all", 1)) == [1]
    assert not eve.mqtt.recv_publish("$CERTS/nobody-at-all", retain=True).payload


def test_not_unless_the_configuration_says_so(start_broker, people, name):
    ann = Member(start_broker({"topic_admin": "boss"}), people["ann"], name)
    refused(ann, "you may not create key spaces", command="createTopic", topic="direct/ann/bob", members=[], **OWNER)
    ann.mqtt.drop()


# ---- sealmq send, sealmq inbox

SECRET = "meet me at the old bridge"
STORE = {"direct_messages": 10, "topic_admin": "boss", "store": "lmdb", "store_dir": "store", "store_max_size": "64M"}


@pytest.fixture
def own_broker(start_broker):
    return start_broker(STORE)


@pytest.fixture
def cli(own_broker, people, sealmq):
    """Each has connected once, so that the broker knows their certificates."""
    made = {cn: sealmq(own_broker, people[cn]) for cn in people}
    for one in made.values():
        one.run("sub", "-t", "hello", "-E", "-W", 5)
    return made


def shown(done):
    """(what, sender, text) of what an inbox has printed."""
    rows = [x.split("\t") for x in (done if isinstance(done, list) else done.stdout.splitlines())]
    assert all(len(x) == 4 and re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", x[0]) for x in rows), rows
    return [tuple(x[1:]) for x in rows]


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_a_message_waits_for_who_is_away(own_broker, cli, end):
    cli["ann"].run("send", "bob", "-m", SECRET)
    cli["ann"].run("send", "bob", "-s", stdin="two\nlines\n")
    getattr(own_broker, end)()
    own_broker.start()
    cli["ann"].run("send", "bob", "-l", stdin="after\nthe restart\n")
    assert shown(cli["bob"].run("inbox")) == [("new", "ann", x) for x in (SECRET, r"two\nlines\n", "after", "the restart")]
    assert shown(cli["bob"].run("inbox")) == []
    assert [x[0] for x in shown(cli["bob"].run("inbox", "--all"))] == ["read"] * 4


def test_the_answer_goes_the_other_way(cli):
    cli["ann"].run("send", "bob", "-m", "how are you?")
    cli["bob"].run("send", "ann", "-m", "fine")
    assert shown(cli["ann"].run("inbox")) == [("new", "bob", "fine")]
    assert shown(cli["bob"].run("inbox")) == [("new", "ann", "how are you?")]


@pytest.mark.skipif(env.BUILD_DIR.name in ("asan", "tsan"), reason="a sanitizer's shadow is larger than the machine, and keeps what was freed")
def test_the_broker_does_not_know_what_is_said(own_broker, cli):
    """Not while the messages pass, not afterwards, not on disk."""
    follower = cli["bob"].start("inbox", "--follow")
    cli["ann"].run("send", "bob", "-l", stdin=f"{SECRET}\n" * 20)
    follower.wait_messages(20)
    assert not find_in_memory(own_broker.process.pid, SECRET.encode())
    assert find_in_memory(own_broker.process.pid, b"direct/ann/bob")  # the search finds what is there
    own_broker.stop()
    stored = b"".join(x.read_bytes() for x in (own_broker.dir / "store").iterdir())
    assert SECRET.encode() not in stored and b"direct/ann/bob" in stored


def test_no_third_one_reads_or_writes(cli):
    cli["ann"].run("send", "bob", "-m", SECRET)
    spy = cli["eve"].sub("-t", "direct/#", "-t", "#")
    assert "refuses the subscription" in cli["eve"].run("sub", "-t", "direct/ann/bob", "-W", 5, status=1).stderr
    assert "not given to this client" in cli["eve"].run("key", "open", "$KEYS/direct/ann/bob", status=1).stderr
    cli["eve"].pub("-t", "direct/ann/bob", "-m", "I am ann")
    cli["boss"].pub("-t", "direct/ann/bob", "-m", "I am the administrator")
    cli["ann"].run("send", "bob", "-m", "again")
    assert shown(cli["bob"].run("inbox")) == [("new", "ann", SECRET), ("new", "ann", "again")]
    assert not spy.messages()


def test_a_forged_signature_is_found_out(own_broker, cli, people, name):
    """By who has the key and the connection of ann: all that an attacker could have, but her certificate's private key."""
    cli["ann"].run("send", "bob", "-m", "true")
    (jwk,) = json.loads(cli["ann"].run("key", "open", "$KEYS/direct/ann/bob", "--show-keys", "--json").stdout)["keys"]
    ann = Member(own_broker, people["ann"], name)
    ann.newest = base64.urlsafe_b64decode(jwk["kid"] + "==")
    ann.keys = {ann.newest: (base64.urlsafe_b64decode(jwk["k"] + "=="), jwk["sealmq"])}
    forged = bytearray(ann.seal("direct/ann/bob", b"forged", signed=True))
    forged[-1] ^= 1
    ann.mqtt.publish("$SEALED/direct/ann/bob", bytes(forged), 1)
    ann.publish("direct/ann/bob", b"signed by her", signed=True)
    ann.mqtt.drop()
    done = cli["bob"].run("inbox", status=3)
    assert shown(done) == [("new", "ann", "true"), ("new", "ann", "signed by her")]
    assert "refused: direct/ann/bob: " in done.stderr and "signature" in done.stderr and "forged" not in done.stdout


@pytest.mark.parametrize("mode, why", [("broker", "the broker can read it"), ("owner", "its keys are another's than the sender's")])
def test_an_administrator_who_lies_is_found_out(cli, mode, why):
    """The administrator makes a key space of the name that ann's would have, and somebody else writes there."""
    cli["boss"].run("topic", "create", "direct/ann/bob", "--mode", mode, "--signatures", "required", "--history", 10, "--member", "eve", "--member", "bob")
    cli["eve"].pub("-t", "direct/ann/bob", "-m", "I am ann", "--sign")
    done = cli["bob"].run("inbox", status=3)
    assert done.stdout == "" and f"refused: {why}" in done.stderr


def test_an_inbox_that_follows(cli):
    follower = cli["bob"].start("inbox", "--follow")
    for cn in ("ann", "carol"):  # each is a new sender
        cli[cn].run("send", "bob", "-m", f"from {cn}")
    assert sorted(shown(follower.wait_messages(2))) == [("new", "ann", "from ann"), ("new", "carol", "from carol")]
    cli["ann"].run("send", "bob", "-m", "more")
    assert shown(follower.wait_messages(3))[2] == ("new", "ann", "more")
    follower.process.terminate()
    assert follower.process.wait() == 0
    assert shown(cli["bob"].run("inbox")) == []


def test_the_recipient_must_be_known(cli):
    assert "nobody: unknown: " in cli["ann"].run("send", "nobody", "-m", "x", status=1).stderr
    assert "ann: that is you" in cli["ann"].run("send", "ann", "-m", "x", status=1).stderr
    assert "direct/" not in cli["ann"].run("topic", "list").stdout


def test_another_certificate_of_the_recipient_is_noticed(own_broker, cli, pki, people, sealmq):
    cli["ann"].run("send", "bob", "-m", "to the first")
    again = sealmq(own_broker, pki.authority.issue("direct-bob-again", "bob", kind="rsa2048", eku=(CLIENT_AUTH,)))
    again.run("sub", "-t", "hello", "-E", "-W", 5)
    assert "bob: has another certificate than when you wrote last" in cli["ann"].run("send", "bob", "-m", "x", status=3).stderr
    cli["ann"].run("topic", "admit", "direct/ann/bob", "bob")
    cli["ann"].run("send", "bob", "-m", "to the second")
    assert ("new", "ann", "to the second") in shown(again.run("inbox"))


@pytest.mark.parametrize("arguments", [["send"], ["send", "bob"], ["send", "bob", "-m", "x", "-s"], ["send", "a/b", "-m", "x"], ["send", "a", "b", "-m", "x"], ["inbox", "x"]], ids=str)
def test_usage(people, sealmq, broker, arguments):
    assert f"sealmq {arguments[0]}: expected" in sealmq(broker, people["ann"]).run(*arguments, status=2).stderr.replace("the recipient: ", "")
