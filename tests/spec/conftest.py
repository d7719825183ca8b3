"""Specification tests, named by clause of MQTT 3.1.1; they share the library of tests/e2e."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))

from lib.fixtures import *  # noqa: E402,F401,F403
from lib.fixtures import _no_test_hangs, _slot  # noqa: E402,F401
