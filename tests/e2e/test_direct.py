"""Direct messages: which key spaces an identity may create itself; sealmq send and sealmq inbox."""
import pytest

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
