"""Where keys stand in a TOML text."""

from __future__ import annotations

import tomllib

import pytest

from rules.toml_lines import error_line, key_lines, line_of

TEXT = '''\
# a comment with [a.table] and order = 1
order = [
    "emergency",  # "not this ]"
    "trunk",
    'intercept',
]

[rules.intercept]
mode = "observe"
text = """
mode = 1
[rules.none]
"""
"quoted key".inner = { one = 1, two = [1, { deep = 2 }] }

[[trunk]]
id = "a"
[[trunk]]
id = "b"
[trunk.more]
x = 1979-05-27T07:32:00Z
'''


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("order",), 2),
        (("order", 0), 3),
        (("order", 2), 5),
        (("rules", "intercept"), 8),
        (("rules", "intercept", "mode"), 9),
        (("rules", "intercept", "quoted key", "inner", "two", 1, "deep"), 14),
        (("rules", "none"), None),
        (("trunk", 0, "id"), 17),
        (("trunk", 1), 18),
        (("trunk", 1, "more", "x"), 21),
    ],
)
def test_lines(path: tuple[str | int, ...], line: int | None) -> None:
    tomllib.loads(TEXT)
    assert key_lines(TEXT).get(path) == line


def test_the_nearest_thing_that_has_a_line() -> None:
    assert line_of(key_lines(TEXT), ("rules", "intercept", "absent")) == 8
    assert line_of({}, ("a",)) is None


@pytest.mark.parametrize(("text", "line"), [("a = 1\nb = = 2\n", 2), ("a = 1\nb = [1,\n", 3)])
def test_errors(text: str, line: int) -> None:
    with pytest.raises(tomllib.TOMLDecodeError) as error:
        tomllib.loads(text)
    assert error_line(str(error.value), text) == line
