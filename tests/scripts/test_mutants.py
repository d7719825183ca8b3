"""tests/mutants/mutants.txt fits the code and the tests as they are; make mutants runs it."""
import importlib.util
import pathlib
import re

import pytest

TESTS = pathlib.Path(__file__).resolve().parents[1]
_spec = importlib.util.spec_from_file_location("mutants", TESTS / "mutants" / "run.py")  # bench/ has a run.py, too
run = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(run)

MUTANTS = list(run.mutants())


def test_there_are_forty_clauses():
    assert len({m.clause for m in MUTANTS}) >= 40


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: f"{m.clause}-{m.file}")
def test_each_fits_the_code_and_names_a_test_of_its_clause(mutant):
    assert run.mutated(mutant) != (TESTS.parent / mutant.file).read_text(encoding="utf-8")
    path, _, test = mutant.test.partition(":")
    assert re.search(rf"^def {test}\(", (TESTS / path).read_text(encoding="utf-8"), re.M)
    clauses = (TESTS / "spec" / "clauses.txt").read_text(encoding="utf-8").splitlines()
    line = next(c for c in clauses if c.startswith(mutant.clause))
    assert mutant.test in line
