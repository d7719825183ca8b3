"""The acl_file at work: who may subscribe, publish and be sent what."""
import subprocess

import pytest

from lib import env
from lib import packets as p

pytestmark = pytest.mark.sealmqd_only("denied subscriptions are refused, groups are ours")

ACL_FILE = env.ROOT / "tests/e2e/data/acl.conf"
BROKER_OPTIONS = {"acl_file": ACL_FILE}


def collect(c, last):
    """Topics until the one whose payload is `last`."""
    topics = []
    while True:
        m = c.recv_publish()
        if m.payload == last:
            return topics
        topics.append(m.topic)


def test_denied_subscriptions_get_0x80(connect):
    c = connect(cert="device2")
    assert c.subscribe("plant/#", "plant/secret/#", "plant/secret/a", "other/#", "devices/device2/#", "devices/device1/#", "#", "$SYS/#", "$SYS/broker/#") == \
        [0, 0x80, 0x80, 0x80, 0, 0x80, 0, 0, 0x80]


def test_shared_subscriptions_are_judged_by_their_inner_filter(connect):
    c = connect(cert="device2")
    assert c.subscribe("$share/g/plant/a", "$share/g/plant/secret/a", "$share/g/other") == [0, 0x80, 0x80]


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_a_deny_inside_an_allowed_wildcard_holds_at_delivery(connect, name, qos):
    a, b = connect("a"), connect("b", cert="device2")
    assert b.subscribe(("plant/#", qos)) == [qos]
    for _ in range(3):
        a.publish(f"plant/secret/{name}", b"no", qos)
        a.publish(f"plant/{name}", b"yes", qos)
    a.publish("plant/end", b"end", qos)
    assert collect(b, b"end") == [f"plant/{name}"] * 3


@pytest.mark.parametrize("clean", [True, False])
def test_what_is_withheld_takes_no_place_in_the_window(connect, name, clean):
    """Also for the store: a persistent session's queue holds nothing that may never leave."""
    a, b = connect("a"), connect("b", cert="device2", clean=clean)
    b.subscribe(("plant/#", 2))
    for qos in (1, 2):
        for _ in range(30):  # more than the window of 20
            a.publish(f"plant/secret/{name}", b"no", qos)
    a.publish("plant/end", b"end", 2)
    assert collect(b, b"end") == []
    b.disconnect()
    if not clean:
        again = connect("b", cert="device2", clean=False)
        a.publish("plant/end", b"end", 1)
        assert collect(again, b"end") == []


def test_an_absent_persistent_session_gets_what_it_may(connect, name):
    a, b = connect("a"), connect("b", cert="device2", clean=False)
    b.subscribe(("plant/#", 1))
    b.disconnect()
    for i in range(4):
        a.publish(f"plant/secret/{name}", b"no", 1)
        a.publish(f"plant/{name}/{i}", b"yes", 1)
    a.publish("plant/end", b"end", 1)
    b = connect("b", cert="device2", clean=False)
    assert collect(b, b"end") == [f"plant/{name}/{i}" for i in range(4)]


def test_retained_messages_are_judged(connect, name):
    a, b = connect("a"), connect("b", cert="device2")
    a.publish(f"plant/secret/{name}", b"no", 1, retain=True)
    a.publish(f"plant/{name}", b"yes", 1, retain=True)
    b.subscribe(("plant/#", 1))
    a.publish("plant/end", b"end", 1)
    assert f"plant/{name}" in (got := collect(b, b"end")) and not [t for t in got if "secret" in t]
    for topic in (f"plant/secret/{name}", f"plant/{name}"):
        a.publish(topic, b"", 1, retain=True)


def test_the_member_of_a_shared_subscription_that_may_gets_it(connect, name):
    a, b, c = connect("a"), connect("b", cert="device4"), connect("c", cert="device3")
    for one in (b, c):
        assert one.subscribe((f"$share/{name}/plant/#", 1)) == [1]
    for i in range(6):
        a.publish(f"plant/secret/{name}", str(i), 1)
    assert sorted(c.recv_payloads(6)) == [b"0", b"1", b"2", b"3", b"4", b"5"]
    b.ping()
    assert not b.inbox


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_a_denied_publish_is_acknowledged_and_dropped(broker, connect, name, qos):
    a, b = connect("a"), connect("b", cert="device2")
    a.subscribe(("#", 2))
    mark = broker.log_mark()
    b.publish(f"denied/{name}", b"x", qos, retain=True)
    b.publish("plant/out", b"end", qos)
    assert f"denied/{name}" not in collect(a, b"end")
    broker.wait_log(rf"device2.*PUBLISH to 'denied/{name}' denied", mark)
    c = connect("c")
    c.subscribe((f"denied/{name}", 0))
    c.ping()
    assert not c.inbox  # nor retained


def test_denied_publishes_are_counted(broker, connect, name):
    a, b = connect("a"), connect("b", cert="device2")
    topic = "$SYS/broker/publish/messages/denied"
    a.subscribe(topic)
    first = int(a.recv_publish(topic).payload)
    for _ in range(3):
        b.publish(f"denied/{name}", b"x", 1)
    for _ in range(12):
        if int(a.recv_publish(topic).payload) >= first + 3:
            return
    pytest.fail("the counter does not follow")


def test_patterns_name_the_client(connect, name):
    a, b = connect("a"), connect("b", cert="device2")
    client_id = name + "b"
    a.subscribe(("devices/#", 0), ("ids/#", 0))
    for topic in ("devices/device2/x", "devices/device1/x", f"ids/{client_id}/up", f"ids/{name}/up"):
        b.publish(topic, b"x", 1)
    b.publish("devices/device2/end", b"end", 1)
    assert collect(a, b"end") == ["devices/device2/x", f"ids/{client_id}/up"]
    assert b.subscribe(f"mixed/device2-{client_id}", f"mixed/device2-{name}") == [0, 0x80]


def test_wills_are_judged_when_published(broker, connect, name):
    a = connect("a")
    a.subscribe(("#", 1))
    mark = broker.log_mark()
    connect("b", cert="device2", will=(f"denied/{name}", b"no", 1)).drop()
    broker.wait_log(rf"will on 'denied/{name}' is denied", mark)
    connect("c", cert="device2", will=("plant/out", b"yes", 1)).drop()
    assert f"denied/{name}" not in collect(a, b"yes")
    connect("d", cert="device2", will=(f"ids/{name}d/up", b"id", 1)).drop()
    collect(a, b"id")


def test_health_appears_under_its_senders_name(connect, name):
    a, b = connect("a"), connect("b", cert="device2")
    assert b.subscribe("$SYS/health/#") == [0]
    a.publish("$SYS/health", name, 1)
    b.recv_publish("$SYS/health/device1", name)
    connect("c", will=("$SYS/health", name + "will", 0)).drop()
    b.recv_publish("$SYS/health/device1", name + "will")
    b.publish("$SYS/health", b"not allowed", 1)
    a.publish("$SYS/health", b"end", 1)
    b.recv_publish("$SYS/health/device1", b"end")


def test_sys_is_the_brokers_whatever_the_rules_say(connect, name):
    """`topic write $own/#` lets device1 write there; nothing lets it write into $SYS."""
    a = connect("a")
    a.subscribe("$own/#", f"$SYS/{name}")
    a.publish(f"$SYS/{name}", b"no", 1)
    a.publish("$own/x", b"yes", 1)
    a.recv_publish("$own/x", b"yes")


def explain(config, *what):
    return subprocess.run([env.SEALMQD, "-c", config, "--explain-acl", *what], capture_output=True, text=True, timeout=env.TIMEOUT_S, check=False)


def test_explain_prints_the_line_that_decides(tmp_path):
    config = tmp_path / "sealmq.conf"
    config.write_text(f"acl_file {ACL_FILE}\n")
    for what, wanted in {("device2", "read", "plant/x"): f"device2 may read plant/x: {ACL_FILE}:9: topic read plant/#\n",
                         ("device2", "read", "plant/secret/x"): f"device2 may not read plant/secret/x: {ACL_FILE}:10: topic deny plant/secret/#\n",
                         ("device2", "write", "devices/device2/x"): f"device2 may write devices/device2/x: {ACL_FILE}:20: pattern readwrite devices/%u/#\n",
                         ("nobody", "read", "plant/x"): f"nobody may not read plant/x: no rule in {ACL_FILE} allows it\n"}.items():
        done = explain(config, *what)
        assert (done.returncode, done.stdout, done.stderr) == (0, wanted, ""), what
    assert explain(config, "device2", "subscribe", "plant/#").stdout.startswith("device2 may subscribe to plant/#: ")
    for bad in (("device2", "eat", "x"), ("device2", "read", "a/#"), ("device2", "read", "")):
        done = explain(config, *bad)
        assert done.returncode == 2 and done.stderr, bad
    config.write_text("")
    assert "there is no acl_file" in explain(config, "device2", "read", "x").stdout


def test_a_bad_acl_file_stops_the_start(tmp_path, start_broker):
    bad = tmp_path / "bad.conf"
    bad.write_text("user x\ntopic eat a/b/#/c\n")
    broker = start_broker({"acl_file": bad}, wait=False)
    assert broker.process.wait(env.TIMEOUT_S) == 1
    assert f"{bad}:2: " in broker.log()
    done = subprocess.run([env.SEALMQD, "-c", broker.config_path, "--check-config"], capture_output=True, text=True, timeout=env.TIMEOUT_S, check=False)
    assert done.returncode == 1 and f"{bad}:2: " in done.stderr


def test_nothing_is_sent_with_an_empty_file(tmp_path, start_broker, name):
    empty = tmp_path / "empty.conf"
    empty.write_text("")
    broker = start_broker({"acl_file": empty})
    c = broker.client(name, will=("a", b"x"))
    assert c.subscribe("#", "$SYS/#", "a") == [0x80] * 3
    c.publish("a", b"x", 2)
    assert p.PUBLISH not in [m.type for m in c.inbox]
