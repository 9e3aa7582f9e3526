"""Prompts in a plain text file: one per line, or one per paragraph."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import pairwise


class Split(StrEnum):
    """How a text file divides into prompts."""

    AUTO = "auto"
    LINES = "lines"
    PARAGRAPHS = "paragraphs"


class AmbiguousText(Exception):
    """The file can be read as lines or as paragraphs. The message counts the prompts of both readings."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt and the number of its first line."""

    number: int
    text: str


@dataclass(slots=True)
class PromptText:
    """The prompts of a file, and how many lines of each kind were left out."""

    prompts: list[Prompt]
    skipped: Counter[str] = field(default_factory=Counter)
    unmarked: list[int] = field(default_factory=list)
    """Lines without the list mark that most other lines have."""


Block = list[Prompt]

_HEADER = re.compile(r"(?:#\s*)?[\"']?(?:prompts?|text)[\"']?\s*:?", re.IGNORECASE)
_BULLET = re.compile(r"[-*+\u2022\u2023\u2013]\s+(?:\[[ xX]\]\s+)?(?=\S)")
_NUMBER = re.compile(r"(\d{1,6})(?:[.)]\s+|[\uff0e\u3001\uff09]\s*)(?=\S)")
_LABEL = re.compile(
    r"(?:(?:scene|shot|prompt|clip|take|video|image)\s*#?\d{1,6}\s*(?:[:)]|[.\u2013-](?=\s))|[一二三四五六七八九十百]{1,4}、)\s*(?=\S)",
    re.IGNORECASE,
)
_QUOTES = {'"': '"', "\u201c": "\u201d", "\u201e": "\u201c", "\u00ab": "\u00bb", "'": "'"}
_EMPHASIS = re.compile(r"\*\*|__")
_NARROWEST = 50  # columns that an editor wraps at
_FEW_WORDS = 4
_MOST = 2  # if more than one line in two has a list mark, the others may not be prompts
_OPEN_ENDS = ",;:-\u2013\u2014"
_COMMENT = re.compile(r"#(?!\d)|//")
_RULER = re.compile(r"[=+~<>|^`$\u2500-\u259f]")  # symbols that only draw a line


def read_prompts(text: str, split: Split = Split.AUTO) -> PromptText:
    """Find the prompts of a text file.

    Any line break ends a line: CR, LF, U+2028 and others. Blank lines, comments (`#`, `//`), separators (`---`),
    headings (`Act two:`) and a first line that only says `prompt` are left out. Bullets, consecutive numbers, labels
    (`Scene 3:`), bold marks, and quotes around every prompt are removed. Raises `AmbiguousText` for `Split.AUTO` if
    several lines might be one prompt.
    """
    found = PromptText([])
    blocks = [list(block) for block in _find_blocks(text, found.skipped)]
    if split is Split.AUTO:
        split = _choose_split(blocks)
    if split is Split.PARAGRAPHS:
        found.prompts = [Prompt(block[0].number, " ".join(line.text for line in block)) for block in blocks]
    else:
        found.prompts = [line for block in blocks for line in block]
    found.prompts = _remove_quotes(_remove_marks(found))
    found.skipped += Counter()  # without the kinds that were not found
    return found


def has_words(text: str) -> bool:
    """Return whether a text has anything that can be read: a letter, a digit or a picture."""
    return any(unicodedata.category(char)[0] in "LNS" and not _RULER.match(char) for char in text)


def _find_blocks(text: str, skipped: Counter[str]) -> Iterator[Block]:
    """Yield groups of lines without a blank line, a comment or a separator between them."""
    block: Block = []
    is_first = True
    for number, raw in enumerate(text.splitlines(), start=1):
        line = _strip(_EMPHASIS.sub("", raw) if has_words(raw) else raw)
        kind = _find_kind(line, is_first=is_first, starts_block=not block)
        is_first = is_first and kind in ("blank", "comment")
        if kind is None:
            block.append(Prompt(number, line))
            continue
        if kind != "blank":
            skipped[kind] += 1
        if block:
            yield block
            block = []
    if block:
        yield block


def _strip(line: str) -> str:
    """Remove blanks and invisible characters from both ends."""
    start, end = 0, len(line)
    while start < end and _is_invisible(line[start]):
        start += 1
    while end > start and _is_invisible(line[end - 1]):
        end -= 1
    return line[start:end]


def _is_invisible(char: str) -> bool:
    return char.isspace() or unicodedata.category(char) in ("Cc", "Cf", "Zs")


def _find_kind(line: str, *, is_first: bool, starts_block: bool) -> str | None:
    """Return the kind of a line that is no prompt, or None."""
    if not line:
        return "blank"
    if is_first and _HEADER.fullmatch(line):
        return "header"
    if _COMMENT.match(line):
        return "comment"
    if not has_words(line) or (len(line) > 1 and len(set(line)) == 1 and not line.isalnum()):
        return "separator"
    return "heading" if line.endswith(":") and starts_block else None


def _choose_split(blocks: Sequence[Block]) -> Split:
    longer = [block for block in blocks if len(block) > 1]
    if len(blocks) == 1 and longer and (_is_open(blocks[0]) or (len(blocks[0]) > 2 and _are_wrapped(blocks))):
        raise AmbiguousText("they look like one text; put a blank line between prompts, or add --split lines")
    if len(blocks) < 2 or not longer or all(_is_list(block) or _are_separate(block) for block in longer):
        return Split.LINES
    if _are_wrapped(longer) or _are_continued(blocks):
        return Split.PARAGRAPHS
    lines = sum(map(len, blocks))
    raise AmbiguousText(f"{lines:,} prompts with --split lines, {len(blocks):,} with --split paragraphs")


def _is_list(block: Block) -> bool:
    return all(_BULLET.match(line.text) or _NUMBER.match(line.text) or _LABEL.match(line.text) for line in block)


def _is_open(block: Block) -> bool:
    """Return whether every line but the last ends in mid-sentence. Quoted prompts may have a comma between them."""
    return all(line.text[-1] in _OPEN_ENDS and line.text[0] not in _QUOTES for line in block[:-1])


def _are_separate(block: Block) -> bool:
    """Return whether every line reads as a prompt of its own: a phrase that neither begins nor ends a longer text."""
    return all(
        not line.text[0].islower() and line.text[-1] not in f"{_OPEN_ENDS}.!?" and len(line.text.split()) >= _FEW_WORDS
        for line in block
    )


def _are_wrapped(blocks: Sequence[Block]) -> bool:
    """Return whether an editor wrapped the lines: the next line's first word never fits on the line before it."""
    width = max(len(line.text) for block in blocks for line in block)
    return width >= _NARROWEST and all(
        len(line.text) + 1 + len(after.text.split(maxsplit=1)[0]) > width
        for block in blocks
        for line, after in pairwise(block)
    )


def _are_continued(blocks: Sequence[Block]) -> bool:
    """Return whether every line break within a block is in mid-sentence, and no block begins in mid-sentence."""
    return not any(block[0].text[0].islower() for block in blocks) and all(
        after.text[0].islower() or line.text[-1] in _OPEN_ENDS for block in blocks for line, after in pairwise(block)
    )


def _remove_marks(found: PromptText) -> list[Prompt]:
    prompts = found.prompts
    counted = [int(number[1]) for each in prompts if (number := _NUMBER.match(each.text))]
    # Numbers are marks if they count up from 1, and may begin again after a heading.
    is_numbered = counted[:1] == [1] and all(after in (1, before + 1) for before, after in pairwise(counted))
    bare, unmarked = [], []
    for each in prompts:
        mark = _BULLET.match(each.text) or _LABEL.match(each.text) or (is_numbered and _NUMBER.match(each.text)) or None
        bare.append(Prompt(each.number, each.text[mark.end() :]) if mark else each)
        unmarked += [] if mark else [each.number]
    found.skipped["list mark"] += len(prompts) - len(unmarked)
    found.unmarked = unmarked if len(unmarked) * _MOST < len(prompts) else []
    return bare


def _remove_quotes(prompts: list[Prompt]) -> list[Prompt]:
    """Remove quotes, and a comma behind them, if every prompt has them."""
    bare = [each.text.rstrip(",") for each in prompts]
    are_quoted = all(len(text) > 2 and _QUOTES.get(text[0]) == text[-1] and text[-1] not in text[1:-1] for text in bare)
    return (
        [Prompt(each.number, text[1:-1].strip()) for each, text in zip(prompts, bare, strict=True)]
        if are_quoted
        else prompts
    )
