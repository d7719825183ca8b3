# SPDX-License-Identifier: GPL-3.0-or-later
"""`make install DESTDIR=…`, and a program out of the tree that finds libsealmq by pkg-config alone: shared, static, and from C++."""
import os
import pathlib
import re
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("BUILD_DIR", ROOT / "build" / "release"))
VECTORS = ROOT / "tests" / "vectors"
PREFIX = "/opt/sealmq"
SANITIZERS = {"asan": ["-fsanitize=address,undefined"], "tsan": ["-fsanitize=thread"]}.get(BUILD.name, [])

PROGRAM = r"""
#include <sealmq.h>
#include <stdio.h>
#include <string.h>

int main(int argc, char **argv)
{
    struct sealmq_options o;
    struct sealmq *h;
    char why[256];
    unsigned char out[256];
    size_t n;
    if (argc != 4)
        return 2;
    memset(&o, 0, sizeof o);
    o.certfile = argv[1];
    o.keyfile = argv[2];
    o.cafile = argv[3];
    if (sealmq_open_member(&h, &o, why, sizeof why) != SEALMQ_OK) {
        puts(why);
        return 1;
    }
    if (sealmq_seal(h, "plant/x", "hello", 5, 0, out, sizeof out, &n) == SEALMQ_NEED_KEYS)
        printf("%s %s wants %s\n", sealmq_version(), sealmq_cn(h), sealmq_wanted(h));
    sealmq_close(h);
    return 0;
}
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    destination = tmp_path_factory.mktemp("install")
    subprocess.run(["make", "--no-print-directory", f"MODE={BUILD.name}", "install", f"DESTDIR={destination}", f"PREFIX={PREFIX}"], cwd=ROOT, check=True,
                   timeout=600)
    return destination


def flags(destination, *words):
    environ = {**os.environ, "PKG_CONFIG_PATH": f"{destination}{PREFIX}/lib/pkgconfig", "PKG_CONFIG_SYSROOT_DIR": str(destination)}
    return subprocess.run(["pkg-config", *words, "sealmq"], env=environ, check=True, capture_output=True, text=True).stdout.split()


def build_and_run(destination, folder, *words, compiler=("cc", "-std=c11"), suffix="c"):
    source, program = folder / f"program.{suffix}", folder / "program"
    source.write_text(PROGRAM, encoding="ascii")
    subprocess.run([*compiler, "-Wall", "-Wextra", "-Wpedantic", "-Werror", *SANITIZERS, "-o", program, source, *flags(destination, "--cflags", "--libs", *words)],
                   check=True, cwd=folder, timeout=120)
    done = subprocess.run([program, *(VECTORS / x for x in ("rsa.crt", "rsa.key", "ca.crt"))], capture_output=True, text=True, check=False, timeout=60,
                          env={**os.environ, "LD_LIBRARY_PATH": f"{destination}{PREFIX}/lib"})
    assert (done.returncode, done.stdout) == (0, f"{version()} rsa wants $KEYS/plant/x\n"), done.stderr
    return subprocess.run(["readelf", "-d", program], capture_output=True, text=True, check=True).stdout


def version():
    return re.search(r'define VERSION_NUMBER "(.*)"', (ROOT / "base" / "version.h").read_text(encoding="utf-8")).group(1)


def test_a_program_links_the_shared_library(installed, tmp_path):
    assert "libsealmq.so.0" in build_and_run(installed, tmp_path)
    assert flags(installed, "--modversion") == [version()]


def test_a_program_links_the_static_library(installed, tmp_path):
    """Where there is no shared one; the program needs no library of ours when it runs."""
    alone = tmp_path / "alone"
    shutil.copytree(installed, alone, symlinks=True)
    for shared in (alone / PREFIX[1:] / "lib").glob("libsealmq.so*"):
        shared.unlink()
    needed = build_and_run(alone, tmp_path, "--static")
    assert "libsealmq" not in needed and "wolfssl" not in needed


def test_the_header_is_one_for_cpp_too(installed, tmp_path):
    if not shutil.which("c++"):
        pytest.skip("there is no C++ compiler")
    build_and_run(installed, tmp_path, compiler=("c++", "-std=c++17"), suffix="cc")


def test_what_is_installed(installed):
    there = {str(p.relative_to(installed)) for p in installed.rglob("*") if not p.is_dir()}
    wanted = {f"{PREFIX[1:]}/{p}" for p in ("sbin/sealmqd", "bin/sealmq", "include/sealmq.h", "lib/libsealmq.a", "lib/libsealmq.so", "lib/libsealmq.so.0",
                                            "lib/pkgconfig/sealmq.pc", "lib/systemd/system/sealmqd.service", "share/man/man1/sealmq.1",
                                            "share/man/man5/sealmq.conf.5", "share/man/man7/sealmq-formats.7", "share/man/man8/sealmqd.8")}
    assert wanted <= there, wanted - there
