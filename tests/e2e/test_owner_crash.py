# SPDX-License-Identifier: GPL-3.0-or-later
"""An owner's command killed before its writes (to disk and to the broker), syncs, renames and removals: the same command again completes it. Every fourth of
them, or each with OWNER_CRASH_EVERY=1."""
import os
import signal

import pytest

from lib.pki import CLIENT_AUTH

pytestmark = pytest.mark.sealmqd_only("key spaces are ours")
STORES = (0,)
BROKER_OPTIONS = {"topic_admin": "boss"}
STEPS_MAX, EVERY = 400, int(os.environ.get("OWNER_CRASH_EVERY", "4"))


@pytest.fixture(scope="session")
def people(pki):
    return {cn: pki.authority.issue(f"crash-{cn}", cn, kind="rsa2048", eku=(CLIENT_AUTH,)) for cn in ("boss", "ann", "bob")}


@pytest.fixture
def cli(broker, people, sealmq):
    for cn in ("ann", "bob"):
        sealmq(broker, people[cn]).run("sub", "-t", "x/seen", "-E", "-W", 10)
    return lambda cn, **environ: sealmq(broker, people[cn], **environ)


def killed_everywhere(cli, faultdisk, before, command, again=(0,)):
    """before(n) -> the topic of round n. Yields each topic after the command was killed there and run again."""
    boss = cli("boss")
    for n in range(1, STEPS_MAX, EVERY):
        topic = before(n)
        status = cli("boss", **faultdisk, FAULTDISK_KILL=str(n)).run("topic", *command(topic), status=None).returncode
        if status != -signal.SIGKILL:
            assert status == 0
            assert n > 15, "it was to be killed more often"
            return
        done = boss.run("topic", *command(topic), status=None)
        assert done.returncode in again, (n, done.stderr)
        yield topic
    raise AssertionError("it never ended")


def handed_out(cli, topic):
    shown = cli("boss").run("topic", "show", topic).stdout
    assert "handed out\n" in shown and "not handed out" not in shown and "pending" not in shown
    return shown


def test_create(cli, faultdisk, name):
    def command(topic):
        return "create", topic, "--mode", "owner", "--member", "ann"
    # 1: it was made, and the killed run had no time to say so
    for topic in killed_everywhere(cli, faultdisk, lambda n: f"{name}-{n}", command, again=(0, 1)):
        assert "epoch        1, key id" in handed_out(cli, topic)
    assert "epoch 1 " in cli("ann").run("key", "open", f"$KEYS/{topic}").stdout


def test_rotate(cli, faultdisk, name):
    cli("boss").run("topic", "create", name, "--mode", "owner", "--member", "ann", "--member", "bob", "--history", 1000)
    epochs = []
    for topic in killed_everywhere(cli, faultdisk, lambda n: name, lambda topic: ("rotate", topic)):
        shown = handed_out(cli, topic)
        epochs.append(int(shown.split("epoch        ")[1].split(",")[0]))
    # at most one turn for each command: killed before anything was written down, and repeated; or killed when all was done, and repeated
    steps = [b - a for a, b in zip(epochs, epochs[1:])]
    assert set(steps) <= {1, 2}
    cli("ann").pub("-t", name, "-m", "after all that")
    assert cli("bob").run("sub", "-t", name, "--history", "1", "-C", 1).stdout == "after all that\n"


def test_add(cli, faultdisk, name):
    cli("boss").run("topic", "create", name, "--mode", "owner", "--member", "ann", "--history", 1000)

    def without_bob(n):
        if n > 1:
            cli("boss").run("topic", "remove", name, "bob")
        return name
    for topic in killed_everywhere(cli, faultdisk, without_bob, lambda topic: ("add", topic, "--member", "bob")):
        assert "member       bob" in handed_out(cli, topic)
    cli("ann").pub("-t", name, "-m", "welcome")
    assert cli("bob").run("sub", "-t", name, "--history", "1", "-C", 1).stdout == "welcome\n"


def test_remove(cli, faultdisk, name):
    cli("boss").run("topic", "create", name, "--mode", "owner", "--member", "ann")

    def with_bob(n):
        cli("boss").run("topic", "add", name, "--member", "bob")
        return name
    for topic in killed_everywhere(cli, faultdisk, with_bob, lambda topic: ("remove", topic, "bob"), again=(0, 1)):
        assert "member       bob" not in handed_out(cli, topic)
    assert "refuses the subscription" in cli("bob").run("sub", "-t", name, "-W", 10, status=1).stderr


def test_delete(cli, faultdisk, name):
    def made(n):
        cli("boss").run("topic", "create", f"{name}-{n}", "--mode", "owner", "--member", "ann")
        return f"{name}-{n}"
    for topic in killed_everywhere(cli, faultdisk, made, lambda topic: ("delete", topic), again=(0, 1)):
        assert "there is no such key space" in cli("boss").run("topic", "show", topic, status=1).stderr
