"""sealmq on sealed topics: topic, pub, sub, key open, against the real broker, and beside mosquitto's programs."""
import json
import os
import re
import subprocess

import pytest

from lib import env
from lib.pki import CLIENT_AUTH
from lib.programs import Mosquitto

pytestmark = pytest.mark.sealmqd_only("key spaces are ours")
STORES = (0,)
BROKER_OPTIONS = {"topic_admin": "boss", "history": "100 kept/#"}


@pytest.fixture(scope="session")
def people(pki):
    """RSA certificates: what an envelope needs. And one EC member, for whom there is the plain view alone."""
    made = {cn: pki.authority.issue(f"cli-{cn}", cn, kind="rsa2048", eku=(CLIENT_AUTH,)) for cn in ("boss", "ann", "bob", "stranger")}
    return {**made, "sensor": pki.device(1)}


@pytest.fixture
def cli(broker, people, sealmq):
    return lambda cn: sealmq(broker, people[cn])


@pytest.fixture
def topic(cli, name):
    """A sealed topic with ann, bob and the plain sensor."""
    cli("boss").run("topic", "create", name, "--member", "ann", "--member", "bob", "--member", "device1", "--new-members", "see-past")
    return name


def lines_of(done):
    return [json.loads(x) for x in (done if isinstance(done, list) else done.stdout.splitlines())]


def test_a_sealed_topic_is_recognised(cli, topic):
    sub = cli("bob").sub("-t", topic, "-C", 1, "-F", "jsonl")
    assert "sealed, " in cli("ann").pub("-t", topic, "-m", "hello", "-v").stdout
    (m,) = lines_of(sub.finish())
    assert (m["topic"], m["payload"], m["verdict"], m["sender"], m["sequence"], m["signed"], m["by_broker"]) == (topic, "hello", "live", "ann", 0, False, False)
    assert any(f"$SEALED/{topic}" in x for x in sub.lines)


def test_plain_clients_beside_it(cli, broker, people, topic):
    """mosquitto's programs read and write the same messages in plain text; the broker names who published."""
    mosquitto = Mosquitto(broker, people["sensor"])
    theirs, ours = mosquitto.sub("-t", topic, "-C", 2, "-q", 1), cli("bob").sub("-t", topic, "-C", 2, "-F", "jsonl")
    cli("ann").pub("-t", topic, "-m", "sealed by ann")
    mosquitto.pub("-t", topic, "-m", "plain by the sensor", "-q", 1)
    assert sorted(theirs.finish()) == ["plain by the sensor", "sealed by ann"]
    seen = {m["payload"]: m for m in lines_of(ours.finish())}
    assert (seen["sealed by ann"]["sender"], seen["sealed by ann"]["by_broker"]) == ("ann", False)
    assert (seen["plain by the sensor"]["sender"], seen["plain by the sensor"]["by_broker"]) == ("device1", True)
    mosquitto.close()


def test_signatures(cli, topic):
    sub = cli("bob").start("sub", "-d", "-t", topic, "-F", "jsonl", "--require-signature", "-W", 4)
    sub.wait(lambda: "Subscribed" in sub.lines)
    cli("ann").pub("-t", topic, "-m", "unsigned")
    cli("ann").pub("-t", topic, "-m", "signed", "--sign")
    (m,) = lines_of(sub.wait_messages(1))
    assert (m["payload"], m["signed"], m["sender"]) == ("signed", True, "ann")
    assert any(f"refused: {topic}: not signed" in x for x in sub.err)


def test_refused_messages_show_in_the_exit_status(cli, topic):
    sub = cli("bob").start("sub", "-d", "-t", topic, "--require-signature", "-C", 1)
    sub.wait(lambda: "Subscribed" in sub.lines)
    cli("ann").pub("-t", topic, "-m", "unsigned")
    cli("ann").pub("-t", topic, "-m", "signed", "--sign")
    assert sub.finish(status=3) == ["signed"]


def test_required_signatures_are_made_unasked(cli, name):
    cli("boss").run("topic", "create", name, "--signatures", "required", "--member", "ann", "--member", "bob")
    sub = cli("bob").sub("-t", name, "-C", 1, "-F", "jsonl")
    cli("ann").pub("-t", name, "-m", "hello")
    assert lines_of(sub.finish())[0]["signed"] is True


def test_a_transcript_proves_who_sent_what(cli, pki, people, topic, tmp_path):
    kept, receipt, bob = tmp_path / "transcript", tmp_path / "receipt", ("--cert", people["bob"].crt, "--key", people["bob"].key)
    trust = ("--cafile", pki.ca)
    for run in range(2):  # the second one goes on in the same file
        sub = cli("bob").sub("-t", topic, "-C", 3, "--transcript", kept)
        cli("ann").pub("-t", topic, "-m", f"signed {run}", "--sign")
        cli("ann").pub("-t", topic, "-m", f"unsigned {run}")
        cli("ann").pub("-t", topic, "-m", f"signed again {run}", "--sign")
        assert sub.finish() == [f"signed {run}", f"unsigned {run}", f"signed again {run}"]
    sealmq = [env.BUILD_DIR / "sealmq", "receipt"]
    subprocess.run([*sealmq, "make", kept, *bob, "-o", receipt], check=True, timeout=60)
    said = subprocess.run([*sealmq, "verify", receipt, kept, *trust], check=True, timeout=60, capture_output=True, text=True).stdout
    assert "by 'bob'" in said and "4 messages signed by their senders" in said and "2 not signed" in said
    lines = kept.read_text().splitlines()
    assert [json.loads(x).get("n") for x in lines] == [None, None, 1, 2, 3, 4, 5, 6]
    kept.write_text("".join(x + "\n" for x in lines[:4] + lines[5:]))
    bad = subprocess.run([*sealmq, "verify", receipt, kept, *trust], timeout=60, capture_output=True, text=True, check=False)
    assert bad.returncode == 1 and f"{kept}:5: " in bad.stderr
    kept.write_text("".join(x + "\n" for x in lines))
    assert "another certificate" in cli("ann").run("sub", "-t", topic, "--transcript", kept, "-W", 5, status=1).stderr


def test_strangers(cli, topic):
    assert "the broker refuses the subscription" in cli("stranger").run("sub", "-t", topic, "-W", 5, status=1).stderr
    assert "--sealed forbids plain text" in cli("stranger").pub("-t", topic, "-m", "x", "--sealed", status=1).stderr
    assert "not given to this client" in cli("stranger").run("key", "open", f"$KEYS/{topic}", status=1).stderr


def test_key_open(cli, topic):
    cli("boss").run("topic", "rotate", topic)
    shown = cli("ann").run("key", "open", f"$KEYS/{topic}/below").stdout
    assert re.search(rf"^epoch 2  key id [0-9a-f]{{16}}  filter {topic}/#  space '{topic}'  mode broker", shown, re.M) and "\nepoch 1 " in shown


def test_the_past(cli, name):
    kept = f"kept/{name}"
    cli("boss").run("topic", "create", kept, "--member", "ann", "--member", "bob", "--history", 100)
    cli("ann").pub("-t", f"{kept}/x", "-l", stdin="one\ntwo\nthree\n")
    cli("boss").run("topic", "rotate", kept)
    cli("ann").pub("-t", f"{kept}/x", "-m", "four")
    for arguments in (["-t", f"{kept}/#"], ["-t", f"{kept}/x", "--history", "all"]):
        seen = lines_of(cli("bob").run("sub", *arguments, "-C", 4, "-F", "jsonl"))
        assert [(m["payload"], m["verdict"], m["epoch"], m["sender"]) for m in seen] == [(x, "past", 2 if x == "four" else 1, "ann") for x in ("one", "two", "three", "four")]
    assert cli("bob").run("sub", "-t", f"{kept}/x", "--history", "2", "-C", 2).stdout == "three\nfour\n"


@pytest.mark.parametrize("qos", [1, 2])
def test_rotation_under_load_loses_nothing(cli, topic, qos):
    n = 400
    sub = cli("bob").sub("-t", topic, "-q", qos, "-C", n, "-F", "jsonl")
    pub = cli("ann").start("pub", "-t", topic, "-l", "-q", qos, "--reconnect-max", 1, stdin=subprocess.PIPE)
    for i in range(n):
        pub.process.stdin.write(f"{i}\n")
        pub.process.stdin.flush()
        if i % 100 == 50:
            cli("boss").run("topic", "rotate", topic)
    pub.process.stdin.close()
    pub.finish()
    seen = lines_of(sub.finish())
    assert [int(m["payload"]) for m in seen] == list(range(n))
    assert max(m["epoch"] for m in seen) > 1  # how soon a publisher turns to the new epoch is the network's matter: both are taken for 60 s


def test_removal(cli, topic):
    """The removed member gets nothing more and cannot publish; the one who stays goes on, sealed again under the new epoch."""
    ann, bob = cli("ann"), cli("bob")
    pub = ann.start("pub", "-t", topic, "-l", "-v", "--reconnect-max", 1, stdin=subprocess.PIPE)
    stays = cli("ann").sub("-t", topic, "-C", 2, "-F", "jsonl")
    removed = bob.sub("-t", topic)
    pub.process.stdin.write("before\n")
    pub.process.stdin.flush()
    assert removed.wait_messages(1) == ["before"]
    assert "epoch 2" in cli("boss").run("topic", "remove", topic, "bob").stdout
    pub.process.stdin.write("after\n")
    pub.process.stdin.close()
    pub.finish()
    assert [(m["payload"], m["epoch"]) for m in lines_of(stays.finish())] == [("before", 1), ("after", 2)]
    assert removed.messages() == ["before"]
    assert "no member any more" in cli("bob").run("sub", "-t", topic, "-W", 5, status=1).stderr


def test_topic_commands(cli, name):
    boss = cli("boss")
    shown = boss.run("topic", "create", name, "--mode", "broker", "--member", "ann:read", "--history", 5, "--rotate-count", 1000).stdout
    assert f"topic        {name}\n" in shown and "member       ann  read  since epoch 1" in shown and "count 5" in shown
    boss.run("topic", "add", name, "--member", "bob:write")
    assert "member       bob  write" in boss.run("topic", "show", name).stdout
    assert [m["cn"] for m in json.loads(boss.run("topic", "show", name, "--json").stdout)["members"]] == ["ann", "bob"]
    assert name in boss.run("topic", "list").stdout and name in cli("ann").run("topic", "list").stdout and name not in cli("stranger").run("topic", "list").stdout
    assert boss.run("topic", "history", name, "--history", 7).stdout == f"{name}: done\n"
    assert boss.run("topic", "rotate", name).stdout == f"{name}: done, epoch 2\n"
    assert boss.run("topic", "remove", name, "ann").stdout == f"{name}: done, epoch 3\n"
    assert f"{name}: 'ann' is not a member" in boss.run("topic", "remove", name, "ann", status=1).stderr
    assert f"{name}: exists already" in boss.run("topic", "create", name, status=1).stderr
    assert "you may not create key spaces" in cli("stranger").run("topic", "create", f"{name}2", status=1).stderr
    assert boss.run("topic", "delete", name).stdout == f"{name}: done\n"
    assert f"{name}: there is no such key space" in boss.run("topic", "show", name, status=1).stderr


def test_members_by_certificate(cli, people, name):
    shown = cli("boss").run("topic", "create", name, "--member-cert", f"{people['ann'].crt}:read").stdout
    assert re.search(r"member       ann  read  since epoch 1  certificate [0-9a-f]{16} alone", shown)


@pytest.mark.parametrize("arguments", [[], ["frobnicate"], ["create"], ["add", "t"], ["remove", "t"], ["list", "t"]], ids=str)
def test_topic_usage(sealmq, arguments):
    assert "sealmq topic: expected" in sealmq(None, None).run("topic", *arguments, status=2).stderr


def test_example_paho_c(broker, pki, people, cli, topic):
    """examples/paho_sealed.c, built against the library's static form: it opens its own message, and `sealmq sub` opens it."""
    program = env.BUILD_DIR / "e2e" / "paho_sealed"
    program.parent.mkdir(parents=True, exist_ok=True)
    sanitizers = ["-fsanitize=address,undefined"] if env.BUILD_DIR.name == "asan" else ["-fsanitize=thread"] if env.BUILD_DIR.name == "tsan" else []
    subprocess.run([os.environ.get("CC", "cc"), "-std=c11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", *sanitizers, "-I", env.ROOT / "client", "-o", program,
                    env.ROOT / "examples" / "paho_sealed.c", env.BUILD_DIR / "libsealmq.a", "-lcjson", "-lpaho-mqtt3cs", "-lpthread", "-lm"], check=True)
    sub = cli("bob").sub("-t", topic, "-C", 1, "-F", "%c %p")
    ann = people["ann"]
    done = subprocess.run([program, f"ssl://127.0.0.1:{broker.port}", pki.ca, ann.crt, ann.key, topic, "by paho"], capture_output=True, text=True,
                          timeout=3 * env.TIMEOUT_S, check=False)
    assert (done.returncode, done.stdout) == (0, "ann, live: by paho\n"), done.stderr
    assert sub.finish() == ["ann by paho"]


def test_example_python(cli, people, topic, tmp_path):
    """README's way without libsealmq: the envelope by openssl, the message by examples/sealed.py."""
    ann = people["ann"]
    (tmp_path / "keys.json").write_text(cli("ann").run("key", "open", f"$KEYS/{topic}", "--show-keys", "--json").stdout, encoding="utf-8")
    bob = cli("bob")
    sub = Mosquitto(bob.broker, ann).sub("-t", f"$SEALED/{topic}", "-C", 1, "-q", 1, "-F", "%x")
    bob.pub("-t", topic, "-m", "for everybody")
    message = bytes.fromhex(sub.finish()[0])
    opened = subprocess.run([env.ROOT / "examples" / "sealed.py", tmp_path / "keys.json", topic], input=message, capture_output=True, check=True)
    assert opened.stdout == b"for everybody"


def kill(running):
    running.process.kill()
    running.process.wait()


@pytest.mark.parametrize("command", ["pub", "sub"])
def test_a_will_is_sealed_by_its_client(cli, topic, command):
    """As the receiver sees it: made by ann herself, under a stream of its own; not by the broker for her."""
    watch = cli("bob").sub("-t", topic, "-C", 2, "-F", "jsonl")
    will = ("--will-topic", topic, "--will-payload", "gone", "--will-qos", 1)
    if command == "pub":
        ann = cli("ann").start("pub", "-t", topic, "-l", "-v", "--sign", *will, stdin=subprocess.PIPE)
        ann.process.stdin.write("here\n")
        ann.process.stdin.flush()
        ann.wait(lambda: any("acknowledged" in x for x in ann.out))
    else:
        ann = cli("ann").sub("-t", topic, *will)
        cli("ann").pub("-t", topic, "-m", "here")
    watch.wait_messages(1)
    kill(ann)
    here, gone = lines_of(watch.finish())
    assert [(m["payload"], m["verdict"], m["sender"], m["by_broker"]) for m in (here, gone)] == [("here", "live", "ann", False), ("gone", "live", "ann", False)]
    assert here["stream"] != gone["stream"] and gone["sequence"] == 0 and gone["signed"] == (command == "pub")


def test_a_will_where_signatures_are_required(cli, name):
    """A signature is required: the broker could not seal a plain will, so it would be dropped."""
    cli("boss").run("topic", "create", name, "--signatures", "required", "--member", "ann", "--member", "bob")
    watch = cli("bob").sub("-t", name, "-C", 1, "-F", "%c %p")
    ann = cli("ann").sub("-t", name, "--will-topic", name, "--will-payload", "gone")
    kill(ann)
    assert watch.finish() == ["ann gone"]


def test_a_will_follows_the_key(cli, topic):
    """After a rotation the client connects again with a will under the new epoch; the old one would be dropped."""
    watch = cli("bob").sub("-t", topic, "-C", 1, "-F", "jsonl")
    ann = cli("ann").sub("-t", topic, "--will-topic", topic, "--will-payload", "gone")
    assert cli("boss").run("topic", "rotate", topic).stdout == f"{topic}: done, epoch 2\n"
    ann.wait(lambda: ann.lines.count("Subscribed") == 2)
    kill(ann)
    assert [(m["payload"], m["epoch"]) for m in lines_of(watch.finish())] == [("gone", 2)]


def test_a_will_on_a_plain_topic(cli, topic, name):
    watch = cli("bob").sub("-t", f"plain/{name}", "-C", 1, "-v")
    kill(cli("ann").sub("-t", topic, "--will-topic", f"plain/{name}", "--will-payload", "gone"))
    assert watch.finish() == [f"plain/{name} gone"]
    why = cli("ann").run("sub", "-t", topic, "--sealed", "--will-topic", f"plain/{name}", "-W", 10, status=1).stderr
    assert f"--will-topic plain/{name}: not sealed for this client, and --sealed forbids plain text" in why


def test_a_will_is_another_message_after_each_loss(cli, topic):
    """The connection is taken over, its will published, and ann comes back: her next will must be no duplicate of the first."""
    watch = cli("bob").sub("-t", topic, "-C", 2, "-F", "jsonl")
    ann = cli("ann").sub("-t", topic, "-i", f"{topic}-ann", "--will-topic", topic, "--will-payload", "gone")
    cli("ann").run("sub", "-t", topic, "-i", f"{topic}-ann", "-E")
    watch.wait_messages(1)
    ann.wait(lambda: ann.lines.count("Subscribed") == 2)
    kill(ann)
    first, second = lines_of(watch.finish())
    assert (first["payload"], second["payload"]) == ("gone", "gone") and first["stream"] != second["stream"]
