# SPDX-License-Identifier: GPL-3.0-or-later
"""Subscriptions whose filter lies above key spaces: what each view brings of topics inside, of others' spaces, and of none."""
import pytest

from lib.sealing import Member, control

pytestmark = pytest.mark.sealmqd_only("key spaces are ours")

STORES = (0,)
BROKER_OPTIONS = {"topic_admin": "device1", "store": "lmdb", "store_dir": "store", "store_max_size": "64M"}


@pytest.fixture
def plant(broker, name, connect):
    """name/mine is sealed for device1, member1, member2; name/theirs for device1 and member1; name/mine/inner for device1 alone; name/open is open to all
    three; name/none has no key space."""
    admin = connect("admin")
    people = {"mine": ("device1", "member1", "member2"), "theirs": ("device1", "member1"), "mine/inner": ("device1",), "open": ("device1", "member1", "member2")}
    for topic, cns in people.items():
        control(admin, command="createTopic", topic=f"{name}/{topic}", mode="open" if topic == "open" else "broker", members=[{"cn": cn} for cn in cns])
    return admin


def publish_all(admin, name, **how):
    for topic in ("theirs", "mine/inner", "theirs/a", "mine", "open", "none", "mine/a"):
        admin.publish(f"{name}/{topic}", topic.encode(), 1, **how)


def everything(client):
    """The topics and payloads that have come, but envelopes."""
    client.ping()
    got = [(m.topic, m.payload) for m in client.inbox if not m.topic.startswith("$KEYS/")]
    client.inbox.clear()
    return got


PLAIN = {"#": ["mine", "open", "none", "mine/a"], "+/+": ["mine", "open", "none"], "{}/+": ["mine", "open", "none"], "{}/#": ["mine", "open", "none", "mine/a"],
         "+/+/a": ["mine/a"], "{}/mine/+": ["mine/a"], "+/mine/#": ["mine", "mine/a"]}


@pytest.mark.parametrize("filt", PLAIN)
def test_a_plain_subscription_brings_what_its_member_may_read(broker, plant, pki, name, filt):
    reader = broker.client(name + "r", pki.member(2))
    assert reader.subscribe((filt.format(name), 0)) == [0]
    publish_all(plant, name)
    assert everything(reader) == [(f"{name}/{t}", t.encode()) for t in PLAIN[filt]]


SEALED = {"#": ["mine", "mine/a"], "{}/+": ["mine"], "{}/#": ["mine", "mine/a"], "{}/mine/#": ["mine", "mine/a"]}


@pytest.mark.parametrize("filt", SEALED)
def test_a_sealed_subscription_brings_what_is_sealed_and_its_member_may_read(broker, plant, pki, name, filt):
    reader = Member(broker, pki.member(2), name + "r")
    reader.ask_keys(f"{name}/mine")
    assert reader.mqtt.subscribe((f"$SEALED/{filt.format(name)}", 0)) == [0]
    publish_all(plant, name)
    got = everything(reader.mqtt)
    sealed = [(t, p) for t, p in got if not t.endswith(("/open", "/none"))]
    assert [t for t, _ in sealed] == [f"$SEALED/{name}/{t}" for t in SEALED[filt]]
    for topic, payload in sealed:
        topic = topic.removeprefix("$SEALED/")
        assert reader.open(topic, payload)[0] == topic.removeprefix(name + "/").encode()
    assert got == sealed


def test_both_views_at_once_bring_each_message_once(broker, plant, pki, name):
    reader = Member(broker, pki.member(2), name + "r")
    reader.ask_keys(f"{name}/mine")
    assert reader.mqtt.subscribe(("#", 0), ("$SEALED/#", 0)) == [0, 0]
    publish_all(plant, name)
    assert [t for t, _ in everything(reader.mqtt)] == [f"$SEALED/{name}/mine", f"{name}/open", f"{name}/none", f"$SEALED/{name}/mine/a"]


def test_a_stranger_gets_of_wide_filters_what_no_space_covers(broker, plant, connect, name):
    stranger = connect("s", cert="device3")
    assert stranger.subscribe("#", f"{name}/+", "+/mine/#", "$SEALED/#", f"$SEALED/{name}/+") == [0, 0, 0, 0x80, 0x80]
    publish_all(plant, name)
    assert {t for t, _ in everything(stranger)} == {f"{name}/none"}


@pytest.mark.parametrize("sealed", [False, True])
def test_retained_messages_follow_the_same_rules(broker, plant, pki, name, sealed):
    publish_all(plant, name, retain=True)
    reader = broker.client(name + "r", pki.member(2))
    prefix = "$SEALED/" if sealed else ""
    assert reader.subscribe((f"{prefix}{name}/#", 0)) == [0]
    wanted = ["mine", "mine/a"] if sealed else ["mine", "open", "none", "mine/a"]
    assert [t for t, _ in everything(reader)] == [f"{prefix}{name}/{t}" for t in wanted]


def test_the_past_follows_the_same_rules(broker, plant, pki, name):
    people = [{"cn": "device1"}, {"cn": "member2"}]
    for topic, mode in (("old/sealed", "broker"), ("old/open", "open")):
        control(plant, command="createTopic", topic=f"{name}/{topic}", mode=mode, members=people, history={"count": 10})
        plant.publish(f"{name}/{topic}", topic.encode(), 1)
        plant.publish(f"{name}/{topic}", topic.encode() + b" retained", 1, True)
    wanted = {"$SEALED/": ["old/sealed"] * 2, "": ["old/sealed"] * 2 + ["old/open"] * 2}
    for prefix, topics in wanted.items():
        for how in ("", "$HISTORY/all/"):
            reader = broker.client(f"{name}r{prefix}{how}", pki.member(2))
            assert reader.subscribe((f"{how}{prefix}{name}/old/#", 1)) == [1]
            got = [reader.recv_publish(retain=True).topic for _ in topics]
            assert sorted(got) == sorted(f"{prefix}{name}/{t}" for t in topics)
            assert everything(reader) == []
    for topic in ("old/sealed", "old/open"):
        control(plant, command="deleteTopic", topic=f"{name}/{topic}")
