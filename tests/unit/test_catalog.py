"""The catalogue: what each video model takes, what it costs, and what is refused."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rushes.catalog import (
    IMAGE,
    PROMPT,
    PROMPT_LIMIT,
    UNSUPPORTED,
    URL_LIMIT,
    VIDEO_MODELS,
    NormalisedInput,
    Parameter,
    VideoModel,
    describe_unknown,
    find_video_model,
    get_video_model,
    normalise_input,
    read_loose_value,
)
from rushes.errors import InvalidInput, NotFound, Problem

PRO, PRO_I2V, FAST, FAST_I2V, RETAKE = VIDEO_MODELS
URL = "https://example.com/first-frame.png"
NEW_MODEL = VideoModel(
    id="studio/long-take/text-to-video",
    name="long-take",
    about="a video model that nobody has heard of",
    parameters=(PROMPT, Parameter("duration", "integer", "seconds", default=30), Parameter("seed", "integer", "", 0)),
    price_per_second=Decimal("0.0125"),
)

each_model = pytest.mark.parametrize("model", VIDEO_MODELS, ids=[model.name for model in VIDEO_MODELS])


def required_of(model: VideoModel) -> dict[str, Any]:
    """The least that this video model takes."""
    values = {"prompt": "a lighthouse at dusk", "image": URL, "video": URL, "end_time": 6}
    return {each.name: values[each.name] for each in model.parameters if each.required}


def problems_of(model: VideoModel, given: dict[str, Any]) -> dict[str, str]:
    """The message by field that an input is refused with."""
    with pytest.raises(InvalidInput) as refusal:
        normalise_input(model, given)
    return {problem.field: problem.message for problem in refusal.value.problems}


@st.composite
def inputs(draw: st.DrawFn) -> tuple[VideoModel, dict[str, Any]]:
    """A video model and an input that it takes, with any of the optional parameters left out."""
    model = draw(st.sampled_from(VIDEO_MODELS))
    values: dict[str, Any] = {}
    for parameter in model.parameters:
        if parameter.required or draw(st.booleans()):
            values[parameter.name] = draw(values_of(parameter))
    if model.region_seconds:
        shortest, longest = model.region_seconds
        # Rounded: 1.93 + 2 is 3.9299999999999997, which is too short a region.
        values["end_time"] = round(values.get("start_time", 0) + draw(st.integers(shortest, longest)), 2)
    return model, values


def values_of(parameter: Parameter) -> st.SearchStrategy[Any]:
    """What this parameter takes."""
    words = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=40)
    kinds: dict[str, st.SearchStrategy[Any]] = {
        "text": words.filter(str.strip),
        "url": st.sampled_from([URL, "http://127.0.0.1:8080/a%20b.mp4?x=1#y", "HTTPS://user@example.com"]),
        "integer": st.sampled_from(parameter.choices or (1,)),
        "number": st.integers(0, 3600) | st.decimals(0, 3600, places=2).map(float),
        "flag": st.booleans(),
    }
    return kinds[parameter.kind]


@pytest.mark.parametrize(
    ("name", "id_", "required", "durations", "per_second"),
    [
        ("ltx-2-pro", "lightricks/ltx-2-pro/text-to-video", {"prompt"}, (6, 8, 10), "0.06"),
        ("ltx-2-pro-i2v", "lightricks/ltx-2-pro/image-to-video", {"image", "prompt"}, (6, 8, 10), "0.06"),
        ("ltx-2-fast", "lightricks/ltx-2-fast/text-to-video", {"prompt"}, (6, 8, 10, 12, 14, 16, 18, 20), "0.04"),
        (
            "ltx-2-fast-i2v",
            "lightricks/ltx-2-fast/image-to-video",
            {"image", "prompt"},
            (6, 8, 10, 12, 14, 16, 18, 20),
            "0.04",
        ),
        ("ltx-2-retake", "lightricks/ltx-2-retake", {"video", "prompt", "end_time"}, None, "0.10"),
    ],
)
def test_the_catalogue_sells_what_the_provider_sells(
    name: str, id_: str, required: set[str], durations: tuple[int, ...] | None, per_second: str
) -> None:
    model = get_video_model(name)
    duration = model.parameter("duration")
    assert (model.id, model.price_per_second) == (id_, Decimal(per_second))
    assert {each.name for each in model.parameters if each.required} == required
    assert (duration.choices if duration else None) == durations
    assert (model.width, model.height) == (1920, 1080)


@each_model
def test_every_default_is_valid(model: VideoModel) -> None:
    wrong = {each.name: each.problem_with(each.default) for each in model.parameters if not each.required}
    assert not any(wrong.values()), wrong


@each_model
def test_the_defaults_are_spelled_out(model: VideoModel) -> None:
    normalised = normalise_input(model, required_of(model))
    assert normalised.values == required_of(model) | {
        each.name: each.default for each in model.parameters if not each.required
    }
    assert normalised.warnings == ()


@each_model
def test_a_video_model_is_found_by_its_name_and_its_id(model: VideoModel) -> None:
    assert find_video_model(model.name) is find_video_model(model.id) is model


@pytest.mark.parametrize("name", ["", "LTX-2-PRO", "ltx-2", None, 6, ["ltx-2-pro"], {}])
def test_an_unknown_video_model_is_not_found(name: object) -> None:
    assert find_video_model(name) is None


def test_an_unknown_video_model_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(NotFound, match="'sora'; choose one of ltx-2-pro, ltx-2-pro-i2v, ltx-2-fast"):
        get_video_model("sora")


@given(inputs())
def test_a_valid_input_is_taken_as_it_is_and_once_more(pair: tuple[VideoModel, dict[str, Any]]) -> None:
    model, values = pair
    once = normalise_input(model, values)
    assert set(once.values) == {each.name for each in model.parameters}
    assert normalise_input(model, once.values) == once


@given(inputs())
def test_the_price_is_exact_seconds_times_exact_dollars(pair: tuple[VideoModel, dict[str, Any]]) -> None:
    model, values = pair
    normalised = normalise_input(model, values).values
    price = model.price(normalised)
    assert price == (model.price_per_second * model.output_seconds(normalised)).quantize(Decimal("0.0001"))
    assert price.as_tuple().exponent == -4
    assert price > 0


@pytest.mark.parametrize(
    ("model", "values", "price"),
    [
        (PRO, {}, "0.36"),
        (PRO, {"duration": 8}, "0.48"),
        (PRO_I2V, {"duration": 10, "generate_audio": False}, "0.60"),
        (FAST, {}, "0.24"),
        (FAST_I2V, {"duration": 20}, "0.80"),
        (RETAKE, {"end_time": 2}, "0.20"),
        (RETAKE, {"start_time": 0.1, "end_time": 2.4}, "0.23"),  # floats: 2.3 is 2.2999999999999998
        (RETAKE, {"start_time": 3, "end_time": 19}, "1.60"),
    ],
)
def test_the_price_of_an_input_is_that_of_the_catalogue(model: VideoModel, values: dict[str, Any], price: str) -> None:
    assert model.price(normalise_input(model, required_of(model) | values).values) == Decimal(price)


@pytest.mark.parametrize(
    ("model", "duration", "message"),
    [
        (PRO, 7, "must be one of 6, 8, 10, not 7"),
        (PRO, 12, "must be one of 6, 8, 10, not 12"),
        (FAST, 7, "must be one of 6, 8, 10, 12, 14, 16, 18, 20, not 7"),
        (FAST, 22, "must be one of 6, 8, 10, 12, 14, 16, 18, 20, not 22"),
        (PRO, True, "must be a whole number, not true or false"),
        (PRO, "6", "must be a whole number, not '6'"),
        (PRO, 6.0, "must be a whole number, not 6.0"),
        (PRO, None, "must be a whole number, not nothing"),
        (PRO, [6], "must be a whole number, not a list"),
        (PRO, {}, "must be a whole number, not an object"),
        (PRO, -(10**400), None),
    ],
)
def test_a_wrong_duration_is_refused(model: VideoModel, duration: object, message: str | None) -> None:
    problems = problems_of(model, required_of(model) | {"duration": duration})
    assert list(problems) == ["duration"]
    assert message is None or problems["duration"] == message


@pytest.mark.parametrize("flag", [0, 1, "true", None, [], 1.0])
def test_generate_audio_is_true_or_false_and_nothing_like_it(flag: object) -> None:
    assert list(problems_of(PRO, required_of(PRO) | {"generate_audio": flag})) == ["generate_audio"]


@each_model
@pytest.mark.parametrize("name", ["aspect_ratio", "Duration", "resolution", "", "prompt "])
def test_an_unknown_parameter_is_refused_by_its_name(model: VideoModel, name: str) -> None:
    problems = problems_of(model, required_of(model) | {name: 1})
    assert list(problems) == [name]
    assert problems[name].startswith(f"{model.name} has no such parameter; it has ")


def test_a_parameter_of_another_video_model_is_unknown() -> None:
    assert list(problems_of(PRO, {"prompt": "x", "image": URL})) == ["image"]
    assert list(problems_of(RETAKE, required_of(RETAKE) | {"duration": 6})) == ["duration"]


@each_model
@pytest.mark.parametrize("name", sorted(UNSUPPORTED))
@pytest.mark.parametrize("value", [None, 7, "blurry", {"any": ["thing"]}])
def test_an_unsupported_parameter_is_dropped_with_a_warning(model: VideoModel, name: str, value: object) -> None:
    normalised = normalise_input(model, required_of(model) | {name: value})
    assert normalised.values == normalise_input(model, required_of(model)).values
    assert normalised.warnings == (f"{name} is not supported by {model.name}: dropped",)


@each_model
def test_a_missing_parameter_is_named(model: VideoModel) -> None:
    assert problems_of(model, {}) == dict.fromkeys(required_of(model), f"is required by {model.name}")


def test_every_problem_is_listed_at_once() -> None:
    given = {"prompt": "", "duration": 7, "style": "noir", "generate_audio": "loud", "seed": 1}
    assert set(problems_of(PRO, given)) == {"prompt", "duration", "style", "generate_audio"}


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ("", "must not be empty"),
        (" \t\n\u2003", "must not be empty"),
        ("x" * (PROMPT_LIMIT + 1), "must have at most 5000 characters, not 5001"),
        ("a\0b", "must not contain NUL or half of a surrogate pair"),
        ("a\ud800b", "must not contain NUL or half of a surrogate pair"),
        ("\udfff", "must not contain NUL or half of a surrogate pair"),
        (7, "must be text, not a number"),
        (["x"], "must be text, not a list"),
        (b"x", "must be text, not bytes"),
    ],
)
def test_a_wrong_prompt_is_refused(prompt: object, message: str) -> None:
    assert problems_of(PRO, {"prompt": prompt}) == {"prompt": message}


@pytest.mark.parametrize(
    "prompt", ["x", "x" * PROMPT_LIMIT, "\U0001f980" * PROMPT_LIMIT, "line\nline\ttab", "\u200b\ufeff", "a\x7fb"]
)
def test_a_prompt_is_any_text_of_up_to_5000_characters(prompt: str) -> None:
    assert normalise_input(PRO, {"prompt": prompt}).values["prompt"] == prompt


def test_a_prompt_is_sent_without_the_blanks_around_it() -> None:
    assert normalise_input(PRO, {"prompt": "  a lighthouse \n"}).values["prompt"] == "a lighthouse"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "first-frame.png",
        "/etc/passwd",
        "file:///etc/passwd",
        "ftp://example.com/a.png",
        "data:image/png;base64,AAAA",
        "https://",
        "https:///a.png",
        "https:example.com",
        "http://[::1",
        "http://example.com:0/a.png",
        "http://example.com:99999/a.png",
        "http://example.com:port/a.png",
        "https://example.com/a b.png",
        " https://example.com/a.png",
        "https://example.com/a.png\n",
        "https://example.com/\0",
        "https://example.com/\ud800",
        f"https://example.com/{'x' * URL_LIMIT}",
        None,
        6,
        True,
        [URL],
        b"https://example.com/a.png",
    ],
)
def test_a_text_that_is_no_http_url_is_refused(url: object) -> None:
    for model, name in ((PRO_I2V, IMAGE.name), (RETAKE, "video")):
        problems = problems_of(model, required_of(model) | {name: url})
        assert list(problems) == [name]
        assert any(words in problems[name] for words in ("http", "is required", f"at most {URL_LIMIT} characters"))


@given(url=st.text(max_size=30).map(lambda rest: f"http://{rest}") | st.text(max_size=30))
def test_any_text_is_a_url_or_a_problem_and_never_an_error(url: str) -> None:
    assert IMAGE.problem_with(url) is None or IMAGE.problem_with(url)


@pytest.mark.parametrize(
    ("times", "field"),
    [
        ({"end_time": 1.99}, "end_time"),
        ({"end_time": 16.01}, "end_time"),
        ({"start_time": 5, "end_time": 5}, "end_time"),
        ({"start_time": 9, "end_time": 3}, "end_time"),
        ({"start_time": -1, "end_time": 3}, "start_time"),
        ({"end_time": "6"}, "end_time"),
        ({"end_time": True}, "end_time"),
        ({"end_time": float("nan")}, "end_time"),
        ({"end_time": float("inf")}, "end_time"),
        ({"end_time": 10**400}, "end_time"),
    ],
)
def test_a_region_outside_2_to_16_seconds_is_refused(times: dict[str, Any], field: str) -> None:
    assert list(problems_of(RETAKE, {"video": URL, "prompt": "x"} | times)) == [field]


@pytest.mark.parametrize("times", [{"end_time": 2}, {"end_time": 16}, {"start_time": 0.1, "end_time": 2.1}])
def test_a_region_of_2_to_16_seconds_is_taken(times: dict[str, Any]) -> None:
    assert normalise_input(RETAKE, {"video": URL, "prompt": "x"} | times).values["end_time"] == times["end_time"]


def test_a_new_video_model_is_one_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rushes.catalog.VIDEO_MODELS", (*VIDEO_MODELS, NEW_MODEL))
    assert get_video_model("long-take") is find_video_model(NEW_MODEL.id) is NEW_MODEL
    assert describe_unknown("sora").endswith(", long-take")
    normalised = normalise_input(NEW_MODEL, {"prompt": "a very long take"})
    assert normalised.values == {"prompt": "a very long take", "duration": 30, "seed": 0}
    assert NEW_MODEL.price(normalised.values) == Decimal("0.3750")
    assert list(problems_of(NEW_MODEL, {"prompt": "x", "generate_audio": True})) == ["generate_audio"]


def test_a_video_model_that_knows_a_seed_takes_it_without_a_warning() -> None:
    taken = normalise_input(NEW_MODEL, {"prompt": "x", "seed": 7, "negative_prompt": "fog"})
    assert taken == NormalisedInput(
        {"prompt": "x", "duration": 30, "seed": 7}, ("negative_prompt is not supported by long-take: dropped",)
    )


def test_a_region_can_have_other_limits() -> None:
    short = replace(RETAKE, region_seconds=(1, 3))
    assert problems_of(short, required_of(short)) == {"end_time": "the region must last 1 to 3 seconds, not 6"}


@pytest.mark.parametrize(
    ("model", "name", "text", "value"),
    [
        (PRO, "duration", "8", 8),
        (PRO, "duration", "eight", "eight"),
        (PRO, "duration", "6.0", 6),
        (PRO, "duration", 6.0, 6),
        (PRO, "duration", "6,0", 6),
        (PRO, "duration", " 10s ", 10),
        (PRO, "duration", "10 Seconds", 10),
        (PRO, "duration", "10 min", "10 min"),
        (PRO, "duration", "6.5", 6.5),
        (PRO, "duration", [6], [6]),
        (PRO, "generate_audio", "off", False),
        (PRO, "generate_audio", 1, 1),
        (PRO_I2V, "image", " https://a.example/my cat.png\t", "https://a.example/my%20cat.png"),
        (PRO, "generate_audio", "No", False),
        (PRO, "generate_audio", " TRUE ", True),
        (PRO, "generate_audio", "loud", "loud"),
        (RETAKE, "end_time", "7.5", 7.5),
        (PRO, "prompt", "8", "8"),
        (PRO, "style", "8", "8"),
    ],
)
def test_a_value_of_a_file_is_read_as_people_write_it(
    model: VideoModel, name: str, text: object, value: object
) -> None:
    read = read_loose_value(model, name, text)
    assert (read, type(read)) == (value, type(value))


def test_a_problem_says_where_it_is() -> None:
    problem = Problem("duration", "must be one of 6, 8, 10, not 7").under("input").under("jobs.16")
    assert str(problem) == "jobs.16.input.duration: must be one of 6, 8, 10, not 7"
