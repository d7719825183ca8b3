"""sealmq chat: conversations in pipes and on a terminal, against the real broker."""
import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import termios
import threading
import time

import pytest

from lib import env
from lib.pki import CLIENT_AUTH
from lib.sealing import Member, formats

pytestmark = pytest.mark.sealmqd_only("key spaces are ours")
STORES = (0,)
BROKER_OPTIONS = {"topic_admin": "boss"}
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"


@pytest.fixture(scope="session")
def people(pki):
    return {cn: pki.authority.issue(f"chat-{cn}", cn, kind="rsa2048", eku=(CLIENT_AUTH,)) for cn in ("boss", "ann", "bob", "carol", "reader", "stranger")}


@pytest.fixture
def cli(broker, people, sealmq):
    return lambda cn: sealmq(broker, people[cn])


@pytest.fixture
def room(cli, name):
    cli("boss").run("topic", "create", name, "--member", "ann", "--member", "bob", "--member", "carol", "--member", "reader:read", "--history", 100)
    return name


class Console:
    """A sealmq chat between two pipes; what it prints as (kind, name, text)."""

    def __init__(self, cli, room, *options):
        self.running = cli.start("chat", room, "--reconnect-max", 1, *options, stdin=subprocess.PIPE)

    def say(self, *lines):
        for line in lines:
            self.running.process.stdin.write(f"{line}\n")
        self.running.process.stdin.flush()
        return self

    def lines(self):
        split = [x.split("\t") for x in list(self.running.out)]
        assert all(len(x) == 4 and re.fullmatch(TIME, x[0]) for x in split), split
        return [tuple(x[1:]) for x in split]

    def wait(self, *line):
        self.running.wait(lambda: line in self.lines())
        assert line in self.lines(), (line, self.running.lines)
        return self

    def said(self):
        """Messages alone."""
        return [x for x in self.lines() if x[0] in ("live", "late", "past", "refused")]

    def end(self, status=0):
        self.running.process.stdin.close()
        self.running.finish(status)
        return self.lines()


def enter(cli, room, *options):
    """A console that is in the room: it has been told so itself."""
    return Console(cli, room, *options).wait("here", cli.cert.crt.stem.removeprefix("chat-"), "")


def test_three_members(cli, room):
    ann, bob = enter(cli("ann"), room), enter(cli("bob"), room)
    ann.wait("joined", "bob", "")
    carol = enter(cli("carol"), room)
    assert [x for x in carol.lines() if x[0] == "here"] == [("here", cn, "") for cn in ("ann", "bob", "carol")]
    for one in (ann, bob):
        one.wait("joined", "carol", "")
    ann.say("hello", "how are you?")
    for one in (ann, bob, carol):
        one.wait("live", "ann", "how are you?")
        assert one.said() == [("live", "ann", "hello"), ("live", "ann", "how are you?")]
    bob.say("fine")
    carol.wait("live", "bob", "fine").end()
    ann.wait("left", "carol", "")
    bob.wait("left", "carol", "").end()
    ann.wait("left", "bob", "").end()


def test_end_of_input_waits_for_all(cli, room):
    n = 500
    reader = enter(cli("bob"), room)
    done = cli("ann").run("chat", room, stdin="".join(f"line {i}\n" for i in range(n)) + "no line feed")
    own = [x.split("\t")[1:] for x in done.stdout.splitlines() if "\tann\t" in x and x.split("\t")[3]]
    assert not done.stderr and own == [["live", "ann", f"line {i}"] for i in range(n)] + [["live", "ann", "no line feed"]]
    expected = [("live", "ann", f"line {i}") for i in range(n)] + [("live", "ann", "no line feed")]
    reader.wait(*expected[-1])
    assert reader.said() == expected
    reader.end()


def test_who_comes_late_sees_the_past(cli, room):
    cli("ann").run("chat", room, stdin="one\ntwo\nthree\n")
    bob = enter(cli("bob"), room)
    bob.wait("past", "ann", "three")
    assert bob.said() == [("past", "ann", x) for x in ("one", "two", "three")]
    assert [x for x in bob.lines() if x[0] == "here"] == [("here", "bob", "")]
    carol = enter(cli("carol"), room, "--history", "2")
    carol.wait("past", "ann", "three")
    assert [x[2] for x in carol.said()] == ["two", "three"]
    for one in (bob, carol):
        one.end()


def test_who_is_lost_has_left(cli, room):
    ann, bob = enter(cli("ann"), room), enter(cli("bob"), room)
    ann.wait("joined", "bob", "")
    bob.running.process.kill()
    ann.wait("left", "bob", "")
    assert [x for x in enter(cli("carol"), room).lines() if x[0] == "here"] == [("here", "ann", ""), ("here", "carol", "")]
    ann.end()


def test_the_will_is_that_of_the_newest_key(cli, room):
    """The broker takes nothing under a former key, 60 s later or, after a removal, at once."""
    ann, bob = enter(cli("ann"), room), enter(cli("bob"), room)
    ann.wait("joined", "bob", "")
    cli("boss").run("topic", "remove", room, "reader")
    ann.say("under the new key")
    bob.running.wait(lambda: [x[1:] for x in bob.said()] == [("ann", "under the new key")])  # `past` when bob was just coming back
    for one in (ann, bob): # each has come back with a will under the new key
        one.running.wait(lambda one=one: sum(x[0] == "here" for x in one.lines()) >= 3)
    bob.running.process.kill()
    ann.wait("left", "bob", "").end()


def test_two_consoles_of_one(cli, room):
    first, second, bob = enter(cli("ann"), room), enter(cli("ann"), room), enter(cli("bob"), room)
    second.end()
    first.say("still here")
    bob.wait("live", "ann", "still here")
    assert [x[0] for x in bob.lines() if x[1] == "ann" and x[0] in ("joined", "left")][-1:] != ["left"]
    late = enter(cli("carol"), room)
    late.running.wait(lambda: ("here", "ann", "") in late.lines() or ("joined", "ann", "") in late.lines())
    for one in (first, bob, late):
        one.end()


def test_a_signal_says_goodbye(cli, room):
    ann, bob = enter(cli("ann"), room), enter(cli("bob"), room)
    ann.wait("joined", "bob", "")
    bob.running.process.send_signal(signal.SIGTERM)
    assert bob.running.process.wait(env.TIMEOUT_S) == 0
    ann.wait("left", "bob", "").end()


@pytest.fixture
def forger(broker, people):
    made = []

    def make(cn, client_id):
        made.append(Member(broker, people[cn], client_id))
        return made[-1]
    yield make
    for one in made:
        one.mqtt.drop()


def test_what_is_forged_is_not_shown(cli, forger, room, name):
    bob, mallory = enter(cli("bob"), room), forger("carol", f"{name}-forger")
    mallory.ask_keys(room)
    signed = mallory.seal(room, b"signed", signed=True)
    mallory.publish(room, b"I am ann", signed=False)                                       # no signature
    mallory.mqtt.publish(f"$SEALED/{room}", signed[:-1] + bytes([signed[-1] ^ 1]), 1)      # an altered one
    mallory.mqtt.publish(f"$SEALED/{room}", formats.sign(mallory.key, room, mallory.seal(f"{room}/x", b"of another topic")), 1)
    mallory.mqtt.publish(f"$SEALED/{room}/presence/ann", mallory.seal(f"{room}/presence/ann", b"left 0123456789abcdef", signed=True), 1)
    mallory.mqtt.publish(room, b"ann: plain text", 1)                                      # sealed by the broker, which names carol
    mallory.publish(room, b"truly carol", signed=True)
    bob.wait("live", "carol", "truly carol")
    refused = [x for x in bob.lines() if x[0] == "refused"]
    assert len(refused) == 5 and all(x[1] == "" for x in refused), refused
    assert "not signed" in refused[0][2] and "signature" in refused[1][2] and "another's name" in refused[3][2] and "not signed" in refused[4][2]
    assert [x for x in bob.lines() if x[0] == "live"] == [("live", "carol", "truly carol")]
    assert not any("I am ann" in x or "plain text" in x for x in bob.running.lines)
    bob.end(status=3)


def test_escapes_are_neutralised(cli, forger, room, name):
    bob, carol = enter(cli("bob"), room), forger("carol", f"{name}-forger")
    carol.ask_keys(room)
    carol.publish(room, b"\x1b[2J\x07 red\r\nann: hi\t\\n \xc2\x9b31m \xe2\x80\xae \xff end", signed=True)
    bob.running.wait(lambda: bob.said())
    assert bob.said() == [("live", "carol", r"\u{1b}[2J\u{7} red\r\nann: hi\t\\n \u{9b}31m \u{202e} \x{ff} end")]
    bob.end()


def test_nothing_typed_is_lost_when_the_broker_is(start_broker, people, sealmq, name):
    """Lines are typed while there is no broker; it comes back with what it had."""
    broker = start_broker({"topic_admin": "boss", "store": "lmdb", "store_dir": "store", "store_max_size": "64M"})
    cli = {cn: sealmq(broker, people[cn]) for cn in ("boss", "ann", "bob")}
    cli["boss"].run("topic", "create", name, "--member", "ann", "--member", "bob", "--history", 1000)
    ann, bob = enter(cli["ann"], name), enter(cli["bob"], name)
    for turn in range(3):
        ann.say(*(f"{turn} {i}" for i in range(10)))
        broker.kill()
        ann.say(*(f"{turn} {i}" for i in range(10, 15)))
        broker.start()
    bob.running.wait(lambda: len(bob.said()) >= 45, timeout=60)
    assert [x[2] for x in bob.said()] == [f"{turn} {i}" for turn in range(3) for i in range(15)]
    ann.end()
    bob.end()


def test_who_may_not(cli, room):
    assert "no conversation for this client" in cli("stranger").run("chat", room, status=1).stderr
    assert "no conversation for this client" in cli("ann").run("chat", f"{room}-plain", stdin="x\n", status=1).stderr
    told = cli("reader").run("chat", room, stdin="a\nb\n", status=1).stderr
    assert sum(int(n) for n in re.findall("acknowledged, but not handed on by the broker: ([12]) of your lines", told)) == 2, told


@pytest.mark.parametrize("arguments", [[], ["a", "b"], ["a/#"], ["$SYS/a"]], ids=str)
def test_usage(cli, arguments):
    assert "sealmq chat: " in cli("ann").run("chat", *arguments, status=2).stderr


class Terminal:
    """A sealmq chat on a terminal of 60 columns. `screen` is what a terminal would show."""

    def __init__(self, cli, room):
        master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 60, 0, 0))
        self.before = termios.tcgetattr(slave)
        self.process = subprocess.Popen([env.SEALMQ, "chat", room], stdin=slave, stdout=slave, stderr=slave, close_fds=True,
                                        env={**cli.environ, "TERM": "xterm", "LC_ALL": "C.UTF-8", "INPUTRC": "/dev/null"})
        self.master, self.slave, self.raw = master, slave, b""
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        while True:
            try:
                got = os.read(self.master, 4096)
            except OSError:
                return
            if not got:
                return
            self.raw += got

    def screen(self):
        """Rows, of what xterm does with what readline and we send: the cursor moves, ends of rows are cleared."""
        rows, row, column = [""], 0, 0
        text = self.raw.decode("utf-8", "replace")
        for token in re.findall(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b.|[\s\S]", text):
            if token == "\n":
                row += 1
            elif token == "\r":
                column = 0
            elif token == "\b":
                column = max(0, column - 1)
            elif token in ("\x1b[A",):
                row = max(0, row - 1)
            elif token in ("\x1b[C",):
                column += 1
            elif token in ("\x1b[K", "\x1b[0K"):
                rows[row] = rows[row][:column]
            elif token in ("\x1b[2K",):
                rows[row] = ""
            elif token.startswith("\x1b") or token == "\x07":
                continue
            else:
                if column == 60:
                    row, column = row + 1, 0
                while len(rows) <= row:
                    rows.append("")
                rows[row] = rows[row].ljust(column)[:column] + token + rows[row][column + 1:]
                column += 1
            while len(rows) <= row:
                rows.append("")
        return [x.rstrip() for x in rows]

    def wait(self, pattern):
        end = time.monotonic() + 2 * env.TIMEOUT_S
        while time.monotonic() < end and not any(re.fullmatch(pattern, x) for x in self.screen()):
            time.sleep(0.02)
        assert any(re.fullmatch(pattern, x) for x in self.screen()), (pattern, self.screen(), self.raw)

    def wait_row(self, text):
        """Until the row that is being typed is this."""
        end = time.monotonic() + 2 * env.TIMEOUT_S
        while time.monotonic() < end and self.screen()[-1] != text:
            time.sleep(0.02)
        assert self.screen()[-1] == text, self.screen()

    def type(self, text):
        os.write(self.master, text.encode())

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.slave)
        os.close(self.master)


@pytest.fixture
def terminal(cli):
    opened = []

    def make(cn, room):
        opened.append(Terminal(cli(cn), room))
        return opened[-1]
    yield make
    for one in opened:
        one.close()


CLOCK = r"\d\d:\d\d:\d\d"


def test_on_a_terminal(cli, terminal, room):
    cli("ann").run("chat", room, stdin="from before\n")
    bob, ann = terminal("bob", room), None
    bob.wait(rf"\[past \d{{4}}-\d\d-\d\d {CLOCK}\] ann: from before")
    bob.wait(rf"\* \[{CLOCK}\] here: bob")
    ann = enter(cli("ann"), room)
    bob.wait(rf"\* \[{CLOCK}\] ann joined")
    bob.type("half a li")
    bob.wait("bob> half a li")
    ann.say("meanwhile")
    bob.wait(rf"\[{CLOCK}\] ann: meanwhile")
    bob.wait_row("bob> half a li")  # what came did not garble what is being typed
    bob.type("XX\x7f\x7fne\r")
    ann.wait("live", "bob", "half a line")
    bob.wait(rf"\[{CLOCK}\] bob: half a line")
    bob.wait_row("bob>")
    ann.say("x" * 49 + "[12:00:00] carol: I agree")
    bob.wait(rf"\[{CLOCK}\] ann: x{{44}}")
    bob.wait(r"    xxxxx\[12:00:00\] carol: I agree")  # no part of a message stands where a line of another begins
    bob.type("\x04")
    assert bob.process.wait(env.TIMEOUT_S) == 0
    assert termios.tcgetattr(bob.slave) == bob.before
    ann.wait("left", "bob", "").end()


def test_interrupted_on_a_terminal(cli, terminal, room):
    ann, bob = enter(cli("ann"), room), terminal("bob", room)
    bob.wait(rf"\* \[{CLOCK}\] here: ann, bob")
    bob.process.send_signal(signal.SIGINT)
    assert bob.process.wait(env.TIMEOUT_S) == 0
    assert termios.tcgetattr(bob.slave) == bob.before
    ann.wait("left", "bob", "").end()
