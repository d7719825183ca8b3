"""End-to-end tests: a broker over mutual TLS, byte-level and real clients. lib/env.py lists the environment that steers them."""
from lib.fixtures import *  # noqa: F401,F403
from lib.fixtures import _no_test_hangs, _slot  # noqa: F401
