"""A short run of tests/fuzz/stateful.py: mutated sessions over mutual TLS disturb nobody."""
import os
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "fuzz"))
import stateful                                                          # noqa: E402

pytestmark = pytest.mark.sealmqd_only("its memory bound and its log are ours")


@pytest.mark.parametrize("store", ["memory", "lmdb"])
def test_mutated_sessions_disturb_nobody(store):
    """FUZZ_SECONDS (default 5) for each store; seed FUZZ_SEED (default 1)."""
    assert stateful.fuzz(float(os.environ.get("FUZZ_SECONDS", "5")), int(os.environ.get("FUZZ_SEED", "1")), store=store) > 0
