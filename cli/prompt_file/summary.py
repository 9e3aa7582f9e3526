"""What a prompt file asks for, shown before money is spent."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator

from cli.output import show_money, show_text
from cli.prompt_file.jobs import Prepared
from cli.prompt_file.records import PromptFile

SHOWN_GROUPS = 5
SHOWN_LINES = 6

_MISREADINGS = {
    "words of a chat bot, which would be rendered": re.compile(
        r"^(would you like|do you want me|want me to|shall i|should i|let me know|feel free|i hope (this|these|that)"
        r"|i can also|happy to|if you('d| would)? (like|need|want))\b",
        re.IGNORECASE,
    ),
    "options of another tool (such as --ar 16:9), which have no effect": re.compile(r"(^|\s)--[a-zA-Z]\w*(\s|=|$)"),
}


def summarise(file: PromptFile, prepared: Prepared) -> Iterator[str]:
    """Yield lines that show the count, the cost, the prompts at both ends, and what was left out or is repeated."""
    count = len(prepared.jobs)
    models = ", ".join(dict.fromkeys(job["model"] for job in prepared.jobs))
    yield f"{file.name}: {count:,} job{'' if count == 1 else 's'} for {show_money(str(prepared.cost))} ({models})"
    prompts = [str(line.fields.get("prompt", "")) for line in file.lines]
    yield f"  first     {show_text(prompts[0])}"
    if len(prompts) > 1:
        yield f"  last      {show_text(prompts[-1])}"
        yield f"  shortest  {show_text(min(prompts, key=len))}"
    lengths = Counter(job["input"].get("duration", "default") for job in prepared.jobs)
    if len(lengths) > 1:
        yield f"  seconds   {', '.join(f'{count:,} x {length}' for length, count in lengths.most_common())}"
    if file.skipped:
        left_out = (f"{number:,} {kind}{'' if number == 1 else 's'}" for kind, number in file.skipped.items())
        yield f"  left out  {', '.join(left_out)}"
    if file.metadata:
        yield f"  metadata  {', '.join(file.metadata)}"
    if files := prepared.files.found:
        yield f"  files     {len(files):,} to send, {prepared.files.size:,} bytes"
    yield from _warn_of_repeats(prepared)
    yield from _warn_of_misreadings(file)


def _warn_of_repeats(prepared: Prepared) -> Iterator[str]:
    for numbers in prepared.repeats[:SHOWN_GROUPS]:
        yield f"warning: lines {_list(numbers)} ask for the same video, which is bought for each of them"
    hidden = len(prepared.repeats) - SHOWN_GROUPS
    if hidden > 0:
        yield f"warning: {hidden:,} more groups of lines ask for the same video"


def _warn_of_misreadings(file: PromptFile) -> Iterator[str]:
    """Warn about lines that may not be prompts: titles, a chat bot's closing words, options of other tools."""
    found = {"no list mark, unlike most others: is this a title?": file.unmarked}
    for reason, pattern in _MISREADINGS.items():
        found[reason] = [line.number for line in file.lines if pattern.search(str(line.fields.get("prompt", "")))]
    for reason, numbers in found.items():
        if numbers:
            subject = f"lines {_list(numbers)} have" if len(numbers) > 1 else f"line {numbers[0]} has"
            yield f"warning: {subject} {reason}"


def _list(numbers: list[int]) -> str:
    shown: Iterable[str] = map(str, numbers[:SHOWN_LINES])
    hidden = len(numbers) - SHOWN_LINES
    *most, last = [*shown, f"{hidden:,} more"] if hidden > 0 else shown
    return f"{', '.join(most)} and {last}"
