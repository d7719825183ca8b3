"""Fixtures of the end-to-end and the specification tests.

A module's broker is shared by its tests, one per store delay in STORES (default 0 and 20 ms); BROKER_OPTIONS and
LISTENER_OPTIONS of the module add to its configuration. Client ids and topics are the test's own (`name`), so tests do not meet.
"""
import itertools
import os
import signal
import subprocess

import pytest

from . import env
from .broker import Broker, Port
from .pki import Pki
from .programs import Sealmq

_names = itertools.count(1)


def pytest_configure(config):
    config.addinivalue_line("markers", "sealmqd_only(reason): what mosquitto does not do, or does otherwise")


def pytest_generate_tests(metafunc):
    if "_slot" in metafunc.fixturenames:
        stores = ("mosquitto",) if env.MOSQUITTO else getattr(metafunc.module, "STORES", (0, 20))
        metafunc.parametrize("_slot", stores, ids=[s if env.MOSQUITTO else f"store{s}ms" for s in stores], indirect=True, scope="module")


def pytest_collection_modifyitems(items):
    if env.MOSQUITTO:
        for item in items:
            if mark := item.get_closest_marker("sealmqd_only"):
                item.add_marker(pytest.mark.skip(reason=f"sealmqd only: {mark.args[0] if mark.args else ''}"))


@pytest.fixture
def port():
    """One that is free, for a listener of the test's own."""
    one = Port()
    yield one.number
    one.release()


@pytest.fixture(scope="session")
def pki(tmp_path_factory):
    return Pki(tmp_path_factory.mktemp("pki"))


class _Slot:
    """The broker of a module; replaced when a test has brought it down, so that the next test is judged by itself."""

    def __init__(self, make):
        self._make, self.broker = make, None

    def get(self):
        if self.broker is None or not self.broker.alive():
            self.broker = self._make()
        return self.broker


@pytest.fixture(scope="module")
def _slot(request, tmp_path_factory, pki):
    module = request.module
    options = dict(getattr(module, "BROKER_OPTIONS", {}))
    if not env.MOSQUITTO:
        options["store_memory_delay_ms"] = request.param
    slot = _Slot(lambda: Broker(tmp_path_factory.mktemp("broker"), pki, options, getattr(module, "LISTENER_OPTIONS", None)).start())
    yield slot
    if slot.broker is not None and slot.broker.alive():
        try:
            slot.broker.stop()
        finally:
            slot.broker.kill()


@pytest.fixture
def broker(_slot):
    """The module's broker; it must outlive the test, without a sanitizer report."""
    one = _slot.get()
    mark = one.log_mark()
    yield one
    assert one.alive(), f"the broker ended with {one.process.returncode}:\n{one.log_since(mark)[-6000:]}"
    one.check_log()


@pytest.fixture
def start_broker(tmp_path_factory, pki):
    """Brokers of this test alone: start_broker({options}, ...) as Broker takes them; all are stopped and checked at its end."""
    started = []

    def start(options=None, wait=True, program_args=(), directory=None, **more):
        one = Broker(directory or tmp_path_factory.mktemp("broker"), pki, options, **more)
        started.append(one)
        return one.start(wait, program_args)
    yield start
    for one in started:
        try:
            if one.alive():
                one.stop()
            one.check_log()
        finally:
            one.kill()


def _preload(tmp_path_factory, name):
    """What a process's environment needs for tests/e2e/NAME/NAME.c to stand before the C library's calls."""
    target = tmp_path_factory.mktemp(name) / f"{name}.so"
    subprocess.run([os.environ.get("CC", "cc"), "-std=c11", "-Wall", "-Wextra", "-O1", "-fPIC", "-shared", "-o", target,
                    env.ROOT / "tests/e2e" / name / f"{name}.c", "-ldl"], check=True)
    return {"LD_PRELOAD": str(target), "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0"}


@pytest.fixture(scope="session")
def faultdisk(tmp_path_factory):
    """The environment of a process whose writes can be made to fail."""
    return _preload(tmp_path_factory, "faultdisk")


@pytest.fixture(scope="session")
def lateconnect(tmp_path_factory):
    """The environment of a client that finds its connection ended before its first byte."""
    return _preload(tmp_path_factory, "lateconnect")


@pytest.fixture
def name():
    """A client id and topic root that no other test has."""
    return f"t{next(_names)}"


@pytest.fixture
def connect(broker, name):
    """connect(client id suffix, ...): an accepted connection of this test; those left open are dropped at its end."""
    opened = []

    def make(suffix="", cert="device1", version=None, **options):
        client_id = options.pop("client_id", None)
        one = broker.client(name + suffix if client_id is None else client_id, cert, version, **options)
        opened.append(one)
        return one
    yield make
    for one in opened:
        one.drop()


@pytest.fixture
def sealmq(tmp_path):
    """sealmq(broker, cert, **environ): the command line as that client; what it starts is ended with the test."""
    made = []

    def make(broker, cert, **environ):
        made.append(Sealmq(broker, cert, tmp_path, environ))
        return made[-1]
    yield make
    for one in made:
        one.close()


@pytest.fixture(autouse=True)
def _no_test_hangs():
    """A test that neither passes nor fails is failed."""
    def late(*_):
        raise AssertionError("the test hangs")
    former = signal.signal(signal.SIGALRM, late)
    signal.alarm(int(60 + 60 * env.SLOW))
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, former)
