# SPDX-License-Identifier: GPL-3.0-or-later
"""sealmq key export, backup and import: an owner on another machine."""
import json

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC

from lib.pki import CLIENT_AUTH

pytestmark = pytest.mark.sealmqd_only("key spaces are ours")
STORES = (0,)
BROKER_OPTIONS = {"topic_admin": "boss"}
PASSWORD = "correct horse battery"


@pytest.fixture(scope="session")
def people(pki):
    return {cn: pki.authority.issue(f"move-{cn}", cn, kind="rsa2048", eku=(CLIENT_AUTH,)) for cn in ("boss", "ann", "bob", "mallory")}


@pytest.fixture
def on(broker, people, sealmq, tmp_path):
    """on(machine, cn): that client with the machine's files."""
    for cn in ("ann", "bob"):
        sealmq(broker, people[cn]).run("sub", "-t", "x/seen", "-E", "-W", 10)
    return lambda machine, cn="boss", cert=None: sealmq(broker, cert or people[cn], XDG_DATA_HOME=str(tmp_path / machine))


@pytest.fixture
def topic(on, name):
    on("one").run("topic", "create", name, "--mode", "owner", "--member", "ann", "--history", 10)
    return name


def test_two_machines_in_turn(on, topic, tmp_path):
    file = tmp_path / "keys"
    assert "keys are not on this machine" in on("two").run("topic", "admit", topic, status=1).stderr
    on("one").run("key", "export", topic, "-o", file, "--password-file", "-", stdin=PASSWORD + "\n")
    assert file.stat().st_mode & 0o777 == 0o600
    assert "epoch 1, new here" in on("two").run("key", "import", file, "--password-file", "-", stdin=PASSWORD).stdout
    assert "done, epoch 1" in on("two").run("topic", "add", topic, "--member", "bob").stdout
    assert "done, epoch 2" in on("two").run("topic", "rotate", topic).stdout
    assert "newer epoch than this machine" in on("one").run("topic", "rotate", topic, status=3).stderr
    on("two").run("key", "export", topic, "-o", file, "--password-file", "-", stdin=PASSWORD)
    assert "epoch 2, newer than here" in on("one").run("key", "import", file, "--password-file", "-", stdin=PASSWORD).stdout
    assert "done, epoch 3" in on("one").run("topic", "rotate", topic).stdout
    on("two", "ann").pub("-t", topic, "-m", "for bob, too")
    assert on("two", "bob").run("sub", "-t", topic, "--history", "1", "-C", 1).stdout == "for bob, too\n"


def test_a_backup_brings_all_topics_back(on, topic, tmp_path):
    on("one").run("topic", "create", topic + "-b", "--mode", "owner", "--member", "ann")
    (tmp_path / "password").write_text(PASSWORD + "\n")
    made = on("one").run("key", "backup", "-o", tmp_path / "all", "--password-file", tmp_path / "password")
    assert "the keys of 2 topics" in made.stdout
    assert on("new").run("key", "import", tmp_path / "all", "--password-file", tmp_path / "password").stdout.count("new here") == 2
    assert "done, epoch 2" in on("new").run("topic", "rotate", topic).stdout and "done, epoch 2" in on("new").run("topic", "rotate", topic + "-b").stdout


def test_what_is_not_opened(on, topic, tmp_path):
    file = tmp_path / "keys"
    assert "at least 12 characters" in on("one").run("key", "export", topic, "-o", file, "--password-file", "-", stdin="short\n", status=2).stderr
    on("one").run("key", "export", topic, "-o", file, "--password-file", "-", stdin=PASSWORD)
    assert "another one, or the file was changed" in on("two").run("key", "import", file, "--password-file", "-", stdin="wrong horse battery", status=3).stderr
    data = file.read_bytes()
    for at in (15, 20, 60, len(data) - 1):
        file.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1:])
        assert on("two").run("key", "import", file, "--password-file", "-", stdin=PASSWORD, status=None).returncode in (1, 3)
    assert "keys are not on this machine" in on("two").run("topic", "admit", topic, status=1).stderr


def test_for_a_certificate(on, people, pki, topic, tmp_path):
    """The owner's next certificate; and nobody else can send keys to an owner."""
    file, other = tmp_path / "keys", pki.authority.issue("move-boss2", "boss", kind="rsa2048", eku=(CLIENT_AUTH,))
    on("one").run("key", "export", topic, "-o", file, "--to", other.crt)
    on("two").run("key", "import", file, status=3)  # not for the certificate of before
    assert "new here" in on("two", cert=other).run("key", "import", file).stdout
    assert on("two", "mallory").run("key", "import", file, status=3).stdout == ""
    on("three", "mallory").run("topic", "list")
    assert "owns no such topic" in on("three", "mallory").run("key", "export", topic, "-o", file, "--to", people["boss"].crt, status=1).stderr


def test_the_second_implementation_opens_an_export(on, topic, tmp_path):
    file = tmp_path / "keys"
    on("one").run("key", "export", topic, "-o", file, "--password-file", "-", stdin=PASSWORD)
    data = file.read_bytes()
    assert data[:20] == b"sealmq-keys v1\n" + bytes([1, 0, 0, 0, 36])
    iterations, salt = int.from_bytes(data[20:24], "big"), data[24:56]
    key = PBKDF2HMAC(hashes.SHA256(), 32, salt, iterations).derive(PASSWORD.encode())
    plain = AESGCM(key).decrypt(bytes(12), data[56:], data[:56])
    n, json_len = int.from_bytes(plain[:4], "big"), int.from_bytes(plain[4:8], "big")
    assert len(plain) == 4 + n and json.loads(plain[8:8 + json_len])["topic"] == topic and json.loads(plain[8 + json_len:])["keys"][0]["kty"] == "oct"
