"""sealmq pub and sub on topics that are not sealed: what mosquitto_pub and mosquitto_sub do with the same flags."""
import base64
import json
import re
import signal
import socket
import struct
import subprocess

import pytest

from lib import env
from lib.programs import Mosquitto

pytestmark = pytest.mark.sealmqd_only("the command line is ours")
STORES = (0,)


@pytest.fixture
def cli(broker, pki, sealmq):
    return sealmq(broker, pki.device(1))


@pytest.fixture
def mosquitto(broker, pki):
    one = Mosquitto(broker, pki.device(2))
    yield one
    one.close()


def test_pub_and_sub(cli, name):
    sub = cli.sub("-t", f"{name}/#", "-C", 2, "-v")
    cli.pub("-t", f"{name}/a", "-m", "hello")
    cli.pub("-t", f"{name}/b", "-n")
    assert sub.finish() == [f"{name}/a hello", f"{name}/b (null)"]


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_each_qos_both_ways_with_mosquitto(cli, mosquitto, name, qos):
    ours, theirs = cli.sub("-t", name, "-q", qos, "-C", 2, "-F", "%q %p"), mosquitto.sub("-t", name, "-q", qos, "-C", 2, "-F", "%q %p")
    cli.pub("-t", name, "-q", qos, "-m", "ours")
    mosquitto.pub("-t", name, "-q", qos, "-m", "theirs")
    assert ours.finish() == theirs.finish() == [f"{qos} ours", f"{qos} theirs"]


@pytest.mark.parametrize("arguments, stdin, expected", [
    (["-l"], "one\ntwo\n\nlast without line feed", ["one", "two", "", "last without line feed"]),
    (["-l", "-q", 0], "".join(f"{i}\n" for i in range(3000)), [str(i) for i in range(3000)]),
    (["-l", "-q", 2, "-M", 5], "".join(f"{i}\n" for i in range(500)), [str(i) for i in range(500)]),
    (["-s"], "all\nof it", ["all", "of it"]),
    (["-f", "/etc/hostname"], None, None),
    (["-m", "again", "--repeat", 3], None, ["again"] * 3),
    (["-m", "again", "--repeat", 2, "--repeat-delay", "0.02"], None, ["again"] * 2),
], ids=["lines", "lines-qos0", "lines-qos2", "stdin", "file", "repeat", "delay"])
def test_where_payloads_come_from(cli, name, arguments, stdin, expected):
    n = {"-l": len(expected or []), "-m": len(expected or [])}.get(arguments[0], 1)
    sub = cli.sub("-t", name, "-C", n)
    cli.pub("-t", name, *arguments, stdin=stdin)
    with open("/etc/hostname", encoding="utf-8") as f:
        assert sub.finish() == (expected or f.read().split("\n"))


def test_retained(cli, name):
    cli.pub("-t", f"{name}/kept", "-m", "kept", "-r")
    assert cli.run("sub", "-t", f"{name}/#", "-C", 1, "-F", "%r %p").stdout == "1 kept\n"
    sub = cli.sub("-t", f"{name}/#", "-R", "-C", 1)
    cli.pub("-t", f"{name}/x", "-m", "live")
    assert sub.finish() == ["live"]
    sub = cli.sub("-t", f"{name}/#", "--retained-only")
    cli.pub("-t", f"{name}/x", "-m", "live")
    assert sub.finish() == ["kept"]
    cli.run("sub", "-t", f"{name}/#", "--remove-retained", "-C", 1)
    assert cli.run("sub", "-t", f"{name}/#", "-W", 1, status=27).stdout == ""


def test_formats(cli, mosquitto, name):
    text = r"%t|%p|%l|%q|%r|%x|%X|%%|\t|\\|@Y"
    ours, theirs = cli.sub("-t", name, "-q", 1, "-C", 1, "-F", text), mosquitto.sub("-t", name, "-q", 1, "-C", 1, "-F", text)
    json_form = cli.sub("-t", name, "-C", 1, "-F", "%j")
    cli.pub("-t", name, "-m", "ä{}")
    assert ours.finish() == theirs.finish()
    seen = json.loads(json_form.finish()[0])
    assert (seen["topic"], seen["payload"], seen["payloadlen"], seen["qos"], seen["retain"]) == (name, "ä{}", 4, 1, 0)
    for i, payload in enumerate(("one", "two")):
        cli.pub("-t", f"{name}/{i}", "-r", "-m", payload)
    assert cli.run("sub", "-t", f"{name}/+", "-C", 2, "-N").stdout == "onetwo"


def test_jsonl(cli, name):
    sub = cli.sub("-t", name, "-C", 2, "-F", "jsonl")
    cli.pub("-t", name, "-m", 'say "hi"\n')
    cli.pub("-t", name, "-f", "/proc/self/cmdline")  # NUL bytes
    first, second = map(json.loads, sub.finish())
    assert (first["topic"], first["payload"], first["verdict"], first["qos"]) == (name, 'say "hi"\n', "plain", 1)
    assert base64.b64decode(second["payload_base64"]).startswith(str(env.SEALMQ).encode() + b"\0")


def test_filters(cli, name):
    sub = cli.sub("-t", f"{name}/+/x", "-t", f"{name}/b/#", "-T", f"{name}/b/secret", "-C", 3, "-v")
    for topic in ("a/x", "b/secret", "a/y", "b/c", "c/x"):
        cli.pub("-t", f"{name}/{topic}", "-m", topic)
    assert sub.finish() == [f"{name}/a/x a/x", f"{name}/b/c b/c", f"{name}/c/x c/x"]


def test_exit_after_suback_and_session(cli, name):
    cli.run("sub", "-t", name, "-E", "-c", "-i", f"{name}-session")
    cli.pub("-t", name, "-m", "while away")
    assert cli.run("sub", "-t", name, "-c", "-i", f"{name}-session", "-C", 1).stdout == "while away\n"


def test_acknowledgement_log(cli, name):
    lines = cli.pub("-t", name, "-l", "-v", stdin="a\nbb\n").stdout.splitlines()
    assert [re.sub(r"\d+ ms", "N ms", x) for x in lines] == [f"acknowledged 1 {name} 1 bytes, N ms", f"acknowledged 2 {name} 2 bytes, N ms"]


def test_will(cli, name):
    sub = cli.sub("-t", f"{name}/presence", "-C", 1, "-v")
    gone = cli.sub("-t", f"{name}/x", "--will-topic", f"{name}/presence", "--will-payload", "gone", "--will-qos", 1)
    gone.process.kill()
    assert sub.finish() == [f"{name}/presence gone"]


def test_url(broker, pki, sealmq, name):
    url = f"mqtts://127.0.0.1:{broker.port}/{name}/topic"
    cli = sealmq(None, pki.device(1), SEALMQ_CAFILE=str(pki.ca))
    sub = cli.sub("-L", url, "-C", 1)
    cli.pub("-L", url, "-m", "by url")
    assert sub.finish() == ["by url"]


def test_configuration_file(broker, pki, sealmq, name, tmp_path):
    """A file with relative paths, found below the home; the environment wins over it, the command line over both."""
    folder = tmp_path / "sealmq"
    folder.mkdir()
    for source, target in ((pki.ca, "ca.crt"), (pki.device(1).crt, "me.crt"), (pki.device(1).key, "me.key")):
        (folder / target).write_bytes(source.read_bytes())
    (folder / "client.conf").write_text(f"# mine\nhost 127.0.0.1\nport {broker.port}\ncafile ca.crt\ncert me.crt\nkey me.key\ntopic {name}/file\n", encoding="utf-8")
    cli = sealmq(None, None)
    sub = cli.sub("-t", f"{name}/#", "-v", "-C", 3)
    cli.pub("-m", "hi")
    sealmq(None, None, SEALMQ_TOPIC=f"{name}/environment").pub("-m", "hi")
    sealmq(None, None, SEALMQ_TOPIC=f"{name}/environment").pub("-m", "hi", "-t", f"{name}/option")
    assert sub.finish() == [f"{name}/{x} hi" for x in ("file", "environment", "option")]
    (folder / "client.conf").write_text("hots localhost\nqos 3\n", encoding="utf-8")
    wrong = cli.pub("-t", "x", "-m", "hi", status=2).stderr
    assert "client.conf:1: hots: unknown" in wrong and "client.conf:2: qos: expected a number from 0 to 2" in wrong


@pytest.mark.parametrize("arguments, reason", [
    (["pub"], "expected one topic"),
    (["pub", "-t", "a"], "expected one of -m, -f, -l, -s, -n"),
    (["pub", "-t", "a", "-m", "x", "-n"], "expected one of -m, -f, -l, -s, -n"),
    (["pub", "-t", "a/#", "-m", "x"], "not a topic"),
    (["pub", "-t", "a", "-m", "x", "-q", "3"], "-q: expected a number from 0 to 2, not '3'"),
    (["pub", "-t", "a", "-m", "x", "-p", "http"], "-p: expected a number"),
    (["pub", "-t", "a", "-m"], "-m: expected TEXT behind it"),
    (["pub", "-t", "a", "-m", "x", "-V", "5"], "does not speak MQTT 5"),
    (["pub", "-t", "a", "-m", "x", "-D", "publish"], "properties are MQTT 5's"),
    (["pub", "-t", "a", "-m", "x", "--cert", "x.crt"], "expected --cert and --key together"),
    (["pub", "-t", "a", "-m", "x", "--sealed"], "sealing needs --cafile, --cert and --key"),
    (["pub", "-t", "a", "-m", "x", "--frobnicate"], "unknown option"),
    (["sub"], "expected a filter"),
    (["sub", "-t", "a/#/b"], "not a topic filter"),
    (["sub", "-t", "a", "-F", "%y"], "-F: expected one of"),
    (["sub", "-t", "a", "--max-age", "soon"], "expected a span such as 90s"),
    (["sub", "-t", "a", "-c"], "needs a client id"),
    (["frobnicate"], "there is no command 'frobnicate'"),
], ids=str)
def test_usage_errors(sealmq, arguments, reason):
    cli = sealmq(None, None, SEALMQ_CAFILE="ca.crt")
    assert reason in cli.run(*arguments, status=2).stderr


def test_files_that_are_wrong(broker, pki, sealmq, tmp_path):
    good = sealmq(broker, pki.device(1))
    other = pki.device(3)
    assert f"{tmp_path}/none.crt: cannot read" in good.pub("-t", "a", "-m", "x", "--cert", tmp_path / "none.crt", status=1).stderr
    assert "expected a PEM certificate and its unencrypted key" in good.pub("-t", "a", "-m", "x", "--key", other.key, status=1).stderr
    assert "not-there" in good.pub("-t", "a", "-m", "x", "--cafile", tmp_path / "not-there", status=1).stderr


def test_no_connection(pki, sealmq):
    cli = sealmq(None, pki.device(1), SEALMQ_CAFILE=str(pki.ca), SEALMQ_HOST="127.0.0.1", SEALMQ_PORT="1")
    assert "127.0.0.1: Connection refused" in cli.pub("-t", "a", "-m", "x", status=1).stderr
    assert cli.pub("-t", "a", "-m", "x", "--keep-trying", "-W", 1, status=27).stderr.count("refused") >= 1


def test_ended_before_the_handshake(pki, sealmq, lateconnect):
    """As when a broker is killed just then: the client sees it, and tries again if it is to."""
    reset = struct.pack("ii", 1, 0)
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(2 * env.TIMEOUT_S)
        cli = sealmq(None, pki.device(1), SEALMQ_CAFILE=str(pki.ca), SEALMQ_HOST="127.0.0.1", SEALMQ_PORT=str(server.getsockname()[1]), **lateconnect)
        for options, tries in (((), 1), (("--keep-trying", "--reconnect-max", 1), 3)):
            pub = cli.start("pub", "-t", "a", "-m", "x", *options)
            for _ in range(tries):
                one, _ = server.accept()
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
                one.close()
            if options:
                pub.process.send_signal(signal.SIGINT)
            pub.finish(status=1)
            assert any(x.startswith("sealmq: 127.0.0.1: ") for x in pub.err), pub.err


def test_refused_by_the_broker(broker, pki, sealmq):
    stranger, reason = pki.bad["other_ca"]
    assert reason and sealmq(broker, stranger).pub("-t", "a", "-m", "x", status=1).stderr.startswith("sealmq: 127.0.0.1: ")


def test_retry_until_acknowledged(start_broker, pki, sealmq, tmp_path):
    """The broker is killed and started again while lines go out: every line arrives."""
    options = {"store": "lmdb", "store_dir": "store", "store_max_size": "64M", "max_queued_messages": 100000}
    broker = start_broker(options)
    cli = sealmq(broker, pki.device(1))
    cli.run("sub", "-t", "lines", "-E", "-c", "-i", "keeper")
    pub = cli.start("pub", "-t", "lines", "-l", "--keep-trying", "--reconnect-max", 1, stdin=subprocess.PIPE)
    n = 0
    for _ in range(3):
        for _ in range(200):
            pub.process.stdin.write(f"{n}\n")
            n += 1
        pub.process.stdin.flush()
        broker.process.kill()
        broker.process.wait()
        broker.start()
    pub.process.stdin.close()
    pub.finish()
    sub = cli.run("sub", "-t", "lines", "-c", "-i", "keeper", "-W", 2, status=27)
    seen = [int(x) for x in sub.stdout.split()]
    assert sorted(set(seen)) == list(range(n))
    first_times = list(dict.fromkeys(seen))
    assert first_times == sorted(first_times)  # a repeat may come late, nothing comes early


def test_interrupt(cli, name):
    sub = cli.sub("-t", name)
    sub.process.send_signal(2)
    assert sub.finish() == []
    assert any("sending DISCONNECT" in x for x in sub.lines)
