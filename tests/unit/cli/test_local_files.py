"""Images of this machine in prompt files: checked before anything is pushed, and sent once."""

import base64
from pathlib import Path
from typing import Any

import pytest

from cli.prompt_file.addresses import check_addresses
from cli.prompt_file.jobs import Fill, Prepared, prepare_jobs
from cli.prompt_file.parse import read_prompt_file
from cli.prompt_file.records import FileRefused, Line, PromptFile
from cli.prompt_file.summary import summarise
from rushes.catalog import REFERENCE
from rushes.jobs import uploads
from tests.support.cli_stub import Answer, Run, batch, job, problem, serve_stub
from tests.support.videos import picture

I2V = Fill(model="ltx-2-pro-i2v")


DATA_URL = f"data:image/png;base64,{base64.b64encode(picture()).decode()}"
SHA256 = uploads.check_media(picture(), field="").sha256


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with images and other files."""
    (tmp_path / "shots").mkdir()
    (tmp_path / "shots" / "a b.png").write_bytes(picture())
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "page.png").write_text("<html>not found</html>")
    return tmp_path


def prepare(folder: Path, *images: Any) -> tuple[PromptFile, Prepared]:
    lines = [Line(number, {"prompt": "a", "image": image}) for number, image in enumerate(images, start=1)]
    file = PromptFile(str(folder / "f.csv"), lines)
    return file, prepare_jobs(file, I2V, max_jobs=100)


def test_a_path_starts_at_the_prompt_file_and_a_data_url_is_the_same_image(folder: Path) -> None:
    absolute = folder / "shots" / "a b.png"
    file, prepared = prepare(folder, "shots/a b.png", str(absolute), absolute.as_uri(), DATA_URL)
    assert {each["input"]["image"] for each in prepared.jobs} == {REFERENCE + SHA256}
    assert list(prepared.files.found) == [SHA256]
    assert f"  files     1 to send, {len(picture()):,} bytes" in list(summarise(file, prepared))
    assert list(check_addresses(file, prepared)) == []


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        ("shots/none.png", "shots/none.png: is not an http(s) URL, nor a readable file: no such file"),
        ("shots", "shots: is not an http(s) URL, nor a readable file: is a directory"),
        ("empty.png", "empty.png: is empty"),
        ("page.png", "page.png: is not an image"),
        ("data:image/png;base64,!", "is not a readable data URL"),
        ("data:image/png", "is not a readable data URL: it has no comma"),
        ("s3://bucket/a.png", "must be an http or https URL"),
        (7, "must be an http or https URL"),
    ],
)
def test_a_file_that_cannot_be_sent_is_named_with_line_and_column(folder: Path, image: object, reason: str) -> None:
    with pytest.raises(FileRefused) as refused:
        prepare(folder, "shots/a b.png", image)
    (line,) = refused.value.lines()
    assert line.startswith(f"{folder / 'f.csv'}:2: image: {reason}")


def test_a_file_that_is_too_large_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cli.local_files.LARGEST_UPLOAD", 10)
    with pytest.raises(FileRefused, match="more than the limit of 10: give an http"):
        prepare(folder, "shots/a b.png")


def test_an_address_may_have_8192_characters(folder: Path) -> None:
    start = "https://a.example/b?signature="
    prepare(folder, start + "x" * (8_192 - len(start)))
    with pytest.raises(FileRefused, match="at most 8192 characters"):
        prepare(folder, start + "x" * (8_193 - len(start)))


def test_files_are_sent_before_the_push_unless_the_api_has_them(run: Run) -> None:
    Path("red.png").write_bytes(picture())
    Path("blue.png").write_bytes(picture("blue"))
    Path("shots.csv").write_text("prompt,image\na,red.png\nb,blue.png\nc,red.png\n")
    blue = uploads.check_media(picture("blue"), field="").sha256
    answers = [Answer(body={"sha256": SHA256}), problem(404, "there is no upload")]
    with serve_stub(*answers, Answer(201, {"sha256": blue}), Answer(201, batch(done=0, warnings=[]))) as stub:
        code, _, err = run(stub, "submit", "shots.csv", "-m", "ltx-2-pro-i2v")
    assert code == 0, err
    asked = [(each.method, each.path) for each in stub.asked]
    assert asked == [
        ("GET", f"/v1/uploads/{SHA256}"),
        ("GET", f"/v1/uploads/{blue}"),
        ("POST", "/v1/uploads"),
        ("POST", "/v1/batches"),
    ]
    assert stub.asked[2].headers["Content-Type"] == "image/png"
    images = [each["input"]["image"] for each in stub.asked[3].body["jobs"]]
    assert images == [REFERENCE + SHA256, REFERENCE + blue, REFERENCE + SHA256]


def test_a_dry_run_counts_the_files_and_sends_none(run: Run) -> None:
    Path("sub").mkdir()
    Path("first.png").write_bytes(picture())
    Path("sub/shots.txt").write_text("a fox\na hare\n")
    with serve_stub() as stub:
        command = ("submit", "sub/shots.txt", "-m", "ltx-2-pro-i2v", "--image", "first.png", "--dry-run")
        code, out, err = run(stub, *command)
    assert (code, stub.asked) == (0, [])
    assert "files       1" in out
    assert "files     1 to send" in err


def test_a_retry_replaces_inputs_by_values_and_files(run: Run) -> None:
    Path("new.png").write_bytes(picture())
    retried = {"state": "queued", "job": job()}
    answers = [Answer(body=job(model="ltx-2-pro-i2v")), Answer(body={"sha256": SHA256}), Answer(202, retried)]
    with serve_stub(*answers) as stub:
        code, _, err = run(stub, "job", "retry", "x", "--set", "image=new.png", "--set", "duration=8 s")
    assert code == 0, err
    assert stub.asked[-1].body == {"input": {"image": REFERENCE + SHA256, "duration": 8}}


@pytest.mark.parametrize("pair", ["image", "fps=24"])
def test_a_replacement_must_name_a_parameter(run: Run, pair: str) -> None:
    with serve_stub(Answer(body=job(model="ltx-2-pro-i2v"))) as stub:
        code, _, err = run(stub, "job", "retry", "x", "--set", pair)
    assert code == 2
    assert "--set: must be NAME=VALUE, with one of the names image, prompt, duration, generate_audio" in err


def summary(folder: Path, text: str) -> list[str]:
    path = folder / "prompts.txt"
    path.write_text(text)
    file = read_prompt_file(str(path))
    lines = summarise(file, prepare_jobs(file, Fill(model="ltx-2-pro"), max_jobs=100))
    return [each for each in lines if each.startswith("warning")]


def test_the_closing_words_of_a_chat_bot_are_warned_of(folder: Path) -> None:
    text = "1. A fox in the snow\n2. A hare in the rain\n\nWould you like me to write more?\n"
    assert summary(folder, text)[-1:] == ["warning: line 4 has words of a chat bot, which would be rendered"]


def test_a_title_above_a_list_is_warned_of(folder: Path) -> None:
    text = "Prompts for the spring campaign\n- A fox in the snow\n- A hare in the rain\n- An owl at night\n"
    expected = ["warning: line 1 has no list mark, unlike most others: is this a title?"]
    assert summary(folder, text) == expected


def test_options_of_other_tools_are_warned_of_and_kept(folder: Path) -> None:
    text = "A fox in the snow --ar 16:9 --v 6\nA hare -- running\nAn owl --style raw at night\n"
    expected = "warning: lines 1 and 3 have options of another tool (such as --ar 16:9), which have no effect"
    assert summary(folder, text) == [expected]


@pytest.mark.parametrize(
    "text", ["A fox\nA hare\nAn owl\n", "- A fox\n- A hare\n", "A well-known fox -- in the snow\n"]
)
def test_ordinary_prompts_are_not_warned_of(folder: Path, text: str) -> None:
    assert summary(folder, text) == []
