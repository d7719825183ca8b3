"""What `sealmq sub` says of sealed messages that are old, come twice, or come back: docs/formats.md 4.4, over the real broker."""
import json
import time

import pytest

from lib import sealing
from lib.pki import CLIENT_AUTH

pytestmark = pytest.mark.sealmqd_only("key spaces are ours")
STORES = (0,)
BROKER_OPTIONS = {"topic_admin": "boss"}
HOUR_MS = 3600 * 1000


@pytest.fixture(scope="session")
def people(pki):
    return {cn: pki.authority.issue(f"verdicts-{cn}", cn, kind="rsa2048", eku=(CLIENT_AUTH,)) for cn in ("boss", "ann", "bob")}


@pytest.fixture
def bob(broker, people, sealmq):
    return sealmq(broker, people["bob"])


class Member(sealing.Member):
    """Of several key spaces."""

    def ask_keys(self, topic, **how):
        super().ask_keys(topic, **how)
        self.__dict__.setdefault("kids", {})[topic] = self.newest

    def seal(self, topic, plain, **how):
        return super().seal(topic, plain, **{"kid": self.kids[topic], **how})


def kept(name):
    return f"{name}-kept"


@pytest.fixture
def ann(broker, people, sealmq, name):
    """A member whose clock, numbers and bytes the test decides on. Two topics: the test's name, and kept, which has a history: what is published
    there while a subscription is new may come out of it, and be past."""
    one = Member(broker, people["ann"], f"{name}-ann")
    for topic, history in ((name, []), (kept(name), ["--history", 100])):
        sealmq(broker, people["boss"]).run("topic", "create", topic, "--member", "ann", "--member", "bob", *history)
        one.ask_keys(topic)
    yield one
    one.mqtt.drop()


def ago(ms):
    return int(time.time() * 1000) - ms


def test_max_age(ann, bob, name):
    sub = bob.start("sub", "-d", "-t", name, "--max-age", "10m", "-C", 2, "-F", "%V %p")
    sub.wait(lambda: "Subscribed" in sub.lines)
    texts = (("an hour old", ago(HOUR_MS)), ("seven minutes old", ago(7 * 60000)), ("of no clock", 0), ("fresh", ago(0)))
    for text, time_ms in texts:
        ann.publish(name, text.encode(), time_ms=time_ms)
    assert sub.finish(status=3) == ["late seven minutes old", "live fresh"]
    assert [x for x in sub.err if "refused" in x] == [f"sealmq: refused: {name}: older than --max-age",
                                                      f"sealmq: refused: {name}: of unknown age: its sender has no clock"]
    for text, time_ms in texts:
        ann.publish(kept(name), text.encode(), time_ms=time_ms)
    assert bob.run("sub", "-t", kept(name), "-C", 4, "-F", "%V %p").stdout.splitlines() == [f"past {text}" for text, _ in texts]
    past = bob.run("sub", "-t", kept(name), "--history", "all", "--max-age", "10m", "-C", 2, "-F", "%V %p", status=3)
    assert past.stdout.splitlines() == ["past seven minutes old", "past fresh"]


def test_max_age_of_plain_text_is_unknown(bob, broker, people, sealmq, name):
    sub = bob.start("sub", "-d", "-t", f"{name}/plain", "--max-age", "10m", "-W", 2)
    sub.wait(lambda: "Subscribed" in sub.lines)
    sealmq(broker, people["ann"]).pub("-t", f"{name}/plain", "-m", "hello")
    assert sub.finish(status=27) == [] and f"sealmq: refused: {name}/plain: of unknown age: it is plain text" in sub.err


def publish_twice(ann, topic):
    once = ann.seal(topic, b"once")
    for message in (once, once, ann.seal(topic, b"twice")):
        ann.mqtt.publish(f"$SEALED/{topic}", message, 1)


def test_what_comes_twice_is_a_duplicate_and_no_error(ann, bob, name):
    sub = bob.start("sub", "-d", "-v", "-t", name, "-C", 2)
    sub.wait(lambda: "Subscribed" in sub.lines)
    publish_twice(ann, name)
    assert sub.finish() == [f"{name} once", f"{name} twice"]
    assert "sealmq: 1 duplicates were dropped" in sub.err and not any("refused" in x for x in sub.err)
    publish_twice(ann, kept(name))
    seen = bob.run("sub", "-t", kept(name), "-C", 3, "-F", "%V %p").stdout  # from the history each is past, however often
    assert seen.splitlines() == ["past once", "past once", "past twice"]


def test_behind_the_window_is_refused(ann, bob, name):
    sub = bob.start("sub", "-d", "-t", name, "-C", 3, "-F", "%n")
    sub.wait(lambda: "Subscribed" in sub.lines)
    for seq in (5000, 5000 - 1023, 5000 - 1024, 5001):
        ann.publish(name, b"x", seq=seq)
    assert sub.finish(status=3) == ["5000", "3977", "5001"]
    assert len([x for x in sub.err if "refused" in x]) == 1


def test_an_hour_offline_and_none_is_lost(ann, bob, name):
    """A persistent session: 2,000 messages of an hour ago wait for it. All are late, all come, in order."""
    session = ("sub", "-t", name, "-c", "-i", f"{name}-bob")
    bob.run(*session, "-E")
    for i in range(2000):
        ann.publish(name, str(i).encode(), time_ms=ago(HOUR_MS))
    seen = bob.run(*session, "-C", 2000, "-F", "%V %p").stdout.splitlines()
    assert seen == [f"late {i}" for i in range(2000)]


def test_what_is_retained_is_past_and_never_live_again(ann, bob, name):
    sub = bob.sub("-t", name, "-C", 1, "-F", "%V %p")
    ann.publish(name, b"x", retain=True)
    assert sub.finish() == ["live x"]
    for _ in range(2):
        assert bob.run("sub", "-t", name, "-C", 1, "-F", "%V %r %p").stdout == "past 1 x\n"
    assert bob.run("sub", "-t", name, "-C", 1, "--accept", "live", "-W", 2, status=27).stderr == f"sealmq: refused: {name}: past\n"


def test_each_run_has_a_stream_of_its_own(ann, bob, broker, people, sealmq, name):
    """Where no file says where the last run ended (test_cli_stream.py): the same member, the same key, again from number 0. What differs is the stream,
    so no key and nonce come twice."""
    sub = bob.sub("-t", name, "-C", 4, "-F", "jsonl")
    for _ in range(2):
        sealmq(broker, people["ann"]).pub("-t", name, "-l", "--no-state", stdin="a\nb\n")
    seen = [json.loads(x) for x in sub.finish()]
    assert [m["sequence"] for m in seen] == [0, 1, 0, 1]
    assert len({m["stream"] for m in seen}) == 2 and len({(m["stream"], m["sequence"]) for m in seen}) == 4
    assert ann.epoch == 1


def test_the_seventeenth_stream_is_refused(ann, bob, name):
    sub = bob.start("sub", "-d", "-t", name, "-C", 17, "-F", "%p")
    sub.wait(lambda: "Subscribed" in sub.lines)
    for i in range(17):
        ann.publish(name, str(i).encode(), stream=bytes([i] * 8))
    ann.publish(name, b"of the first", stream=bytes(8))
    assert sub.finish(status=3) == [*map(str, range(16)), "of the first"]
    assert len([x for x in sub.err if "refused" in x]) == 1
