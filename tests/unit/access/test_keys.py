"""The form of a key: random, with a checksum that finds every typing error, and a hint that gives little away."""

import string

from hypothesis import given
from hypothesis import strategies as st

from rushes.access.keys import digest_key, hint_at, is_well_formed, make_key

KEYS = st.builds(make_key)
CHARACTERS = st.characters(codec="ascii")


@given(KEYS)
def test_a_new_key_is_well_formed(key: str) -> None:
    assert is_well_formed(key)
    assert len(key) == 45
    assert set(key.removeprefix("rsh_live_")) <= set(string.ascii_letters + string.digits)


@given(KEYS, st.data())
def test_a_key_with_one_other_character_is_refused(key: str, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(key) - 1))
    other = data.draw(CHARACTERS.filter(lambda each: each != key[index]))
    assert not is_well_formed(key[:index] + other + key[index + 1 :])


@given(KEYS, st.data())
def test_a_key_with_swapped_neighbours_is_refused(key: str, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(key) - 2))
    swapped = key[:index] + key[index + 1] + key[index] + key[index + 2 :]
    assert is_well_formed(swapped) == (swapped == key)


@given(KEYS, st.integers(0, 44), CHARACTERS)
def test_a_longer_or_shorter_key_is_refused(key: str, index: int, added: str) -> None:
    assert not is_well_formed(key[:index] + key[index + 1 :])
    assert not is_well_formed(key[:index] + added + key[index:])
    assert not is_well_formed(f"{key}\n")


@given(KEYS)
def test_a_hint_shows_four_characters_at_each_end(key: str) -> None:
    shown = hint_at(key).removeprefix("rsh_live_").split("...")
    assert [len(each) for each in shown] == [4, 4]
    assert key.startswith(f"rsh_live_{shown[0]}")
    assert key.endswith(shown[1])


def test_two_keys_are_never_the_same() -> None:
    keys = [make_key() for _ in range(100)]
    assert len({*keys, *map(digest_key, keys)}) == 200
