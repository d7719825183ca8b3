"""sealmq pub --outbox and sealmq sub --dedup, against the real broker: what a restart, a lost connection and a damaged file do. The same under kill -9 is
tests/crash/exact_crash.py."""
import json
import subprocess

import pytest

from lib.pki import CLIENT_AUTH

pytestmark = pytest.mark.sealmqd_only("key spaces are ours")
STORES = (0,)
BROKER_OPTIONS = {"topic_admin": "boss", "history": "5 short/#\nhistory 10000 kept/#"}
FIRST = 1 << 32  # sequence numbers of an outbox


@pytest.fixture(scope="session")
def people(pki):
    made = {cn: pki.authority.issue(f"once-{cn}", cn, kind="rsa2048", eku=(CLIENT_AUTH,)) for cn in ("boss", "ann", "bob")}
    return made


@pytest.fixture
def cli(broker, people, sealmq):
    return lambda cn: sealmq(broker, people[cn])


def make_topic(cli, topic):
    cli("boss").run("topic", "create", topic, "--member", "ann", "--member", "bob", "--new-members", "see-past")
    return topic


@pytest.fixture
def topic(cli, name):
    return make_topic(cli, f"kept/{name}")


@pytest.fixture
def outbox(tmp_path):
    return tmp_path / "outbox"


@pytest.fixture
def files(tmp_path):
    """A receiver's files: the account, and what it has printed."""
    return tmp_path / "dedup", tmp_path / "out"


def pub(cli, topic, outbox, *more, **how):
    return cli("ann").pub("-t", topic, "--outbox", outbox, *more, **how)


def receive(cli, topic, files, n=None, *more, status=None, wait=1):
    """n messages; or what comes in a second."""
    how = ("-C", n, "-W", 20) if n else ("-W", wait)
    return cli("bob").run("sub", "-t", topic, "--dedup", files[0], "--output", files[1], *how, *more, status=status if status is not None else 0 if n else 27)


def printed(files):
    return files[1].read_text().splitlines()


def again(outbox, kept):
    """The file as it was, in its place: as if the acknowledgement had not been noted."""
    with open(outbox, "r+b") as f:
        f.truncate(0)
        f.write(kept)


def test_what_was_published_meanwhile_comes_once(cli, topic, outbox, files):
    receive(cli, topic, files, wait=1)  # begins here
    for text in ("one", "two"):
        pub(cli, topic, outbox, "-m", text)
    receive(cli, topic, files, 2)
    pub(cli, topic, outbox, "-m", "three")
    receive(cli, topic, files, 1)
    receive(cli, topic, files)
    assert printed(files) == ["one", "two", "three"]


def test_lines_are_taken_with_the_broker_away(start_broker, people, sealmq, outbox):
    """Every line is said to be taken; a later run delivers it."""
    own = start_broker(BROKER_OPTIONS)
    ann, boss = (sealmq(own, people[cn]) for cn in ("ann", "boss"))
    boss.run("topic", "create", "kept/x", "--member", "ann", "--new-members", "see-past")
    own.process.kill()
    own.process.wait()
    done = ann.pub("-t", "kept/x", "--outbox", outbox, "-l", "-W", 2, "--keep-trying", stdin="apple\npear\nplum\n", status=27)
    assert done.stdout.splitlines() == ["taken 0", "taken 3"]
    assert "3 messages not acknowledged; the outbox keeps them" in done.stderr
    assert ann.pub("-t", "kept/x", "--outbox", outbox, "-m", "cherry", status=4).returncode == 4
    assert b"apple" not in outbox.read_bytes()
    own.start()  # its store is memory: the topic is made anew
    boss.run("topic", "create", "kept/x", "--member", "ann", "--new-members", "see-past")
    sub = ann.sub("-t", "kept/x", "-C", 4)
    ann.pub("-t", "kept/x", "--outbox", outbox)
    assert sub.finish() == ["apple", "pear", "plum", "cherry"]


def test_places_last(cli, topic, outbox):
    """A stream's numbers go on over runs; a copy of the file begins another stream."""
    sub = cli("bob").sub("-t", topic, "-C", 4, "-F", "jsonl")
    pub(cli, topic, outbox, "-l", stdin="a\nb\n")
    pub(cli, topic, outbox, "-m", "c")
    copy = outbox.with_name("copy")
    copy.write_bytes(outbox.read_bytes())
    pub(cli, topic, copy, "-m", "d")
    got = [json.loads(x) for x in sub.finish()]
    assert [m["sequence"] - FIRST for m in got] == [0, 1, 2, 3]
    assert len({m["stream"] for m in got[:3]}) == 1 and got[3]["stream"] != got[0]["stream"]


def test_sent_twice_under_two_epochs_is_one_message(cli, topic, outbox, files):
    receive(cli, topic, files, wait=1)
    cli("ann").run("pub", "-t", topic, "--outbox", outbox, "-m", "once", "-p", 1, status=4)  # nobody there: it is kept
    kept = outbox.read_bytes()
    pub(cli, topic, outbox)
    again(outbox, kept)
    pub(cli, topic, outbox)
    cli("boss").run("topic", "rotate", topic)
    again(outbox, kept)
    pub(cli, topic, outbox)
    seen = cli("bob").sub("-t", topic, "--history", "all", "-C", 3, "-F", "jsonl")
    assert [(m["payload"], m["sequence"] - FIRST, m["epoch"]) for m in map(json.loads, seen.finish())] == [("once", 0, 1), ("once", 0, 1), ("once", 0, 2)]
    pub(cli, topic, outbox, "-m", "last")
    assert "2 duplicates were dropped" in receive(cli, topic, files, 2, "-v", "-F", "%p").stderr
    assert printed(files) == ["once", "last"]


def test_what_the_broker_has_no_more_is_named(cli, name, outbox, files):
    """A history of five messages, and twenty while nobody listens."""
    topic = make_topic(cli, f"short/{name}")
    receive(cli, topic, files, wait=1)
    pub(cli, topic, outbox, "-l", stdin="1\n2\n")
    receive(cli, topic, files, 2)
    pub(cli, topic, outbox, "-l", stdin="".join(f"{i}\n" for i in range(3, 23)))
    said = receive(cli, topic, files, 5, status=5).stderr
    assert f"lost: {topic}: messages 3 to 17 of ann " in said
    assert printed(files) == ["1", "2", "18", "19", "20", "21", "22"]


def test_a_pipe_gets_it_too(cli, topic, outbox, tmp_path):
    for text in ("one", "two"):
        pub(cli, topic, outbox, "-m", text)
    run = lambda *more, **how: cli("bob").run("sub", "-t", topic, "--dedup", tmp_path / "dedup", "--history", "all", *more, **how).stdout.splitlines()
    assert run("-C", 2) == ["one", "two"]
    assert run("-W", 2, status=27) == []


def test_the_output_may_be_moved_away(cli, topic, outbox, files, tmp_path):
    pub(cli, topic, outbox, "-m", "one")
    receive(cli, topic, files, 1, "--history", "all")
    files[1].rename(tmp_path / "out.1")
    pub(cli, topic, outbox, "-m", "two")
    receive(cli, topic, files, 1)
    assert printed(files) == ["two"]
    with open(files[1], "a", encoding="ascii") as f:
        f.write("by somebody else\n")
    assert "somebody else has written to it" in receive(cli, topic, files, 1, status=1).stderr


def flip(path, at):
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(bytes(data))


def test_damage_is_named_and_a_torn_end_is_cut(cli, topic, outbox, broker):
    head = 24
    for text in ("first", "second"):
        cli("ann").run("pub", "-t", topic, "--outbox", outbox, "-m", text, "-p", 1, status=4)
    whole = outbox.read_bytes()
    for at, said in ((0, "at byte 0: not a file of sealmq's"), (head + 1, f"damaged at byte {head}"), (head + 30, f"damaged at byte {head}")):
        flip(outbox, at)
        assert f"--outbox: {outbox}: {said}" in pub(cli, topic, outbox, status=1).stderr
        outbox.write_bytes(whole)
    sub = cli("bob").sub("-t", topic, "-C", 1)
    outbox.write_bytes(whole[:-9])
    assert "that a crash has cut off" in pub(cli, topic, outbox).stderr
    assert sub.finish() == ["first"]


def test_whose_and_for_what(cli, topic, outbox, files, name):
    pub(cli, topic, outbox, "-m", "x")
    receive(cli, topic, files, 1, "--history", "all")
    assert "sealed under another key" in cli("bob").pub("-t", topic, "--outbox", outbox, "-m", "x", status=1).stderr
    assert "another topic's outbox" in pub(cli, f"kept/{name}-other", outbox, "-m", "x", status=1).stderr
    assert "expected 'dedup'" in receive(cli, topic, (outbox, files[1]), 1, status=1).stderr
    assert "another filter's" in receive(cli, topic + "/+", files, 1, status=1).stderr
    assert "not sealed for this client" in pub(cli, f"kept/plain-{name}", outbox.with_name("plain"), "-m", "x", status=4).stderr


def test_one_process_at_a_time(cli, topic, outbox):
    first = cli("ann").start("pub", "-t", topic, "--outbox", outbox, "-l", stdin=subprocess.PIPE)
    first.wait(lambda: "taken 0" in first.out)
    assert "in use by another process" in pub(cli, topic, outbox, "-m", "x", status=1).stderr
    first.process.stdin.write("line\n")
    first.process.stdin.close()
    assert first.finish() == ["taken 0", "taken 1"]


@pytest.mark.parametrize("words,said", [
    (("pub", "-t", "a", "--outbox", "f", "-m", "x", "-q", 0), "nothing acknowledges QoS 0"), (("pub", "-t", "a", "--outbox", "f", "-m", "x", "--plain"), "sealed topics"),
    (("sub", "-t", "a", "--output", "f"), "expected --dedup"), (("sub", "-t", "a", "-t", "b", "--dedup", "f"), "one -t"),
    (("sub", "-t", "a", "--dedup", "f", "-i", "x", "-c"), "not together with -c"), (("sub", "-t", "a", "--dedup", "f", "-R"), "not together with -R")])
def test_what_does_not_go_together(cli, words, said):
    assert said in cli("ann").run(*words, status=2).stderr
