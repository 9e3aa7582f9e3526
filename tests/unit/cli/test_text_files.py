"""Plain text files: what is a prompt, what is left out, and how lines become paragraphs."""

import textwrap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.prompt_file.text import AmbiguousText, PromptText, Split, has_words, read_prompts

BREAKS = ("\n", "\r\n", "\r", "\u2028", "\u2029", "\x85", "\x0b")


def texts(found: PromptText) -> list[str]:
    return [each.text for each in found.prompts]


@pytest.mark.parametrize("mark", BREAKS)
def test_every_line_break_ends_a_prompt(mark: str) -> None:
    found = read_prompts(mark.join(["a fox", "", "a hen"]))
    assert [(each.number, each.text) for each in found.prompts] == [(1, "a fox"), (3, "a hen")]


def test_lines_without_a_prompt_are_left_out_and_counted() -> None:
    text = "# My scenes\nPrompts:\n\u200b\u00a0\nAct one:\na fox\n---\n=====\n───\n// later\n🦊\n✨✨✨\n***\n"
    found = read_prompts(text)
    assert texts(found) == ["a fox", "🦊"]
    assert found.skipped == {"comment": 2, "header": 1, "separator": 5, "heading": 1}


def test_a_later_line_that_says_prompt_is_a_prompt() -> None:
    assert texts(read_prompts("a fox\nprompt\n")) == ["a fox", "prompt"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1. a fox\n2. a hen\n\n3) a dog", ["a fox", "a hen", "a dog"]),
        ("- a fox\n* a hen\n• [ ] a dog", ["a fox", "a hen", "a dog"]),
        ("1. a fox\n1. a hen", ["a fox", "a hen"]),
        ("3. Juni in Berlin\na fox", ["3. Juni in Berlin", "a fox"]),
        ("**Scene 1:** a fox\nShot 2: a hen\n- a dog", ["a fox", "a hen", "a dog"]),
        ("Shot 35-mm film\nTake 2-year-old child", ["Shot 35-mm film", "Take 2-year-old child"]),
        ("Act one:\n1. a fox\n2. a hen\n\nAct two:\n1. a dog", ["a fox", "a hen", "a dog"]),
        ("#1 a fox\n#2 a hen", ["#1 a fox", "#2 a hen"]),
        ('"Hello," says the man to the dog, "Bye"', ['"Hello," says the man to the dog, "Bye"']),
        ("- a fox\n1. a hen\n2. a dog", ["a fox", "a hen", "a dog"]),
        ("1\uff0ea fox\n2\uff0ea hen", ["a fox", "a hen"]),
        ("一、狐狸\n二、母鸡", ["狐狸", "母鸡"]),
        ("\u201ca fox\u201d,\n\u201ca hen\u201d", ["a fox", "a hen"]),
        ('"a fox" says a sign\na hen', ['"a fox" says a sign', "a hen"]),
        ("1.5 litres of milk\n-5 degrees outside", ["1.5 litres of milk", "-5 degrees outside"]),
    ],
)
def test_list_marks_are_removed_and_other_numbers_are_not(text: str, expected: list[str]) -> None:
    assert texts(read_prompts(text)) == expected


SECTIONS = "A fox sits.\nA hen runs.\n\nA dog barks.\nA cat sleeps.\n"
WRAPPED = (
    "A lighthouse stands on a cliff at dusk while the sea below it\n"
    "breaks into white foam, and a slow camera moves towards the\n"
    "lamp.\n"
    "\n"
    "A market in the morning, seen from above, with many people who\n"
    "carry baskets.\n"
)
CONTINUED = "A cat on a roof,\nMoonlight behind it\n\nA dog runs\nthrough a park.\n"


@pytest.mark.parametrize(
    ("text", "split", "count"),
    [
        ("A fox sits.\nA hen runs.\n", Split.AUTO, 2),
        ("A fox sits.\n\nA hen runs.\n", Split.AUTO, 2),
        (WRAPPED, Split.AUTO, 2),
        (CONTINUED, Split.AUTO, 2),
        ("A comet over a village\nA marble in a maze of books\n\nFog over a rice terrace\n", Split.AUTO, 3),
        ("# Animals\n- A fox\n- A hen\n\n# Places\n- A roof\n- A park\n", Split.AUTO, 4),
        (SECTIONS, Split.LINES, 4),
        (SECTIONS, Split.PARAGRAPHS, 2),
        ("A fox sits.\nA hen runs.\n", Split.PARAGRAPHS, 1),
    ],
)
def test_lines_and_paragraphs_are_distinguished(text: str, split: Split, count: int) -> None:
    assert len(read_prompts(text, split).prompts) == count


def test_lines_that_may_be_one_text_are_refused() -> None:
    with pytest.raises(AmbiguousText, match="they look like one text"):
        read_prompts("A lighthouse in a storm,\nwaves on the rocks,\nseen from the sea at dusk.")


def test_wrapped_lines_without_blank_lines_are_refused() -> None:
    prose = textwrap.fill(
        "A lighthouse stands on a cliff at dusk while the sea breaks into white foam below it. " * 4, 72
    )
    with pytest.raises(AmbiguousText, match="put a blank line between prompts, or add --split lines"):
        read_prompts(prose)


def test_a_paragraph_is_one_prompt_with_the_number_of_its_first_line() -> None:
    found = read_prompts("\n" + CONTINUED)
    assert [(each.number, each.text) for each in found.prompts] == [
        (2, "A cat on a roof, Moonlight behind it"),
        (5, "A dog runs through a park."),
    ]


@pytest.mark.parametrize("text", [SECTIONS, "A lighthouse\nSlow dolly in\n35mm film\n\nA fox at night in the snow\n"])
def test_text_of_both_kinds_is_refused_with_both_counts(text: str) -> None:
    with pytest.raises(AmbiguousText, match=r"4 prompts with --split lines, 2 with --split paragraphs"):
        read_prompts(text)


WORDS = st.from_regex(r"[A-Za-zäöü][A-Za-zäöü ,.]{0,80}[a-z]", fullmatch=True)


@given(
    st.lists(WORDS.filter(lambda words: words.lower() not in ("text", "prompt", "prompts"))), st.sampled_from(BREAKS)
)
def test_lines_of_words_come_back_unchanged(lines: list[str], mark: str) -> None:
    assert texts(read_prompts(mark.join(lines))) == lines


@given(st.text(), st.sampled_from(Split))
def test_any_text_gives_prompts_with_words_or_is_ambiguous(text: str, split: Split) -> None:
    try:
        found = read_prompts(text, split)
    except AmbiguousText:
        assert split is Split.AUTO
        return
    assert all(has_words(each.text) and each.text == each.text.strip() for each in found.prompts)
