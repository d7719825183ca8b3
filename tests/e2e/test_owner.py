# SPDX-License-Identifier: GPL-3.0-or-later
"""Mode owner by the command line: the owner's keys and member list are on the owner's machine, and everything works as in mode broker."""
import json
import re

import pytest

from lib import env
from lib.pki import CLIENT_AUTH
from lib.programs import Mosquitto

pytestmark = pytest.mark.sealmqd_only("key spaces are ours")
STORES = (0,)
BROKER_OPTIONS = {"topic_admin": "boss", "history": "100 kept/#"}


@pytest.fixture(scope="session")
def people(pki):
    return {cn: pki.authority.issue(f"owner-{cn}", cn, kind="rsa2048", eku=(CLIENT_AUTH,)) for cn in ("boss", "ann", "bob", "cid", "late", "never", "stranger")}


@pytest.fixture
def cli(broker, people, sealmq):
    return lambda cn: sealmq(broker, people[cn])


@pytest.fixture
def seen(cli):
    """All of these have connected once, so that the broker knows their certificates."""
    for cn in ("ann", "bob", "cid"):
        cli(cn).run("sub", "-t", "x/seen", "-E", "-W", 5)


def lines_of(done):
    return [json.loads(x) for x in (done if isinstance(done, list) else done.stdout.splitlines())]


@pytest.fixture
def topic(cli, seen, name):
    cli("boss").run("topic", "create", name, "--mode", "owner", "--member", "ann", "--member", "bob", "--history", 100)
    return name


def test_members_talk_and_nobody_else_reads(cli, broker, people, topic):
    spy = Mosquitto(broker, people["bob"])
    raw = spy.sub("-t", topic, "-C", 1, "-q", 1, "-F", "%x")
    sub = cli("bob").sub("-t", topic, "-C", 1, "-F", "jsonl")
    assert "sealed, " in cli("ann").pub("-t", topic, "-m", "for bob's eyes", "-v").stdout
    (m,) = lines_of(sub.finish())
    assert (m["payload"], m["verdict"], m["sender"], m["by_broker"]) == ("for bob's eyes", "live", "ann", False)
    assert b"for bob's eyes" not in bytes.fromhex(raw.finish()[0])  # a standard client gets the sealed bytes
    assert "the broker refuses the subscription" in cli("stranger").run("sub", "-t", topic, "-W", 5, status=1).stderr
    spy.pub("-t", topic, "-m", "plain", "-q", 1)  # acknowledged and dropped
    assert [m["payload"] for m in lines_of(cli("bob").run("sub", "-t", topic, "--history", "all", "-C", 1, "-F", "jsonl"))] == ["for bob's eyes"]
    spy.close()


def test_a_filter_above_the_key_space_opens_it_too(cli, topic):
    sub = cli("bob").sub("-t", "#", "-R", "-C", 1, "-F", "%t %c %V %p")
    cli("ann").pub("-t", f"{topic}/below", "-m", "hello")
    assert sub.finish() == [f"{topic}/below ann live hello"]


def test_late_joiners_wait_for_the_owner(cli, seen, name):
    """late is added before it has ever connected: its key comes when the owner is back, and it sees the past."""
    kept = f"kept/{name}"
    made = cli("boss").run("topic", "create", kept, "--mode", "owner", "--member", "ann", "--member", "late", "--member", "never", "--history", 100).stdout
    assert re.search(r"^member       late .* certificate -$", made, re.M)
    cli("ann").pub("-t", kept, "-m", "early")
    sub = cli("late").sub("-t", kept, "--history", "all", "-C", 1, "-F", "jsonl")
    assert "pending      late" in cli("boss").run("topic", "show", kept).stdout
    cli("boss").run("topic", "admit", kept)
    assert [(m["payload"], m["verdict"], m["sender"]) for m in lines_of(sub.finish())] == [("early", "past", "ann")]
    assert "pending" not in cli("boss").run("topic", "show", kept).stdout


def test_removal_and_rotation(cli, topic):
    assert "done, epoch 2" in cli("boss").run("topic", "rotate", topic).stdout
    cli("ann").pub("-t", topic, "-m", "to both")
    assert "done, epoch 3" in cli("boss").run("topic", "remove", topic, "bob").stdout
    cli("ann").pub("-t", topic, "-m", "to ann alone")
    assert "refuses the subscription" in cli("bob").run("sub", "-t", topic, "-W", 5, status=1).stderr
    assert "'bob' is not a member" in cli("boss").run("topic", "remove", topic, "bob", status=1).stderr
    cli("boss").run("topic", "add", topic, "--member", "bob")
    assert [m["payload"] for m in lines_of(cli("bob").run("sub", "-t", topic, "--history", "all", "-C", 2, "-F", "jsonl"))] == ["to both", "to ann alone"]


def test_new_members_from_their_joining(cli, seen, name):
    cli("boss").run("topic", "create", name, "--mode", "owner", "--new-members", "from-join", "--member", "ann", "--history", 100)
    cli("ann").pub("-t", name, "-m", "before")
    assert "done, epoch 2" in cli("boss").run("topic", "add", name, "--member", "bob").stdout
    cli("ann").pub("-t", name, "-m", "after")
    assert [m["payload"] for m in lines_of(cli("bob").run("sub", "-t", name, "--history", "all", "-C", 1, "-F", "jsonl"))] == ["after"]


def test_members_by_certificate_and_access(cli, people, seen, name):
    cli("boss").run("topic", "create", name, "--mode", "owner", "--signatures", "required", "--member-cert", f"{people['ann'].crt}:write",
                    "--member-cert", f"{people['bob'].crt}:read")
    shown = cli("boss").run("topic", "show", name).stdout
    assert re.search(r"member       ann  write .* alone$", shown, re.M) and re.search(r"member       bob  read .* alone$", shown, re.M)
    sub = cli("bob").sub("-t", name, "-C", 1, "-F", "jsonl")
    cli("ann").pub("-t", name, "-m", "hello")
    assert lines_of(sub.finish())[0]["signed"] is True


def test_delete_forgets_the_keys(cli, topic, tmp_path):
    (state,) = [p for p in (tmp_path / "share/sealmq/owner").rglob("*") if p.is_file() and p.name[0] != "."]
    assert state.stat().st_mode & 0o777 == 0o600
    cli("boss").run("topic", "delete", topic)
    assert not state.exists() and "there is no such key space" in cli("boss").run("topic", "show", topic, status=1).stderr
    assert "keys are not on this machine" in cli("boss").run("topic", "admit", topic, status=1).stderr
