# SPDX-License-Identifier: GPL-3.0-or-later
"""Key spaces from the configuration: docs/control.md says what a topics_file does."""
import json
import subprocess

import pytest

from lib import env
from lib.sealing import Failed, Member, control

pytestmark = pytest.mark.sealmqd_only("key spaces are ours")

OPEN = "topic open\nmode open\nmember readwrite device1\nmember read device2\n"
SEALED = "topic sealed\nhistory 100\nmember readwrite device1\nmember readwrite member1\n"


@pytest.fixture
def topics(tmp_path):
    return tmp_path / "topics.conf"


@pytest.fixture
def start(start_broker, topics, tmp_path):
    """A broker on a store of its own with that topics_file."""
    def run(text, **options):
        topics.write_text(text)
        return start_broker({"topics_file": topics, "topic_admin": "device3", "store": "lmdb", "store_dir": tmp_path / "store", "store_max_size": "64M",
                             **options})
    return run


def shown(broker, topic):
    admin = broker.client("admin", cert="device3")
    data = control(admin, command="getTopic", topic=topic)
    admin.disconnect()
    return data


def reload(broker, topics, text):
    """Returns what the log says; the key spaces are as declared."""
    topics.write_text(text)
    log = broker.reload()
    shown(broker, "open")  # commands are done after it
    return log


def restart(broker, how="terminate"):
    getattr(broker, how)()
    broker.start()
    return broker


def test_declared_spaces_are_there_when_the_first_client_connects(start):
    broker = start(OPEN + SEALED)
    a, b = broker.client("a"), broker.client("b", cert="device2")
    assert a.subscribe(("open/#", 1), ("sealed", 1)) == [1, 1]
    assert b.subscribe("open/x", "sealed") == [0, 0x80]
    b.publish("open/x", b"no", 1)
    a.publish("open/x", b"yes", 1)
    b.recv_publish("open/x", b"yes")
    a.recv_publish("open/x", b"yes")
    data = shown(broker, "sealed")
    assert data["declared"] and data["owner"] == "" and data["mode"] == "broker" and data["epoch"] == 1 and data["history"] == {"count": 100}
    broker.wait_log("audit: topic created: topics_file: mode open, sign optional, 2 members \\(topic 'open'\\)")


def test_members_read_and_write_sealed_and_plain(start, pki):
    broker = start(OPEN + SEALED)
    a, one = broker.client("a"), Member(broker, pki.member(1), "m1")
    assert a.subscribe(("sealed/#", 1)) == [1] and one.ask_keys("sealed") == [1]
    assert one.mqtt.subscribe(("$SEALED/sealed/#", 1)) == [1]
    one.publish("sealed/a", b"sealed")
    a.recv_publish("sealed/a", b"sealed", qos=1)
    assert one.open("sealed/a", one.mqtt.recv_publish("$SEALED/sealed/a").payload)[0] == b"sealed"
    a.publish("sealed/a", b"plain", 1)
    assert one.open("sealed/a", one.mqtt.recv_publish("$SEALED/sealed/a").payload)[0] == b"plain"


def test_a_reload_adds_members_and_removes_them(start, pki, topics):
    broker = start(OPEN + SEALED)
    one = Member(broker, pki.member(1), "m1")
    one.ask_keys("sealed")
    assert one.mqtt.subscribe(("$SEALED/sealed/#", 1)) == [1]
    reload(broker, topics, OPEN + SEALED + "member readwrite member2\n")
    assert broker.wait_log("members added: topics_file: 1 more, 0 changed, now 3 \\(topic 'sealed'\\)")
    two = Member(broker, pki.member(2), "m2")
    assert two.ask_keys("sealed") == [1]  # see-past: nothing was turned
    assert two.mqtt.subscribe(("$SEALED/sealed/#", 1)) == [1]
    reload(broker, topics, OPEN + SEALED.replace("member readwrite member1\n", "") + "member readwrite member2\n")
    assert broker.wait_log("member removed: topics_file: 'member1' \\(topic 'sealed'\\)")
    assert two.open_envelope(two.mqtt.recv_publish("$KEYS/sealed", retain=False).payload) == [2, 1]
    two.publish("sealed/x", b"without member1")
    assert two.open("sealed/x", two.mqtt.recv_publish("$SEALED/sealed/x").payload)[0] == b"without member1"
    one.mqtt.ping()
    assert not one.mqtt.inbox
    assert one.mqtt.subscribe("$SEALED/sealed/x", "$KEYS/sealed", "sealed/#") == [0x80] * 3
    assert shown(broker, "sealed")["epoch"] == 2


def test_from_join_turns_the_epoch_for_who_is_new(start, topics, pki):
    text = OPEN + SEALED + "new_members from-join\n"
    broker = start(text)
    reload(broker, topics, text + "member read member2\n")
    data = shown(broker, "sealed")
    assert data["epoch"] == 2 and [(m["cn"], m["since"]) for m in data["members"]] == [("device1", 1), ("member1", 1), ("member2", 2)]
    assert Member(broker, pki.member(2), "m2").ask_keys("sealed") == [2]


def test_settings_follow_and_access_too(start, topics):
    broker = start(OPEN + SEALED)
    b = broker.client("b", cert="device2")
    reload(broker, topics, OPEN.replace("read device2", "readwrite device2") + SEALED.replace("history 100", "history 5\nhistory_age 1h\nrotate_age 2d"))
    data = shown(broker, "sealed")
    assert data["history"] == {"count": 5, "age": 3600} and data["rotateAge"] == 172800 and data["epoch"] == 1
    assert b.subscribe(("open", 1)) == [1]
    b.publish("open", b"may now", 1)
    b.recv_publish("open", b"may now")
    assert broker.wait_log("history set: topics_file \\(topic 'sealed'\\)")


def test_a_reload_that_changes_nothing_changes_nothing(start, topics):
    broker = start(OPEN + SEALED)
    before = shown(broker, "sealed")
    log = reload(broker, topics, "# the same in another order\n" + SEALED + OPEN)
    assert shown(broker, "sealed") == before
    assert not [line for line in log.splitlines() if "audit: " in line and "members added" in line or "history set" in line or "removed" in line]


BAD = {
    "syntax": (SEALED + "member device9\n", "topics.conf:5: member: \"device9\"; expected read, write or readwrite, then a common name"),
    "mode": (SEALED + "mode open\n", "topics.conf:1: topic: sealed exists with another mode \\(mode broker, sign optional, owner ''\\)"),
    "sign": (SEALED + "sign required\n", "topics.conf:1: topic: sealed exists with another sign"),
    "certificate": (SEALED + "member_certificate read gone.crt\n", "topics.conf:5: member_certificate: cannot be read"),
}


@pytest.mark.parametrize("why", BAD)
def test_a_bad_file_changes_nothing_and_is_named(start, topics, why):
    broker = start(OPEN + SEALED)
    before = shown(broker, "sealed"), shown(broker, "open")
    text, said = BAD[why]
    topics.write_text(text)
    mark = broker.log_mark()
    broker.reload(good=False)
    assert broker.wait_log(said, mark)
    assert (shown(broker, "sealed"), shown(broker, "open")) == before
    broker.client("b", cert="device2").subscribe("open")


def test_a_bad_file_stops_the_start_and_check_config_says_so(start, start_broker, topics, tmp_path):
    topics.write_text("topic a\nmode secret\n")
    broker = start_broker({"topics_file": topics}, wait=False)
    assert broker.process.wait(env.TIMEOUT_S) != 0
    assert "topics.conf:2: mode: \"secret\"; expected open, broker or owner" in broker.log()
    broker.kill()
    check = [env.SEALMQD, "--check-config", "-c", broker.config_path]
    run = subprocess.run(check, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert run.returncode != 0 and "topics.conf:2: mode:" in run.stderr
    topics.write_text("topic a\n")
    assert subprocess.run(check, capture_output=True, text=True, cwd=tmp_path, check=False).returncode == 0


@pytest.mark.parametrize("how", ["terminate", "kill"])
def test_a_restart_keeps_the_keys(start, pki, how):
    broker = start(OPEN + SEALED)
    one = Member(broker, pki.member(1), "m1")
    one.ask_keys("sealed")
    one.publish("sealed/a", b"before")
    before, keys = shown(broker, "sealed"), dict(one.keys)
    restart(broker, how)
    assert shown(broker, "sealed") == before
    one = Member(broker, pki.member(1), "m1")
    assert one.ask_keys("sealed") == [1] and {k: v[0] for k, v in one.keys.items()} == {k: v[0] for k, v in keys.items()}
    assert one.mqtt.subscribe(("$SEALED/sealed/#", 1)) == [1]
    assert one.open("sealed/a", one.mqtt.recv_publish("$SEALED/sealed/a", retain=True).payload)[0] == b"before"


def test_what_changed_while_it_was_down_is_in_force_before_anybody_connects(start, pki, topics):
    broker = start(OPEN + SEALED + "member readwrite member2\n")
    one = Member(broker, pki.member(1), "m1", clean=False)
    one.ask_keys("sealed")
    assert one.mqtt.subscribe(("$SEALED/sealed/#", 1)) == [1]
    one.mqtt.disconnect()
    two = Member(broker, pki.member(2), "m2")
    two.ask_keys("sealed")
    two.publish("sealed/x", b"queued for member1")
    broker.terminate()
    topics.write_text(OPEN + SEALED.replace("member readwrite member1\n", "") + "member readwrite member2\n")
    broker.start()
    assert broker.wait_log("member removed: topics_file: 'member1' \\(topic 'sealed'\\)")
    two = Member(broker, pki.member(2), "m2")
    assert two.ask_keys("sealed") == [2, 1]
    two.publish("sealed/x", b"new")
    one = Member(broker, pki.member(1), "m1", clean=False)
    one.mqtt.ping()
    assert not one.mqtt.inbox
    assert one.mqtt.subscribe("$SEALED/sealed/x") == [0x80]


def test_commands_do_not_contradict_the_file(start, topics):
    broker = start(OPEN + SEALED)
    admin = broker.client("a", cert="device3")
    for command in ({"command": "deleteTopic"}, {"command": "addMembers", "members": []}, {"command": "removeMember", "cn": "member1"},
                    {"command": "setHistory", "history": {}}):
        with pytest.raises(Failed, match="^sealed: the topics_file declares it: change it there$"):
            control(admin, topic="sealed", **command)
    with pytest.raises(Failed, match="^sealed: exists already$"):
        control(admin, command="createTopic", topic="sealed")
    assert control(admin, command="rotateKey", topic="sealed") == {"epoch": 2}  # says nothing else than the file


def test_a_space_that_the_file_no_longer_declares_stays(start, topics):
    broker = start(OPEN + SEALED)
    before = shown(broker, "sealed")
    reload(broker, topics, OPEN)
    assert broker.wait_log("no longer declares the key space 'sealed': it stays as it is")
    assert before.pop("declared") and shown(broker, "sealed") == before
    admin = broker.client("a", cert="device3")
    assert control(admin, command="deleteTopic", topic="sealed") is None
    reload(broker, topics, OPEN + SEALED)
    assert shown(broker, "sealed")["kid"] != before["kid"]


def test_a_space_of_a_command_is_taken_over(start, topics):
    broker = start(OPEN)
    admin = broker.client("a", cert="device3")
    made = control(admin, command="createTopic", topic="sealed", members=[{"cn": "member1"}, {"cn": "member2"}])
    reload(broker, topics, OPEN + SEALED)
    data = shown(broker, "sealed")
    assert [m["cn"] for m in data["members"]] == ["device1", "member1"] and data["created"] == made["created"]
    assert data["epoch"] == 2 and data["owner"] == ""  # member2 is gone, so the epoch was turned


def test_a_member_by_certificate_is_that_certificate_alone(start, topics, pki):
    one = pki.member(1)
    broker = start(OPEN + f"topic sealed\nmember_certificate readwrite {one.crt}\n")
    data = shown(broker, "sealed")
    assert data["members"][0]["cn"] == "member1" and data["members"][0]["pinned"] and len(data["members"][0]["certificate"]) == 64
    assert Member(broker, one, "m1").ask_keys("sealed") == [1]


def test_a_mode_owner_space_is_its_owners(start, topics):
    broker = start(OPEN + "topic e2e\nmode owner\nowner device1\nsign required\nmember readwrite member1\n")
    owner = broker.client("o")
    data = control(owner, command="getTopic", topic="e2e")
    assert data["mode"] == "owner" and data["owner"] == "device1" and data["epoch"] == 0 and "pending" in data
    with pytest.raises(Failed, match="^epoch: expected the first epoch, 1$"):  # it is heard, and its upload judged
        control(owner, command="putEnvelopes", topic="e2e", epoch=7, kid="00" * 8, envelopes=[])
    topics.write_text(OPEN + "topic e2e\nmode owner\nowner device2\nsign required\n")
    broker.reload(good=False)
    assert broker.wait_log("topic: e2e exists with another owner")


def test_reload_on_change_sees_the_file(start, topics):
    broker = start(OPEN + SEALED, reload_on_change="true")
    mark = broker.log_mark()
    topics.write_text(OPEN + SEALED + "member read device2\n")
    broker.wait_log("members added: topics_file: 1 more", mark)
    assert "device2" in json.dumps(shown(broker, "sealed"))
