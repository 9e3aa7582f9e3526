"""Names of files from the callers' own ids."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rushes.jobs.pushing import choose_stems


@pytest.mark.parametrize(
    ("references", "stems"),
    [
        (["TEST-001", "Scene 2 / b"], ["TEST-001", "Scene-2-b"]),
        (["a", None, "b"], ["a", None, "b"]),
        (["a", "A", "b"], [None, None, "b"]),
        (["1-intro", "2-end"], ["1-intro", "2-end"]),
        (["1-intro", None], [None, None]),
        (["../..", "???"], [None, None]),
        (["été", "日本"], ["ete", "Ri-Ben"]),
    ],
)
def test_files_are_named_by_the_reference(references: list[str | None], stems: list[str | None]) -> None:
    assert choose_stems(references) == stems


@given(st.lists(st.none() | st.text(max_size=200) | st.sampled_from(["a", "A", "a.", "1-a", "2-b"]), max_size=20))
def test_no_two_files_have_the_same_name(references: list[str | None]) -> None:
    stems = choose_stems(references)
    names = [f"{stem or f'{number}-a'}".casefold() for number, stem in enumerate(stems, start=1)]
    assert len(set(names)) == len(names)
    assert not any(stem and (stem.startswith(".") or "/" in stem) for stem in stems)
