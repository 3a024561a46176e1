"""YAML and JSON within bounds: each of these would take all memory, never end, or raise something else later on."""

import pytest

from visual_summaries.pipeline.documents import DocumentError, parse_json, parse_yaml


def levels(form: str, depth: int = 40) -> str:
    """Some lines in which each value holds the one before it several times."""
    lines = ["a0: &a0 {x: 1, y: 2}"]
    for level in range(1, depth):
        inner = ", ".join([f"*a{level - 1}"] * 4)
        named = ", ".join(f"k{number}: *a{level - 1}" for number in range(4))
        value = {"list": f"[{inner}]", "mapping": f"{{{named}}}", "merge": f"{{<<: [{inner}], z{level}: 1}}"}[form]
        lines.append(f"a{level}: &a{level} {value}")
    return "\n".join(lines)


@pytest.mark.parametrize("form", ["list", "mapping", "merge"])
def test_aliases_that_stand_for_billions_are_refused(form: str) -> None:
    with pytest.raises(DocumentError, match=r"aliases \(\*\) stand for more than 100000 values"):
        parse_yaml(levels(form))


@pytest.mark.parametrize("form", ["list", "mapping"])
def test_aliases_that_build_up_levels_are_refused_without_recursion(form: str) -> None:
    text = "\n".join(["- &a0 [1]", *(f"- &a{n} [*a{n - 1}]" for n in range(1, 3000))])
    with pytest.raises(DocumentError, match="stand for more than|nested too deeply"):
        parse_yaml(text if form == "list" else text.replace("[", "{k: ").replace("]", "}"))


def test_aliases_in_moderation_are_read() -> None:
    assert parse_yaml("a: &a {x: 1}\nb: {<<: *a, y: 2}\nc: [*a, *a]") == {
        "a": {"x": 1},
        "b": {"x": 1, "y": 2},
        "c": [{"x": 1}, {"x": 1}],
    }
    assert parse_yaml("") is None and parse_yaml("# nothing\n") is None


@pytest.mark.parametrize(
    "text, message",
    [
        ("a: &a [*a]", "line 1: what begins here holds itself"),
        ("a: &a {b: *a}", "holds itself"),
        ("[" * 150 + "]" * 150, "nested too deeply, more than 100 levels"),
        ("[" * 5000, "nested too deeply, more than 100 levels"),
        ("a: !!int x", "invalid literal"),
        ("a: !!bool x", "x"),
        ("a: !!timestamp x", "None"),
        ("a: 2024-13-45", "month"),
        ("a: 0b_", "invalid literal"),
        ("a: " + "9" * 5000, "4300 digits"),
        ("a: 0x" + "f" * 5000, "an integer of 20000 bits"),
        ("? 0x" + "f" * 5000 + "\n: a", "an integer of 20000 bits"),
        ('a: "\\ud800"', "half a character"),
        ("a: !!python/object/apply:os.system [id]", "could not determine a constructor"),
        ("? [a]\n: b", "unhashable"),
        ("a: 1\nb: 2\na: 3", "^a is set twice, on lines 1 and 3: leave one"),
        ("a: \0", "^not valid YAML: .*special characters"),
    ],
    ids=str.split("self inside levels endless int bool time month binary digits bits key half object list twice nul"),
)
def test_bad_yaml_is_one_line_that_says_why(text: str, message: str) -> None:
    with pytest.raises(DocumentError, match=message) as raised:
        parse_yaml(text)
    assert str(raised.value).isprintable() and len(str(raised.value)) <= 300


@pytest.mark.parametrize(
    "text, message",
    [
        ("[" * 150 + "]" * 150, "nested too deeply, more than 100 levels"),
        ("[" * 100_000, "nested too deeply, more than 100 levels"),
        ("9" * 5000, "4300 digits"),
        ('["\\ud800"]', "half a character"),
        ('{"a": {"\\udfff": 1}}', "half a character"),
        ('{"a": 1, "b": 2, "a": 1}', "^a is set twice: leave one"),
        ("{", "^not valid JSON: .*line 1 column 2"),
    ],
    ids=["levels", "endless", "digits", "half", "half a name", "twice", "unfinished"],
)
def test_bad_json_is_one_line_that_says_why(text: str, message: str) -> None:
    with pytest.raises(DocumentError, match=message) as raised:
        parse_json(text)
    assert str(raised.value).isprintable() and len(str(raised.value)) <= 300


def test_what_both_read_alike() -> None:
    text = '{"a": [1, 2.5, null, true, "b\\u00fc \\ud83d\\udc26"], "7": {}}'
    assert parse_json(text) == {"a": [1, 2.5, None, True, "bü 🐦"], "7": {}}
    assert parse_yaml('{"a": [1, 2.5, null, true, "bü 🐦"], "7": {}}') == parse_json(text)
