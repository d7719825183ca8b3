# SPDX-License-Identifier: GPL-3.0-or-later
"""Transcripts and receipts that client/ makes, checked by the second implementation."""

import pathlib
import sys

import pytest
from cryptography import x509

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from sealmq_formats import Refused  # noqa: E402
from sealmq_proof import check  # noqa: E402

VECTORS = pathlib.Path(__file__).parent.parent / "vectors"
AUTHORITY = x509.load_pem_x509_certificate((VECTORS / "ca.crt").read_bytes())
RECEIPT = (VECTORS / "proof" / "receipt").read_text()
LINES = (VECTORS / "proof" / "transcript").read_bytes().split(b"\n")[:-1]


def test_what_the_client_made_verifies():
    assert check(LINES, RECEIPT, AUTHORITY) == 8
    assert len(LINES) == 15


@pytest.mark.parametrize("i", range(len(LINES)))
def test_no_line_can_be_dropped_changed_or_moved(i):
    for lines in (LINES[:i] + LINES[i + 1:], LINES[:i] + [LINES[i].replace(b"1", b"2")] + LINES[i + 1:], LINES[:i] + [LINES[i]] + LINES[i:],
                  LINES[:i] + LINES[i + 1:i + 2] + [LINES[i]] + LINES[i + 2:] if i + 1 < len(LINES) else LINES[:i]):
        with pytest.raises((Refused, ValueError)):
            check(lines, RECEIPT, AUTHORITY)


def test_no_character_of_a_receipt_can_be_changed():
    for i in range(0, len(RECEIPT) - 1, 7):
        with pytest.raises((Refused, ValueError)):
            check(LINES, RECEIPT[:i] + ("B" if RECEIPT[i] == "A" else "A") + RECEIPT[i + 1:], AUTHORITY)
