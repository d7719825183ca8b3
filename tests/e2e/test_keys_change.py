# SPDX-License-Identifier: GPL-3.0-or-later
"""Key spaces while they change: rotation, removal, joining, restart and crash, with publishers at full rate on both views."""
import json
import subprocess
import threading
import time

import pytest

from lib import env
from lib import packets as p
from lib.client import Closed
from lib.sealing import Failed, Member, control

pytestmark = pytest.mark.sealmqd_only("key spaces are ours")

OPTIONS = {"topic_admin": "device1", "store": "lmdb", "store_dir": "store", "store_max_size": "64M"}


@pytest.fixture(params=["1", "2"])
def broker(start_broker, request):
    return start_broker({**OPTIONS, "threads": request.param})


def members(*numbers):
    return [{"cn": f"member{n}"} for n in numbers] + [{"cn": "device1"}, {"cn": "device2"}]


def crash(broker):
    broker.process.kill()
    broker.process.wait()
    return broker.start()


def test_a_rotation_brings_the_envelope_before_its_messages_and_keeps_the_old_epoch_for_a_while(broker, pki):
    admin = broker.client("admin")
    control(admin, command="createTopic", topic="t", members=members(1, 2))
    one, two = Member(broker, pki.member(1), "one"), Member(broker, pki.member(2), "two")
    one.ask_keys("t")
    two.ask_keys("t")
    two.mqtt.subscribe(("$SEALED/t/#", 1))
    old = one.newest
    assert control(admin, command="rotateKey", topic="t") == {"epoch": 2}
    assert one.open_envelope(one.mqtt.recv_publish("$KEYS/t", retain=False).payload) == [2, 1]
    admin.publish("t/a", b"new, plain", 1)
    one.publish("t/a", b"new, sealed")
    one.publish("t/a", b"old, sealed", kid=old)
    assert two.mqtt.wait_for(p.PUBLISH).topic == "$KEYS/t", "nothing of the new epoch comes before it"
    two.keys = dict(one.keys)
    got = [two.mqtt.recv_publish("$SEALED/t/a").payload for _ in range(3)]
    assert [two.open("t/a", m)[0] for m in got] == [b"new, plain", b"new, sealed", b"old, sealed"]


def test_what_a_removed_member_sees(broker, pki):
    admin = broker.client("admin")
    control(admin, command="createTopic", topic="t", members=members(1, 2))
    gone, stays = Member(broker, pki.member(1), "gone", clean=False), Member(broker, pki.member(2), "stays")
    gone.ask_keys("t")
    stays.ask_keys("t")
    assert gone.mqtt.subscribe(("$SEALED/t", 1), ("t", 1), ("other", 1)) == [1, 1, 1]
    stays.mqtt.subscribe(("$SEALED/t", 1))
    assert control(admin, command="removeMember", topic="t", cn="member1") == {"epoch": 2}
    assert stays.open_envelope(stays.mqtt.recv_publish("$KEYS/t").payload) == [2, 1]
    admin.publish("t", b"secret", 1)
    admin.publish("other", b"end", 1)
    gone.mqtt.recv_publish("other", b"end")
    assert stays.open("t", stays.mqtt.recv_publish("$SEALED/t").payload)[0] == b"secret"
    assert gone.mqtt.subscribe("$KEYS/t", "t", "$SEALED/t") == [0x80] * 3
    gone.mqtt.disconnect()
    again = broker.client("gone", cert=pki.member(1), clean=False)  # the store has forgotten its subscriptions, too
    admin.publish("t", b"secret", 1)
    admin.publish("other", b"end", 1)
    again.recv_publish("other", b"end")
    with pytest.raises(Failed, match="^t: 'member1' is not a member$"):
        control(admin, command="removeMember", topic="t", cn="member1")


def test_a_publish_under_the_old_epoch_is_not_acknowledged_after_a_removal(broker, pki):
    admin = broker.client("admin")
    control(admin, command="createTopic", topic="t", members=members(1, 2))
    one = Member(broker, pki.member(1), "one")
    one.ask_keys("t")
    late = one.seal("t", b"under the old key")
    control(admin, command="removeMember", topic="t", cn="member2")
    one.mqtt.send(p.publish("$SEALED/t", late, 1, pid=7))
    assert [m.topic for m in one.mqtt.expect_close() if m.type == p.PUBLISH] == ["$KEYS/t"]
    one = Member(broker, pki.member(1), "one")
    assert one.ask_keys("t") == [2, 1]
    one.publish("t", b"sealed again")


@pytest.mark.parametrize("join, epochs, texts", [("see-past", [1], [b"0", b"1"]), ("from-join", [2], [b"1"])])
def test_a_new_member_gets_the_past_or_not(broker, pki, join, epochs, texts):
    admin = broker.client("admin")
    control(admin, command="createTopic", topic="t", members=members(), newMembers=join, history={"count": 10})
    admin.publish("t", b"0", 1, retain=True)
    assert control(admin, command="addMembers", topic="t", members=[{"cn": "member1"}]) == {"epoch": epochs[0]}
    admin.publish("t", b"1", 1)
    one = Member(broker, pki.member(1), "one")
    assert one.ask_keys("t") == epochs
    one.mqtt.subscribe(("$SEALED/t", 1))
    assert [one.open("t", one.mqtt.recv_publish("$SEALED/t", retain=True).payload)[0] for _ in texts] == texts
    one.mqtt.subscribe(("t", 1))
    assert [one.mqtt.recv_publish("t", retain=True).payload for _ in texts] == texts
    one.mqtt.ping()
    assert not one.mqtt.inbox


class Publisher(threading.Thread):
    """Numbers at full rate, each until it is acknowledged; sealing ones take new envelopes as they come, and seal again when refused."""

    def __init__(self, broker, cert, client_id, sealing):
        super().__init__(daemon=True)
        self.broker, self.cert, self.client_id, self.sealing = broker, cert, client_id, sealing
        self.stopping, self.sent, self.refused, self.error = threading.Event(), 0, 0, None

    def run(self):
        try:
            self.publish_all()
        except Exception as e:  # pylint: disable=broad-except
            self.error = e

    def publish_all(self):
        one = self.connected()
        while not self.stopping.is_set():
            text = f"{self.client_id} {self.sent}".encode()
            try:
                if self.sealing:
                    for m in [m for m in one.mqtt.inbox if m.type == p.PUBLISH]:
                        one.mqtt.inbox.remove(m)
                        one.open_envelope(m.payload)
                    one.publish("t/x", text)
                else:
                    one.publish("t/x", text, 1)
                self.sent += 1
            except Closed:
                self.refused += 1
                one = self.connected()

    def connected(self):
        if not self.sealing:
            return self.broker.client(self.client_id, self.cert)
        one = Member(self.broker, self.cert, self.client_id)
        one.ask_keys("t", retain=None)
        return one

    def finish(self):
        self.stopping.set()
        self.join()
        if self.error:
            raise self.error
        return [f"{self.client_id} {i}".encode() for i in range(self.sent)]


def test_removals_and_rotations_under_load_lose_nothing_for_those_who_stay(broker, pki):
    admin = broker.client("admin")
    control(admin, command="createTopic", topic="t", members=members(1, 2, 3, 4))
    gone, sealed = Member(broker, pki.member(1), "gone"), Member(broker, pki.member(2), "sealed")
    plain = broker.client("plain", cert="device2")
    for one in (gone, sealed):
        one.ask_keys("t")
        one.mqtt.subscribe(("$SEALED/t/#", 1))
    plain.subscribe(("t/#", 1))
    publishers = [Publisher(broker, pki.member(3), "s", True), Publisher(broker, pki.device(1), "p", False)]
    received, of_gone = {"sealed": [], "plain": []}, []
    stop = threading.Event()
    for one in publishers:
        one.start()

    def read():
        while True:
            m = sealed.mqtt.recv_publish()
            if m.topic == "$KEYS/t":
                sealed.open_envelope(m.payload)
                continue
            text = sealed.open("t/x", m.payload)[0]
            if text == b"end":
                return
            received["sealed"].append(text)

    def read_plain():
        while (m := plain.recv_publish()).payload != b"end":
            received["plain"].append(m.payload)

    def read_gone():
        while not stop.is_set():
            m = gone.mqtt.recv_publish()
            if m.topic == "z/end":
                return
            of_gone.append(m)
    readers = [threading.Thread(target=f, daemon=True) for f in (read, read_plain, read_gone)]
    gone.mqtt.subscribe("z/end")
    for r in readers:
        r.start()
    def let_them(n=10):
        """Each publisher goes on for so many messages."""
        targets = [one.sent + n for one in publishers]
        while any(one.sent < t and not one.error for one, t in zip(publishers, targets)):
            time.sleep(0.001)
    for _ in range(5):
        let_them()
        control(admin, command="rotateKey", topic="t")
    let_them()
    epoch = control(admin, command="removeMember", topic="t", cn="member1")["epoch"]
    mark = len(of_gone)
    for _ in range(5):
        let_them()
        control(admin, command="rotateKey", topic="t")
    sent = [one.finish() for one in publishers]
    admin.publish("t/x", b"end", 1)
    admin.publish("z/end", b"", 1)
    for r in readers:
        r.join()
    assert epoch == 7 and sent[0] and sent[1]
    for texts in received.values():
        assert [t for t in texts if t.startswith(b"p")] == sent[1]
        sealed_texts = [t for t in texts if t.startswith(b"s")]
        assert list(dict.fromkeys(sealed_texts)) == sent[0], "all, in order; one that was not acknowledged may come twice"
    for m in of_gone[mark:]:
        assert m.topic != "$KEYS/t"
    kids = {epoch_of["epoch"]: kid for kid, (_, epoch_of) in sealed.keys.items()}
    newer = {kid for number, kid in kids.items() if number >= epoch}
    from lib.sealing import formats
    assert not [m for m in of_gone if m.topic == "$SEALED/t/x" and formats.parse(m.payload)["kid"] in newer]


def test_all_of_it_outlives_kill_9(broker, pki):
    admin = broker.client("admin")
    control(admin, command="createTopic", topic="t", sign="optional", members=members(1), history={"count": 100}, newMembers="from-join")
    one = Member(broker, pki.member(1), "one", clean=False)
    one.ask_keys("t")
    one.mqtt.subscribe(("$SEALED/t", 1))
    one.mqtt.disconnect()
    admin.publish("t", b"before", 1, retain=True)
    control(admin, command="rotateKey", topic="t")
    control(admin, command="addMembers", topic="t", members=[{"cn": "member2"}])
    shown = control(admin, command="getTopic", topic="t")
    broker = crash(broker)
    admin = broker.client("admin")
    assert control(admin, command="getTopic", topic="t") == shown
    one.mqtt = broker.client("one", cert=pki.member(1), clean=False)
    seen = {}
    for _ in range(2):  # its subscription to $KEYS is the session's: the envelope comes by itself
        m = one.mqtt.recv_publish()
        seen[m.topic] = m
    assert one.open_envelope(seen["$KEYS/t"].payload) == [3, 2, 1]
    assert one.open("t", seen["$SEALED/t"].payload)[0] == b"before"
    plain = broker.client("plain", cert="device2")
    plain.subscribe(("t", 1))
    plain.recv_publish("t", b"before", retain=True)
    one.publish("t", b"after")
    plain.recv_publish("t", b"after")
    control(admin, command="deleteTopic", topic="t")
    broker = crash(broker)
    assert control(broker.client("admin"), command="listTopics") == {"topics": []}


def test_another_master_key_opens_the_same_key_spaces(broker, pki):
    admin = broker.client("admin")
    control(admin, command="createTopic", topic="t", members=members(1), history={"count": 10})
    control(admin, command="createTopic", topic="u", members=members(1))
    admin.publish("t", b"before", 1)
    broker.stop()
    subprocess.run([str(env.SEALMQD), "-c", str(broker.config_path), "--rotate-master-key"], cwd=broker.dir, check=True, capture_output=True)
    broker.start()
    one = Member(broker, pki.member(1), "one")
    assert one.ask_keys("u") == [1] and one.ask_keys("t") == [1]
    one.mqtt.subscribe(("$SEALED/t", 1), ("t/x", 1))
    assert one.open("t", one.mqtt.recv_publish("$SEALED/t", retain=True).payload)[0] == b"before"
    one.publish("t/x", b"after")
    one.mqtt.recv_publish("t/x", b"after")


def test_an_answered_command_is_on_disk(broker):
    """Each answer is followed by a crash at once."""
    for i in range(5):
        control(broker.client("admin"), command="createTopic", topic=f"t{i}")
        broker = crash(broker)
    assert len(control(broker.client("admin"), command="listTopics")["topics"]) == 5


def test_the_store_holds_neither_text_nor_root(broker, pki):
    admin = broker.client("admin")
    control(admin, command="createTopic", topic="t", members=members(1), history={"count": 10})
    one = Member(broker, pki.member(1), "one")
    one.ask_keys("t")
    admin.publish("t", b"a text that is nowhere on the disk", 1, retain=True)
    broker.stop()
    data = (broker.dir / "store/data.mdb").read_bytes()
    assert b"nowhere on the disk" not in data and b"t" in data
    for key, _ in one.keys.values():
        assert key not in data and key.hex().encode() not in data


def test_epochs_turn_by_count_and_by_age(broker, pki):
    admin = broker.client("admin")
    control(admin, command="createTopic", topic="c", members=members(1), rotateCount=10)
    control(admin, command="createTopic", topic="a", members=members(1), rotateAge=1)
    one = Member(broker, pki.member(1), "one")
    one.ask_keys("c")
    for i in range(10):
        admin.publish("c", str(i), 1)
    assert one.open_envelope(one.mqtt.recv_publish("$KEYS/c", retain=False).payload) == [2, 1]
    one.mqtt.subscribe(("$KEYS/a", 1))
    newest = [one.open_envelope(one.mqtt.recv_publish("$KEYS/a", retain=None).payload)[0] for _ in range(3)]
    assert newest[-1] > newest[0] and all(b - a in (0, 1) for a, b in zip(newest, newest[1:]))  # the first may be asked for while one is turned


def test_a_history_set_later_is_kept_from_then_on(broker):
    admin = broker.client("admin")
    control(admin, command="createTopic", topic="t", members=members())
    admin.publish("t", b"0", 1)
    assert control(admin, command="setHistory", topic="t", history={"count": 2}) is None
    assert control(admin, command="getTopic", topic="t")["history"] == {"count": 2}
    for text in (b"1", b"2", b"3"):
        admin.publish("t", text, 1)
    late = broker.client("late", cert="device2")
    late.subscribe(("t", 1))
    assert [late.recv_publish("t", retain=True).payload for _ in range(2)] == [b"2", b"3"]


def test_many_commands_in_one_message_are_answered_in_order(broker):
    from lib.sealing import CONTROL, RESPONSE
    admin = broker.client("admin")
    admin.subscribe((RESPONSE, 1))
    commands = [{"command": "createTopic", "topic": "t"}, {"command": "rotateKey", "topic": "t"}, {"command": "rotateKey", "topic": "u"},
                {"command": "deleteTopic", "topic": "t"}]
    admin.publish(CONTROL, json.dumps({"commands": commands}), 2)
    answers = json.loads(admin.recv_publish(RESPONSE).payload)["responses"]
    assert [a["command"] for a in answers] == [c["command"] for c in commands]
    assert answers[1]["data"] == {"epoch": 2} and answers[2]["error"] == "u: there is no such key space" and "error" not in answers[3]
