# SPDX-License-Identifier: GPL-3.0-or-later
"""conf/sealmqd.service: systemd understands it, and thinks it well shut in."""
import pathlib
import re
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
ANALYZE = shutil.which("systemd-analyze")
pytestmark = pytest.mark.skipif(not ANALYZE, reason="systemd-analyze is not installed")

# Points of exposure of systemd 252: what the broker needs (Internet and local sockets, the host's files and network) adds up to 1.2. Later
# versions ask more.
EXPOSURE_MAX = 2.0


@pytest.fixture
def unit(tmp_path):
    """As `make install` writes it, with a program where it says."""
    (tmp_path / "sbin").mkdir()
    (tmp_path / "sbin" / "sealmqd").write_text("#!/bin/sh\n", encoding="ascii")
    (tmp_path / "sbin" / "sealmqd").chmod(0o755)
    text = (ROOT / "conf" / "sealmqd.service").read_text(encoding="utf-8")
    file = tmp_path / "sealmqd.service"
    file.write_text(text.replace("@PREFIX@", str(tmp_path)).replace("@SYSCONFDIR@", str(tmp_path / "etc")), encoding="utf-8")
    assert "@" not in re.sub(r"@(system-service|privileged|resources)", "", file.read_text(encoding="utf-8"))
    return file


def analyze(*words):
    got = subprocess.run([ANALYZE, *words], capture_output=True, text=True, timeout=60, check=False)
    if "nrecognized option" in got.stderr or "Operation not permitted" in got.stderr:
        pytest.skip(f"this systemd-analyze cannot: {got.stderr.strip()}")
    return got


def test_systemd_understands_it(unit):
    got = analyze("verify", "--man=no", str(unit))
    assert got.returncode == 0 and str(unit.name) not in got.stderr, got.stderr


def test_it_is_well_shut_in(unit):
    got = analyze("security", "--offline=true", "--no-pager", str(unit))
    exposure = float(re.search(r"Overall exposure level for \S+: ([0-9.]+)", got.stdout).group(1))
    assert exposure <= EXPOSURE_MAX, got.stdout


@pytest.mark.parametrize("line", ["LimitCORE=0", "NoNewPrivileges=yes", "CapabilityBoundingSet=", "MemoryDenyWriteExecute=yes", "ExecReload=/bin/kill -HUP $MAINPID"])
def test_what_other_parts_rely_on_stays(unit, line):
    assert line in unit.read_text(encoding="utf-8").splitlines()
