"""formats.txt: whatever the formats must refuse is there, with tests that exist."""
import re

from test_clauses import TESTS, missing_tests, rows

# What has to be refused or told apart, from docs/formats.md 3 and 4, in formats.txt's words or the beginning of them.
CLAIMS = {
    "envelope": ["opens with `openssl cms`", "one made by `openssl cms` opens", "every truncation", "every flipped byte", "trailing bytes", "PKCS#1 v1.5", "EnvelopedData with CBC",
                 "OAEP with SHA-1", "icvlen 12", "BER", "another device's signature", "issuer is not the signer", "wrong recipient", "older epoch", "mode going down",
                 "known kid with another key", "a fuzz target for each parser"],
    "message": ["the second implementation opens ours", "ours opens the second implementation's", "duplicate keys", "non-minimal integers", "indefinite lengths", "Partial IV of 7 or 9 bytes",
                "non-empty unprotected maps", "stripped signature, required", "stripped signature, optional", "re-signing", "parent space's kid for a sub-space", "another topic",
                "another kid", "another stream", "another sender", "ES256 and PS256", "verification with chain, validity, revocation"],
    "verdict": ["live", "late", "past", "duplicate", "revoked-since", "refused, more than 5 min ahead", "refused, behind the window", "DUP redelivery", "a forged high sequence number",
                "offline for an hour", "history twice", "a live message replayed with RETAIN = 1", "fork repeats", "restart repeats", "the 17th stream"],
}


def claims():
    return rows("formats.txt")


def test_each_claim_is_there():
    there = [c[0] for c in claims()]
    assert [f"[{section}: {text}" for section, texts in CLAIMS.items() for text in texts if not any(t.startswith(f"[{section}: {text}") for t in there)] == []
    assert all(re.fullmatch(r"\[(envelope|message|verdict): .+\]", t) for t in there) and len(set(there)) == len(there)


def test_each_is_held_by_tests_that_exist():
    assert all(len(c) == 2 for c in claims()) and missing_tests(claims()) == []


def test_every_fuzz_target_of_the_formats_has_a_corpus():
    (held_by,) = [c[1] for c in claims() if "a fuzz target" in c[0]]
    names = re.findall(r"fuzz/fuzz_(\w+)\.c", held_by)
    assert names and all(any((TESTS / "fuzz" / "corpus" / name).iterdir()) for name in names)
