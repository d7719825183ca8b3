# SPDX-License-Identifier: GPL-3.0-or-later
"""Key spaces: who may do what, envelopes, and both views of a message. docs/control.md is what they must do."""
import json

import pytest
from cryptography import x509

from lib import packets as p
from lib.programs import Mosquitto
from lib.sealing import CONTROL, RESPONSE, Failed, Member, control, fingerprint, load, response

pytestmark = pytest.mark.sealmqd_only("key spaces are ours")

STORES = (0,)
BROKER_OPTIONS = {"topic_admin": "device1", "store": "lmdb", "store_dir": "store", "store_max_size": "64M"}


@pytest.fixture
def admin(connect):
    return connect("admin")


@pytest.fixture
def member(broker, name, pki):
    """member(n, ...): the nth certificate's connection."""
    opened = []

    def make(n=1, suffix="", **connect):
        one = Member(broker, pki.member(n), f"{name}m{n}{suffix}", **connect)
        opened.append(one)
        return one
    yield make
    for one in opened:
        one.mqtt.drop()


def members(*numbers, access="readwrite"):
    return [{"cn": f"member{n}", "access": access} for n in numbers]


# ---- commands

def test_a_space_is_created_shown_listed_and_deleted(admin, name):
    data = control(admin, command="createTopic", topic=name, members=members(1) + members(2, access="read"), sign="required")
    assert data["topic"] == name and data["mode"] == "broker" and data["sign"] == "required" and data["epoch"] == 1
    assert data["owner"] == "device1" and len(data["kid"]) == 16 and data["newMembers"] == "see-past"
    assert [(m["cn"], m["access"], m["since"]) for m in data["members"]] == [("member1", "readwrite", 1), ("member2", "read", 1)]
    assert control(admin, command="getTopic", topic=name) == data
    assert {"topic": name, "mode": "broker", "sign": "required", "owner": "device1", "epoch": 1, "members": 2} in \
        control(admin, command="listTopics")["topics"]
    with pytest.raises(Failed, match=f"^{name}: exists already$"):
        control(admin, command="createTopic", topic=name)
    assert control(admin, command="deleteTopic", topic=name) is None
    with pytest.raises(Failed, match=f"^{name}: there is no such key space$"):
        control(admin, command="getTopic", topic=name)


BAD = [
    ({"topic": "a/+"}, "topic: expected a topic name"), ({"topic": ""}, "topic: expected"), ({"topic": "$SYS/a"}, "topic: expected"),
    ({"topic": 7}, "topic: expected"), ({"mode": "secret"}, "mode: expected broker, open or owner"), ({"mode": 1}, "mode: expected"),
    ({"sign": "yes"}, "sign: expected off, optional or required"), ({"newMembers": "none"}, "newMembers: expected see-past or from-join"),
    ({"mode": "open", "newMembers": "from-join"}, "newMembers: from-join is not for the mode open"),
    ({"members": {}}, "members: expected a list"), ({"members": [{}]}, "members: expected a list"), ({"members": [{"cn": "a/b"}]}, "cn: expected"),
    ({"members": [{"cn": "a", "access": "all"}]}, "access: expected read, write or readwrite"), ({"members": [{"cn": "a", "x": 1}]}, "x: unknown member"),
    ({"members": [{"certificate": "no"}]}, "certificate: expected one certificate in PEM"), ({"rotateAge": -1}, "rotateAge: expected"),
    ({"rotateCount": 1.5}, "rotateCount: expected"), ({"mode": "open", "rotateAge": 1}, "rotateAge: not for the mode open"),
    ({"history": 5}, "history: expected an object"), ({"history": {"count": -1}}, "history: expected"), ({"colour": "red"}, "colour: unknown member"),
]


@pytest.mark.parametrize("wrong, text", BAD, ids=[json.dumps(w) for w, _ in BAD])
def test_what_is_wrong_is_said_and_changes_nothing(admin, name, wrong, text):
    with pytest.raises(Failed) as e:
        control(admin, command="createTopic", **{"topic": name, **wrong})
    assert str(e.value).startswith(text)
    assert name not in [t["topic"] for t in control(admin, command="listTopics")["topics"]]


@pytest.mark.parametrize("payload", [b"", b"{", b"[]", b"null", b'{"commands":1}', b'{"commands":["x"]}', b"\0", b'{"commands":[{"command":"listTopics\\u0000"}]}'])
def test_what_is_no_command_is_answered(admin, payload):
    assert admin.subscribe((RESPONSE, 1)) == [1]
    admin.publish(CONTROL, payload, 1)
    assert response(admin) == {"error": 'expected {"commands": [{"command": …}, …]}'}


def test_an_unknown_command_is_named(admin):
    with pytest.raises(Failed, match="^command: expected createTopic, deleteTopic"):
        control(admin, command="dropAll")


def test_only_an_admin_creates_and_only_who_manages_changes(broker, admin, connect, name, member):
    control(admin, command="createTopic", topic=name, members=members(1))
    mark = broker.log_mark()
    one, stranger = member(1), connect("s", cert="device2")
    with pytest.raises(Failed, match="you may not create key spaces"):
        control(stranger, command="createTopic", topic=name + "x")
    with pytest.raises(Failed, match="there is no such key space"):
        control(stranger, command="addMembers", topic=name, members=[{"cn": "device2"}])
    with pytest.raises(Failed, match="there is no such key space"):
        control(stranger, command="getTopic", topic=name)
    assert control(stranger, command="listTopics") == {"topics": []}
    with pytest.raises(Failed, match="you may not manage it"):
        control(one.mqtt, command="rotateKey", topic=name)
    assert control(one.mqtt, command="getTopic", topic=name)["epoch"] == 1
    broker.wait_log(f"audit: CN 'device2': control denied: you may not create key spaces.* \\(topic '{name}x'\\)", mark)


def test_answers_go_to_the_asker_alone(admin, connect, name):
    other = connect("o", cert="device2")
    assert other.subscribe((RESPONSE, 1), "$CONTROL/#", "$CONTROL/topics/v1") == [1, 0x80, 0x80]
    control(admin, command="listTopics")
    other.ping()
    assert not other.inbox


# ---- membership

def test_membership_rules_over_everything_else(broker, admin, connect, name):
    control(admin, command="createTopic", topic=name, mode="open", members=[{"cn": "device1"}, {"cn": "device3", "access": "read"}])
    mark = broker.log_mark()
    stranger, reader = connect("s", cert="device2"), connect("r", cert="device3")
    assert stranger.subscribe(name, name + "/a", name + "/#", name + "/+/x", "$share/g/" + name, f"$SEALED/{name}", f"$KEYS/{name}", "#", "+/a") == \
        [0x80] * 7 + [0, 0]
    assert reader.subscribe((name + "/#", 1)) == [1]
    stranger.publish(name + "/a", b"no", 1)
    reader.publish(name + "/a", b"no", 1)
    admin.publish(name + "/a", b"yes", 1)
    reader.recv_publish(name + "/a", b"yes")
    admin.publish(name + "z", b"end", 1)  # beside the space
    stranger.recv_publish(name + "z", b"end")
    broker.wait_log(f"audit: CN 'device2' client '{name}s'.* dropped: it is not a member", mark)
    broker.wait_log(f"audit: CN 'device3' client '{name}r'.* dropped: it may only read", mark)
    broker.wait_log(f"audit: CN 'device2' client '{name}s'.* SUBSCRIBE to '{name}' denied", mark)


def test_the_innermost_space_rules_alone(admin, connect, name):
    control(admin, command="createTopic", topic=name, mode="open", members=[{"cn": "device1"}, {"cn": "device2"}])
    control(admin, command="createTopic", topic=name + "/in", mode="open", members=[{"cn": "device1"}, {"cn": "device3"}])
    outer, inner = connect("o", cert="device2"), connect("i", cert="device3")
    assert outer.subscribe(name + "/#", name + "/in/#") == [0, 0x80]
    assert inner.subscribe(name + "/#", name + "/in/#", name) == [0, 0, 0x80]
    admin.publish(name + "/in/a", b"in", 1)
    admin.publish(name + "/a", b"out", 1)
    outer.recv_publish(name + "/a", b"out")
    inner.recv_publish(name + "/in/a", b"in")
    inner.ping()
    assert not inner.inbox


def test_subscriptions_made_before_a_space_bring_nothing_of_it(admin, connect, name):
    other = connect("o", cert="device2", clean=False)
    assert other.subscribe((name + "/#", 1), "#") == [1, 0]
    control(admin, command="createTopic", topic=name, mode="open", members=[{"cn": "device1"}])
    admin.publish(name + "/a", b"no", 1)
    admin.publish(name + "-end", b"end")
    other.recv_publish(name + "-end")


# ---- envelopes and both views

def test_members_get_envelopes_and_both_views_are_one_message(admin, connect, member, name):
    control(admin, command="createTopic", topic=name, members=members(1, 2) + [{"cn": "device1"}])
    topic = name + "/line/1"
    one, two = member(1), member(2)
    assert one.ask_keys(name) == [1] and two.ask_keys(topic) == [1]
    assert two.mqtt.subscribe((f"$SEALED/{name}/#", 1)) == [1]
    assert admin.subscribe((name + "/#", 1)) == [1]
    one.publish(topic, b"sealed by a member")
    m = two.mqtt.recv_publish(f"$SEALED/{topic}", qos=1)
    plain, part = two.open(topic, m.payload)
    assert plain == b"sealed by a member" and part["publisher"] is None and part["sender"] == one.fingerprint[:16]
    admin.recv_publish(topic, b"sealed by a member", qos=1)
    admin.publish(topic, b"plain", 1)
    plain, part = two.open(topic, two.mqtt.recv_publish(f"$SEALED/{topic}").payload)
    assert plain == b"plain" and part["publisher"] == "device1" and part["sender"] == fingerprint(two.issuer)[:16]
    admin.recv_publish(topic, b"plain")


def test_a_session_of_both_views_gets_the_sealed_one(admin, member, name):
    control(admin, command="createTopic", topic=name, members=members(1) + [{"cn": "device1"}])
    one = member(1)
    one.ask_keys(name)
    assert one.mqtt.subscribe((name, 1), (f"$SEALED/{name}", 0)) == [1, 0]
    admin.publish(name, b"x", 1)
    assert one.open(name, one.mqtt.recv_publish(f"$SEALED/{name}").payload)[0] == b"x"
    one.mqtt.ping()
    assert not one.mqtt.inbox


@pytest.mark.parametrize("qos", [0, 1, 2])
@pytest.mark.parametrize("size", [0, 1, 1000, 200000])
def test_every_size_and_qos_passes_both_views(admin, member, name, qos, size):
    control(admin, command="createTopic", topic=name, members=members(1) + [{"cn": "device1"}])
    one = member(1)
    one.ask_keys(name)
    assert one.mqtt.subscribe((f"$SEALED/{name}", 2)) == [2] and admin.subscribe((name, 2)) == [2]
    text = b"z" * size
    one.publish(name, text, qos)
    admin.publish(name, text, qos)
    for _ in range(2):
        assert one.open(name, one.mqtt.recv_publish(f"$SEALED/{name}", qos=qos).payload)[0] == text
        admin.recv_publish(name, text, qos=qos)


REFUSED = {
    "not sealed": lambda m, t: b"plain text",
    "empty": lambda m, t: b"",
    "truncated": lambda m, t: m.seal(t, b"x")[:-1],
    "another sender": lambda m, t: m.seal(t, b"x", sender=bytes(16)),
    "names a publisher": lambda m, t: m.seal(t, b"x", publisher="member2"),
}


@pytest.mark.parametrize("how", REFUSED)
def test_what_would_never_be_good_is_acknowledged_and_dropped(broker, admin, member, name, how):
    control(admin, command="createTopic", topic=name, members=members(1) + [{"cn": "device1"}])
    one = member(1)
    one.ask_keys(name)
    assert admin.subscribe((name, 1), (f"$SEALED/{name}", 1)) == [1, 1]
    mark = broker.log_mark()
    one.mqtt.publish(f"$SEALED/{name}", REFUSED[how](one, name), 1)
    broker.wait_log("audit: CN 'member1'.* dropped:", mark)
    one.publish(name, b"good")
    assert one.open(name, admin.recv_publish(f"$SEALED/{name}").payload)[0] == b"good"


@pytest.mark.parametrize("sign, signed, good", [("required", True, True), ("required", False, False), ("off", True, False), ("off", False, True), ("optional", True, True)])
def test_the_sign_policy_is_kept(admin, member, name, sign, signed, good):
    control(admin, command="createTopic", topic=name, sign=sign, members=members(1) + [{"cn": "device1"}])
    one = member(1)
    one.ask_keys(name)
    admin.subscribe((name, 1), (name + "/end", 1))
    one.publish(name, b"x", signed=signed)
    admin.publish(name, b"plain", 1)  # refused too, where signatures are required
    one.publish(name + "/end", b"end", signed=sign == "required")
    want = ([b"x"] if good else []) + ([] if sign == "required" else [b"plain"]) + [b"end"]
    assert [admin.recv_publish().payload for _ in want] == want


def test_an_unknown_key_ends_the_connection_unacknowledged(admin, member, name):
    control(admin, command="createTopic", topic=name, members=members(1))
    control(admin, command="createTopic", topic=name + "/in", members=members(1))
    one = member(1)
    one.ask_keys(name)
    one.mqtt.send(p.publish(f"$SEALED/{name}/in", one.seal(name + "/in", b"by the parent's key"), 1, pid=9))
    assert one.mqtt.expect_close() == []


def test_an_ec_member_and_another_certificate_get_no_envelope(admin, connect, member, pki, name):
    pem = pki.member(1).crt.read_text()
    control(admin, command="createTopic", topic=name, members=[{"cn": "device2"}, {"certificate": pem}])
    assert connect("e", cert="device2").subscribe(f"$KEYS/{name}") == [0x80]
    with pytest.raises(Failed, match="^certificate: CN 'device1': expected an RSA key"):
        control(admin, command="addMembers", topic=name, members=[{"certificate": pki.device(1).crt.read_text()}])
    foreign = pki.other_authority.issue(name, "member9", kind="rsa2048")
    with pytest.raises(Failed, match="^certificate: CN 'member9': .*unknown"):
        control(admin, command="addMembers", topic=name, members=[{"certificate": foreign.crt.read_text()}])
    twin = pki.authority.issue(name + "twin", "member1", kind="rsa2048")
    other = connect("t", cert=twin)
    assert other.subscribe(f"$KEYS/{name}") == [0x80]
    assert member(1).ask_keys(name) == [1]
    data = control(admin, command="getTopic", topic=name)
    assert [(m["cn"], m["pinned"], m.get("certificate")) for m in data["members"]][1] == ("member1", True, fingerprint(load(pki.member(1).crt)).hex())


def test_certificates_are_for_those_who_share_a_space(broker, admin, connect, member, pki, name):
    control(admin, command="createTopic", topic=name, members=members(1, 2))
    one, two, stranger = member(1), member(2), connect("s", cert=pki.member(3))
    for topic, want in (("$CERTS/member2", two.cert), (f"$CERTS/sha256/{two.fingerprint[:16].hex()}", two.cert),
                        (f"$CERTS/sha256/{fingerprint(one.issuer)[:16].hex()}", one.issuer)):
        one.mqtt.subscribe((topic, 1))
        assert fingerprint(want) == fingerprint(x509.load_der_x509_certificate(one.mqtt.recv_publish(topic, retain=True).payload))
    stranger.subscribe("$CERTS/member2")
    stranger.recv_publish("$CERTS/member2", b"")


def test_retained_messages_and_history_of_both_views(admin, member, connect, name):
    control(admin, command="createTopic", topic=name, members=members(1) + [{"cn": "device1"}, {"cn": "device2"}], history={"count": 10})
    one = member(1)
    one.ask_keys(name)
    one.publish(name + "/r", b"kept", retain=True)
    for i in range(5):
        one.publish(name + "/h", b"s%d" % i)
        admin.publish(name + "/h", b"p%d" % i, 1)
    both = [b"%c%d" % (c, i) for i in range(5) for c in b"sp"]
    plain = connect("p", cert="device2")
    plain.subscribe((name + "/#", 1))
    assert [(m.topic, m.payload, m.retain) for m in (plain.recv_publish() for _ in range(11))] == \
        [(name + "/r", b"kept", True)] + [(name + "/h", t, True) for t in both]
    one.mqtt.subscribe((f"$HISTORY/all/$SEALED/{name}/h", 1))
    got = [one.mqtt.recv_publish(f"$SEALED/{name}/h", retain=True) for _ in both]
    assert [one.open(name + "/h", m.payload)[0] for m in got] == both
    one.mqtt.subscribe((f"$SEALED/{name}/r", 1))
    assert one.open(name + "/r", one.mqtt.recv_publish(f"$SEALED/{name}/r", retain=True).payload)[0] == b"kept"


def test_an_empty_retained_message_clears_in_both_views(admin, member, connect, name):
    control(admin, command="createTopic", topic=name, members=members(1) + [{"cn": "device1"}])
    one = member(1)
    one.ask_keys(name)
    for clear in (lambda: admin.publish(name, b"", 1, retain=True), lambda: one.mqtt.publish(f"$SEALED/{name}", b"", 1, retain=True)):
        one.publish(name, b"kept", retain=True)
        clear()
        late = connect()
        late.subscribe((name, 1), (f"$SEALED/{name}", 1))
        late.ping()
        assert not late.inbox


def test_a_will_is_sealed(admin, member, connect, name):
    control(admin, command="createTopic", topic=name, members=members(1) + [{"cn": "device1"}, {"cn": "device2"}])
    one = member(1)
    one.ask_keys(name)
    one.mqtt.subscribe((f"$SEALED/{name}/+", 1))
    gone = connect("w", cert="device2", will=(name + "/will", b"gone", 1, False))
    gone.drop()
    plain, part = one.open(name + "/will", one.mqtt.recv_publish(f"$SEALED/{name}/will").payload)
    assert plain == b"gone" and part["publisher"] == "device2"


def test_shared_subscriptions_of_both_views(admin, member, connect, name):
    control(admin, command="createTopic", topic=name, members=members(1) + [{"cn": "device1"}, {"cn": "device2"}])
    one, plain = member(1), connect("p", cert="device2")
    one.ask_keys(name)
    assert one.mqtt.subscribe((f"$share/g/$SEALED/{name}", 1)) == [1] and plain.subscribe((f"$share/g/{name}", 1)) == [1]
    admin.publish(name, b"x", 1)
    assert one.open(name, one.mqtt.recv_publish(f"$SEALED/{name}").payload)[0] == b"x"
    plain.recv_publish(name, b"x")


def test_mosquitto_clients_use_the_plain_view(broker, admin, member, pki, name):
    control(admin, command="createTopic", topic=name, members=members(1, 2))
    one = member(1)
    one.ask_keys(name)
    tools = Mosquitto(broker, pki.member(2))
    try:
        sub = tools.sub("-t", name, "-C", "1", "-q", "1")
        one.publish(name, b"to mosquitto_sub")
        assert sub.finish() == ["to mosquitto_sub"]
        one.mqtt.subscribe((f"$SEALED/{name}", 1))
        tools.pub("-t", name, "-m", "from mosquitto_pub", "-q", "1")
        plain, part = one.open(name, one.mqtt.recv_publish(f"$SEALED/{name}").payload)
        assert plain == b"from mosquitto_pub" and part["publisher"] == "member2"
    finally:
        tools.close()
