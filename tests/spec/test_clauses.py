"""clauses.txt is whole, and every test that it names exists."""
import pathlib
import re

TESTS = pathlib.Path(__file__).resolve().parents[1]

# Statements in each section of MQTT 3.1.1's appendix B.
SECTIONS = {
    "1.5.3": 3, "2.2.2": 2, "2.3.1": 7, "3.1.0": 2, "3.1.2": 24, "3.1.3": 11, "3.1.4": 5, "3.2.0": 1, "3.2.2": 6, "3.3.1": 12, "3.3.2": 3,
    "3.3.4": 1, "3.3.5": 2, "3.6.1": 1, "3.8.1": 1, "3.8.3": 4, "3.8.4": 6, "3.9.3": 2, "3.10.1": 1, "3.10.3": 2, "3.10.4": 6,
    "3.12.4": 1, "3.14.1": 1, "3.14.4": 3, "4.1.0": 2, "4.3.1": 1, "4.3.2": 2, "4.3.3": 2, "4.4.0": 1, "4.5.0": 2, "4.6.0": 6,
    "4.7.1": 3, "4.7.2": 1, "4.7.3": 4, "4.8.0": 2, "6.0.0": 4, "7.0.0": 2, "7.1.1": 1, "7.1.2": 1,
}


def rows(file):
    """A table's lines, each a list of its columns."""
    text = (TESTS / "spec" / file).read_text(encoding="utf-8")
    return [line.split(" | ") for line in text.splitlines() if line and not line.startswith("#")]


def clauses():
    return rows("clauses.txt")


def test_every_statement_is_there_once_and_in_order():
    wanted = [f"[MQTT-{section}-{n}]" for section, count in SECTIONS.items() for n in range(1, count + 1)]
    assert [c[0] for c in clauses()] == wanted


def test_each_has_a_paraphrase_and_a_test_or_a_reason():
    for c in clauses():
        assert len(c) == 3 and c[1].strip() and (not c[2].startswith("-") or re.fullmatch(r"- \S.*", c[2])), c


def named_tests(held_by):
    return [] if held_by.startswith("-") else held_by.split(", ")


def test_each_is_held_by_a_test_of_the_broker():
    """A decoder that knows the rule does not yet make a broker that keeps it."""
    assert [c[0] for c in clauses() if named_tests(c[2]) and not re.search(r"(^|, )(spec|e2e|unit/broker)/", c[2])] == []


def test_a_test_named_by_its_clause_stands_on_that_line():
    held = {number: named_tests(by) for number, _, by in clauses()}
    missing = []
    for file in sorted((TESTS / "spec").glob("test_spec_*.py")):
        for test, *digits in re.findall(r"^def (test_mqtt_(\d+)_(\d+)_(\d+)_(\d+)_\w+)\(", file.read_text(encoding="utf-8"), re.M):
            number = "[MQTT-{}.{}.{}-{}]".format(*digits)
            if number in held and f"spec/{file.name}:{test}" not in held[number]:
                missing.append(f"{number} {test}")
    assert not missing


def missing_tests(table):
    """The tests that a table names in its last column, and that do not exist."""
    missing = []
    for name, *_, held_by in table:
        for test in named_tests(held_by):
            path, _, function = test.partition(":")
            pattern = rf"START_TEST\({function}\)|^int {function}\(" if path.endswith(".c") else rf"^def {function}\("
            file = TESTS / path
            if not file.is_file() or not re.search(pattern, file.read_text(encoding="utf-8"), re.M):
                missing.append(f"{name} {test}")
    return missing


def test_named_tests_exist():
    assert missing_tests(clauses()) == []
