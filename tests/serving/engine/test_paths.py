"""Reading and writing at paths."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.errors import InvalidInput
from millrace.serving.engine.paths import read_path, write_path

NAMES = st.text(st.characters(exclude_characters=".", exclude_categories=("Cs",)), min_size=1, max_size=5)


@given(st.lists(NAMES, min_size=1, max_size=5), st.integers())
def test_what_is_written_at_a_path_is_read_there(parts, value):
    path = ".".join(parts)
    assert read_path(path, step="s")(write_path(path, step="s")({}, value)) == value


def test_number_in_a_path_is_a_place_in_a_list():
    assert read_path("rows.1.x", step="s")({"rows": [{"x": 1}, {"x": 2}]}) == 2


@pytest.mark.parametrize(
    ("body", "part"), [({}, "a"), ({"a": {}}, "b"), ({"a": [1]}, "b"), ({"a": 5}, "b"), (None, "a"), ({"a": None}, "b")]
)
def test_missing_part_is_named(body, part):
    with pytest.raises(InvalidInput, match=rf"step 's': the body has no '{part}' on its input_path 'a.b'"):
        read_path("a.b", step="s")(body)


def test_writing_makes_what_is_missing_and_keeps_the_rest():
    assert write_path("a.b", step="s")({"a": {"c": 1}, "d": 2}, 3) == {"a": {"c": 1, "b": 3}, "d": 2}
    assert write_path("a.b", step="s")(None, 3) == {"a": {"b": 3}}


@pytest.mark.parametrize("body", [[], 5, {"a": 5}, {"a": []}])
def test_writing_into_what_is_no_dict_is_refused(body):
    with pytest.raises(InvalidInput, match=r"result_path 'a.b' of (a list|an int)"):
        write_path("a.b", step="s")(body, 3)
