"""The manual pages: every option and command of the programs is in them, and every key of the configuration."""
import pathlib
import re
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = ROOT / "build"


def options(*command):
    text = subprocess.run([*command, "--help"], capture_output=True, text=True, check=False)
    return set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", text.stdout + text.stderr))


def page(name):
    return re.sub(r"\\-", "-", (ROOT / "docs" / "man" / name).read_text(encoding="utf-8"))


@pytest.mark.parametrize("command", ["pub", "sub", "chat", "send", "inbox", "topic", "key", "receipt"])
def test_options_of_sealmq(command):
    missing = {o for o in options(BUILD / "sealmq", command) if f"Fl Fl {o[2:]}" not in page("sealmq.1")} - {"--help"}
    assert not missing


@pytest.mark.parametrize("command", ["pub", "sub"])
def test_every_option_of_mosquitto_is_known(command):
    """Each works, or is refused with the reason: none is unknown, and none is taken for something else."""
    text = subprocess.run([f"mosquitto_{command}", "--help"], capture_output=True, text=True, check=False).stdout
    theirs = {o for line in re.findall(r"^ (-.*?) :", text, re.M) for o in re.findall(r"--?[A-Za-z][\w-]*", line)} - {"--help"}
    assert len(theirs) > 30 and {"-t", "-q", "--cafile", "--will-topic"} <= theirs
    for option in sorted(theirs):
        said = subprocess.run([BUILD / "sealmq", command, option], capture_output=True, text=True, check=False, timeout=60, env={"HOME": "/nonexistent"}).stderr
        assert "unknown option" not in said and said.startswith(f"sealmq {command}: "), (option, said)


def test_options_of_sealmqd():
    missing = {o for o in options(BUILD / "sealmqd") if f"Fl Fl {o[2:]}" not in page("sealmqd.8")}
    assert not missing


def test_commands():
    listed = re.findall(r"^  (\w+)  ", subprocess.run([BUILD / "sealmq", "--help"], capture_output=True, text=True, check=True).stdout, re.M)
    assert len(listed) > 4 and all(f".Cm {name}" in page("sealmq.1") for name in listed)


@pytest.mark.parametrize("source, name, section", [("configuration.md", "sealmq.conf", "5"), ("formats.md", "sealmq-formats", "7")])
def test_generated_pages_hold_all_of_their_document(source, name, section):
    made = subprocess.run([ROOT / "scripts" / "md-to-man.sh", ROOT / "docs" / source, name, section, "x"], capture_output=True, text=True, check=True).stdout
    text = re.sub(r"\\f[BIR]", "", re.sub(r"\\-", "-", made)).replace("\\e", "\\")
    document = (ROOT / "docs" / source).read_text(encoding="utf-8")
    for word in set(re.findall(r"`([^`\n|]+)`", document)):
        assert word in text, word
    assert all(f'"{heading}"' in text for heading in re.findall(r"^##+ (.*)", document, re.M) if "`" not in heading)
