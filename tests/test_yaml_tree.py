"""YAML with the line of every value; hostile texts end as errors by name."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from signalbox.cli.yaml_tree import MAX_BYTES, MAX_VALUES, Node, YamlError, read_yaml


def bare(node: Node) -> Any:
    """The tree without its lines."""
    if isinstance(node.value, dict):
        return {name: bare(item) for name, item in node.value.items()}
    if isinstance(node.value, tuple):
        return [bare(item) for item in node.value]
    return node.value


def read(text: str) -> Any:
    return bare(read_yaml(text.encode("utf-8", "surrogatepass"), "c.yaml"))


def mistake(text: str) -> str:
    with pytest.raises(YamlError) as caught:
        read_yaml(text.encode("utf-8", "surrogatepass"), "c.yaml")
    return str(caught.value)


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False)
        | st.text(st.characters(exclude_categories=["Cs"])),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(st.text("abc/*-. \u00e9", min_size=1, max_size=5), inner, max_size=3)
        ),
        max_leaves=8,
    )
)
def test_values_are_those_that_pyyaml_reads(tree: Any) -> None:
    text = yaml.safe_dump(tree, allow_unicode=True)
    assert read(text) == yaml.safe_load(text)


def test_every_value_knows_its_line_and_how_it_was_written() -> None:
    root = read_yaml(b"a: 1\nb:\n  - x\n  - 0.0000010\nc: &c {d: 1e-6}\ne: *c\n", "c.yaml")
    values = root.value
    assert values["b"].value[1].place == "c.yaml:4"
    assert values["b"].value[1].text == "0.0000010"
    assert values["c"].value["d"].value == "1e-6"  # YAML 1.1 wants a dot in a number
    assert values["e"] is values["c"]


def test_keys_are_what_was_written_and_dates_are_texts() -> None:
    assert read("on: 2024-06-01\n4: yes\n") == {"on": "2024-06-01", "4": True}


def test_merged_mappings_give_way_to_what_is_written_and_to_those_before() -> None:
    text = "a: &a {x: 1, y: 1}\nb: &b {y: 2, z: 2}\nc: {<<: [*a, *b], x: 3}\n"
    assert read(text)["c"] == yaml.safe_load(text)["c"] == {"x": 3, "y": 1, "z": 2}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1\nb: 2\na: 3", 'c.yaml:3: has "a" twice in one mapping'),
        ("a:\n  ? [x]\n  : 1", "c.yaml:2: expected a plain key, got a list or a mapping"),
        ("? \n: 1", "c.yaml:1: expected a key's name, got nothing"),
        ("a:\n- *b", "c.yaml:2: is no YAML: found undefined alias 'b'"),
        ("a: &x [1, *x]", "c.yaml:1: stands for something that it is a part of itself"),
        ("a: &x {<<: *x}", "c.yaml:1: stands for something that it is a part of itself"),
        ("a: {<<: 5}", "c.yaml:1: expected a mapping, or a list of them, behind <<"),
        ("a: !!python/name:os.system x", "c.yaml:1: has the type tag:yaml.org,2002:python/name:"),
        ("a: !mine {}", "c.yaml:1: has the type !mine, which is not read here"),
        ("a: !!binary eA==", "c.yaml:1: has the type tag:yaml.org,2002:binary"),
        ("a: !!int one", "c.yaml:1: is no int"),
        ('a: "\\ud800"', "c.yaml:1: expected Unicode text, got half of a surrogate pair"),
        ("a: [1\nb: 2", "c.yaml:2: is no YAML: while parsing a flow sequence"),
        ("a: 1\n--- \nb: 2", "c.yaml:2: is no YAML: expected a single document"),
        ("a: \x01", "c.yaml: expected YAML in UTF-8, without control characters"),
        ("[" * 500, "c.yaml: is nested too deeply"),
        ("a: " + "x" * MAX_BYTES, "c.yaml: expected at most 1024 KiB of YAML"),
    ],
)
def test_a_mistake_has_its_line_and_says_what_was_expected(text: str, expected: str) -> None:
    assert mistake(text).startswith(expected)


def test_bytes_that_are_no_utf_8_are_a_mistake() -> None:
    with pytest.raises(YamlError, match="expected YAML in UTF-8"):
        read_yaml(b"a: \xff", "c.yaml")


@pytest.mark.parametrize("item", ["[{}]", "{{<<: [{}], k{number}: *{last}}}"])
def test_a_few_lines_do_not_become_millions_of_values(item: str) -> None:
    lines = ["a0: &a0 {x: 1}"]
    for number in range(1, 30):
        last = f"a{number - 1}"
        many = ", ".join([f"*{last}"] * 9)
        lines.append(f"a{number}: &a{number} " + item.format(many, number=number, last=last))
    assert f"comes to more than {MAX_VALUES:,} values" in mistake("\n".join(lines))


@given(st.text("ab:-?[]{}&*!|>'\"%@`#,<= \n\t0.~\\ux\x85\u2028\ud800", max_size=40))
@example("? - a\n: b")
@example("%YAML 9.9\n--- x")
@example("!!bool x: 1")
def test_any_text_is_a_tree_or_a_mistake(text: str) -> None:
    node = None
    mistakes: tuple[str, ...] = ()
    try:
        node = read_yaml(text.encode("utf-8", "surrogatepass"), "c.yaml")
    except YamlError as error:
        mistakes = error.mistakes
    assert (node is None) == bool(mistakes)
    assert all(line.startswith("c.yaml") for line in mistakes)
