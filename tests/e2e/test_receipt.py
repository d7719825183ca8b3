"""sealmq receipt, on the transcript of tests/vectors."""
import os
import shutil
import subprocess

import pytest

from lib import env

pytestmark = pytest.mark.sealmqd_only("the command line is ours")
VECTORS = env.ROOT / "tests" / "vectors"
TRUST = ("--cafile", VECTORS / "ca.crt")


def receipt(*arguments, status=0):
    run = subprocess.run([env.BUILD_DIR / "sealmq", "receipt", *map(str, arguments)], capture_output=True, text=True, timeout=60 * env.SLOW,
                         env={**os.environ, "SEALMQ_CONFIG": ""}, check=False)
    assert run.returncode == status, (run.returncode, run.stdout, run.stderr)
    return run.stdout + run.stderr


def key(name):
    return "--cert", VECTORS / f"{name}.crt", "--key", VECTORS / f"{name}.key"


@pytest.fixture
def kept(tmp_path):
    return shutil.copy(VECTORS / "proof" / "transcript", tmp_path / "transcript")


def test_make_and_verify(kept, tmp_path):
    made = tmp_path / "receipt"
    receipt("make", kept, *key("ec"), "--first", 3, "-o", made)
    said = receipt("verify", made, kept, *TRUST)
    assert "by 'ec'" in said and "messages 3 to 12" in said and "8 messages signed" in said and "2 not signed" in said
    assert "9 messages signed" in receipt("verify", kept, *TRUST)
    assert receipt("make", kept, *key("ec")).count(".") == 2


@pytest.mark.parametrize("spoil, line, word", [
    (lambda lines: lines[:6] + [lines[6].replace('"verdict":"live"', '"verdict":"late"')] + lines[7:], 7, "changed"),
    (lambda lines: lines[:6] + lines[7:], 7, "dropped"),
    (lambda lines: lines[:6] + [lines[7], lines[6]] + lines[8:], 7, "out of order"),
    (lambda lines: lines[:6] + [lines[3]] + lines[6:], 7, "added"),
    (lambda lines: lines[:-2], 14, "dropped"),
], ids=["changed", "dropped", "reordered", "added", "cut off"])
def test_the_first_line_that_is_not_right_is_named(kept, spoil, line, word):
    lines = kept.read_text().splitlines()
    kept.write_text("".join(one + "\n" for one in spoil(lines)))
    said = receipt("verify", VECTORS / "proof" / "receipt", kept, *TRUST, status=1)
    assert f"{kept}:{line}: " in said and word in said, said


def test_who_may_sign(kept, tmp_path, pki):
    assert "another certificate" in receipt("make", kept, *key("rsa"), status=1)
    stranger = ("--cafile", pki.ca)
    assert "not to be trusted" in receipt("verify", VECTORS / "proof" / "receipt", kept, *stranger, status=1)
    assert f"{kept}:3: its sender is not to be trusted" in receipt("verify", kept, *stranger, status=1)


@pytest.mark.parametrize("arguments, reason", [
    ([], "expected make or verify"), (["make", "x"], "--cert and --key"), (["make"], "expected one transcript"), (["verify", "x"], "--cafile"),
    (["verify", *TRUST], "expected a receipt and a transcript"), (["verify", "x", "--first", "no"], "--first: expected a number"),
])
def test_usage_errors(arguments, reason):
    assert reason in receipt(*arguments, status=2)


def test_files_that_are_wrong(kept, tmp_path):
    assert "No such file" in receipt("verify", tmp_path / "nothing", *TRUST, status=1)
    assert "three parts in base64url" in receipt("verify", kept, kept, *TRUST, status=1)
    (tmp_path / "empty").write_text("")
    assert "no transcript" in receipt("verify", tmp_path / "empty", *TRUST, status=1)
    assert "no message" in receipt("make", tmp_path / "empty", *key("ec"), status=1)
