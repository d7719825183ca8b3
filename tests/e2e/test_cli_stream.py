"""The stream that a command seals in goes on over its runs: receivers keep 16 streams of a sender, and no number of one may come twice."""
import json
import os
import shutil
import signal

import pytest

from lib.pki import CLIENT_AUTH

pytestmark = pytest.mark.sealmqd_only("key spaces are ours")
STORES = (0,)
BROKER_OPTIONS = {"topic_admin": "boss"}


@pytest.fixture(scope="session")
def people(pki):
    return {cn: pki.authority.issue(f"stream-{cn}", cn, kind="rsa2048", eku=(CLIENT_AUTH,)) for cn in ("boss", "ann", "bob")}


@pytest.fixture
def cli(broker, people, sealmq):
    return lambda cn: sealmq(broker, people[cn])


@pytest.fixture
def topic(cli, name):
    cli("boss").run("topic", "create", name, "--member", "ann", "--member", "bob")
    return name


@pytest.fixture
def seen(cli, topic):
    """Runs a command per line of text while bob listens; what he has seen, once all n messages are there."""
    sub = cli("bob").sub("-t", topic, "-F", "jsonl")

    def get(n):
        messages = [json.loads(x) for x in sub.wait_messages(n)]
        places = [(m["stream"], m["sequence"]) for m in messages]
        assert len(set(places)) == len(places) == n and not any("refused" in x for x in sub.err)
        return messages
    get.sub = sub
    return get


def test_twenty_runs_are_one_stream(cli, topic, seen):
    for i in range(20):
        cli("ann").pub("-t", topic, "-m", i)
    messages = seen(20)
    assert [m["sequence"] for m in messages] == list(range(20)) and len({m["stream"] for m in messages}) == 1
    assert {m["verdict"] for m in messages} == {"live"}


def test_without_a_state_file_each_run_is_a_stream(cli, topic, seen):
    """And the seventeenth is refused, as the format says."""
    for i in range(17):
        cli("ann").pub("-t", topic, "-m", i, "--no-state")
    assert len({m["stream"] for m in [json.loads(x) for x in seen.sub.wait_messages(16)]}) == 16
    seen.sub.wait(lambda: any("refused" in x for x in seen.sub.err))


def test_runs_at_the_same_time_have_streams_of_their_own(cli, topic, seen):
    first, second = (cli("ann").start("pub", "-d", "-t", topic, "-l", stdin=-1) for _ in range(2))
    for i, one in enumerate((first, second, first, second)):
        one.process.stdin.write(f"{i}\n")
        one.process.stdin.flush()
        assert len(seen(i + 1)) == i + 1
    for one in (first, second):
        one.process.stdin.close()
        one.finish()
    cli("ann").pub("-t", topic, "-m", "after both")
    messages = seen(5)
    assert len({m["stream"] for m in messages}) == 2 and messages[4]["sequence"] == 2


def test_a_killed_run_uses_up_what_it_had_reserved(cli, topic, seen):
    one = cli("ann").start("pub", "-t", topic, "-l", stdin=-1)
    one.process.stdin.write("killed\n")
    one.process.stdin.flush()
    seen(1)
    one.process.send_signal(signal.SIGKILL)
    one.process.wait()
    cli("ann").pub("-t", topic, "-m", "next")
    killed, after = seen(2)
    assert killed["stream"] == after["stream"] and after["sequence"] > killed["sequence"] + 1000


@pytest.mark.parametrize("harm", ["copied", "damaged", "readable", "link", "cut"])
def test_a_file_that_may_lie_begins_a_new_stream(cli, topic, seen, tmp_path, harm):
    """A copy that was put back would give the same numbers twice."""
    file, other = tmp_path / "sealmq" / "streams", tmp_path / "other"
    cli("ann").pub("-t", topic, "-m", "before")
    assert file.stat().st_mode & 0o777 == 0o600
    if harm == "copied":
        shutil.copy2(file, other)
        cli("ann").pub("-t", topic, "-m", "between")
        os.replace(other, file)
    elif harm == "damaged":
        raw = bytearray(file.read_bytes())
        raw[40] ^= 1
        file.write_bytes(raw)
    elif harm == "readable":
        file.chmod(0o644)
    elif harm == "cut":
        file.write_bytes(file.read_bytes()[:30])
    else:
        os.link(file, other)
    cli("ann").pub("-t", topic, "-m", "after")
    messages = seen(3 if harm == "copied" else 2)
    assert messages[-1]["stream"] not in {m["stream"] for m in messages[:-1]}


def test_each_identity_has_its_own(cli, topic, seen):
    for cn in ("ann", "bob", "ann", "bob"):
        cli(cn).pub("-t", topic, "-m", cn)
    messages = seen(4)
    assert [m["sequence"] for m in messages] == [0, 0, 1, 1] and len({m["stream"] for m in messages}) == 2
