"""All faults of the simulator, switched on and off while it runs.

A fault has a name from `FAULTS` and a rule: its probability, count and targets. Each fault draws from its
own random generator, seeded with the simulator's seed, so one fault never changes the draws of another.
"""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError


def _check_status(status: int) -> int:
    """An HTTP status that ends an exchange, or 0 for a dropped connection."""
    if status != 0 and not 200 <= status <= 599:
        raise ValueError("must be a status from 200 to 599, or 0 for a dropped connection")
    return status


class FaultRule(BaseModel):
    """When a fault strikes, and its parameters; `FAULTS` lists the parameters that each fault takes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    probability: float = Field(default=1.0, ge=0, le=1)
    count: int | None = Field(default=None, ge=1, description="maximum number of strikes")
    prompt: str | None = Field(default=None, description="only for prompts that contain this text")
    kind: str | None = Field(default=None, description="only for this kind of request: submit, result, list, ...")
    delay: float = Field(default=0.0, ge=0, description="seconds")
    status: Annotated[int, AfterValidator(_check_status)] = 0
    retry_after: float | None = Field(default=None, ge=0, description="seconds in a Retry-After header")
    form: str = ""
    same: bool = False
    fraction: float = Field(default=0.5, ge=0, lt=1, description="part of the body that is sent")
    code: int = 0
    text: str = ""


@dataclass(frozen=True, slots=True)
class Description:
    """The effect of a fault, its parameters other than the common ones, their defaults, and its forms."""

    about: str
    particulars: Mapping[str, Any]
    forms: tuple[str, ...] = ()


COMMON = frozenset({"probability", "count", "prompt", "kind"})

UNREADABLE = ("html", "truncated", "code")
PAGES = ("html", "json", "xml")
OTHERS = ("noise", "image", "audio", "text")
CONTAINERS = ("mpegts", "avi", "flv", "mpeg", "matroska", "mov")

FAULTS: dict[str, Description] = {
    # any request
    "outage": Description("everything fails: connections are dropped, or answered with this status", {"status": 0}),
    "key_rejected": Description("the key is not accepted: 401 or 403", {"status": 401}),
    "slow_answer": Description("the answer comes this much later", {"delay": 2.0}),
    "drip_answer": Description("the body arrives in small pieces over this time", {"delay": 5.0}),
    # submissions: nothing is bought
    "submit_5xx": Description("refused before anything was created", {"status": 503}),
    "submit_bad_code": Description("status 200 with this code inside, nothing created", {"code": 500}),
    "submit_429": Description("too many requests", {"retry_after": None}),
    "no_credit": Description("refused for lack of credit", {"status": 402}),
    # submissions: the task exists and is charged, but the answer does not say so
    "submit_drop": Description("the connection is dropped after the task was created", {}),
    "submit_504": Description("the gateway answers 504 after the task was created", {}),
    "submit_hang": Description("no answer for this long after the task was created", {"delay": 3_600.0}),
    "submit_late": Description("504 now, and the task is created this much later", {"delay": 10.0}),
    "submit_error_with_task": Description("an error status whose body carries the task", {"status": 500}),
    "submit_garbage": Description(
        "the task is created, but the answer is unreadable: html, truncated, or code", {"form": "html"}, UNREADABLE
    ),
    # reading requests: result, list, balance, prices and so on
    "get_5xx": Description("a server error", {"status": 503}),
    "get_429": Description("too many requests", {"retry_after": None}),
    "get_hang": Description("no answer for this long", {"delay": 3_600.0}),
    "get_garbage": Description(
        "an unreadable answer: html, truncated, or code (200 with another code inside)", {"form": "html"}, UNREADABLE
    ),
    # how tasks end; drawn when a task is accepted
    "task_failed": Description("status failed with this code", {"code": 5000, "text": ""}),
    "task_moderated": Description("status failed with code 1200", {}),
    "task_cancelled": Description("status cancelled", {}),
    "task_timeout": Description("status timeout", {}),
    "task_deleted": Description("status deleted", {}),
    "task_unknown_status": Description("ends with an unknown status", {"text": "archived"}),
    "task_unknown_progress": Description(
        "an unknown status instead of processing, then completed", {"text": "pending"}
    ),
    "task_without_outputs": Description("status completed, but no outputs", {}),
    "task_slow": Description("the render takes exactly this long", {"delay": 86_400.0}),
    # listing
    "list_lag": Description("tasks younger than this are not listed yet", {"delay": 5.0}),
    "list_without_inputs": Description("inputs are missing although they were asked for", {}),
    "list_inputs_reordered": Description("inputs come in another order", {}),
    "list_inputs_with_defaults": Description("inputs come with every default spelled out", {}),
    "list_inputs_as_input": Description("inputs come under the key input", {}),
    "show_webhook": Description("lists and results show the webhook's address under this key", {"text": "webhook"}),
    # uploads
    "upload_fails": Description("an upload is answered with this status; kind is upload or put", {"status": 503}),
    # downloads
    "download_cut": Description("the connection ends after this fraction of the file", {"fraction": 0.5}),
    "download_slow": Description("the file takes this long", {"delay": 5.0}),
    "download_expired": Description("the URL is no longer good: 404 or 403", {"status": 404}),
    "download_5xx": Description("a server error", {"status": 503}),
    "download_hang": Description("no answer for this long", {"delay": 3_600.0}),
    "download_garbage": Description(
        "200 with html, json or xml instead of the video; each page has a new request id, unless same",
        {"form": "html", "same": False},
        PAGES,
    ),
    "download_other": Description(
        "200 with noise, an image, audio or text instead of the video, always the same for a task",
        {"form": "noise"},
        OTHERS,
    ),
    "download_empty": Description("200 without a byte", {}),
    "download_truncated": Description(
        "this fraction of the file, with a Content-Length that fits it", {"fraction": 0.5}
    ),
    "download_gzip": Description("the file in gzip, although the client did not ask for it", {}),
    "download_partial": Description("206 with the whole file, although the client asked for no range", {}),
    "download_container": Description(
        "the video as mpegts, avi, flv, mpeg (without sound), matroska or mov",
        {"form": "mpegts"},
        CONTAINERS,
    ),
    # webhooks
    "webhook_lost": Description("never sent", {}),
    "webhook_duplicated": Description("sent twice", {}),
    "webhook_late": Description("sent this much later", {"delay": 30.0}),
    "webhook_forged": Description("sent with a signature of another secret", {}),
}


@dataclass(frozen=True, slots=True)
class Subject:
    """The target of a fault: the kind of request, and the prompt if known."""

    kind: str = ""
    prompt: str = ""


@dataclass(slots=True, eq=False)
class _Active:
    rule: FaultRule
    fired: int = 0


Strike = Callable[[str], FaultRule | None]
"""`Faults.strike` for a subject that is already known."""


class Faults:
    """The active faults."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._active: dict[str, _Active] = {}
        self._luck: dict[str, random.Random] = {}

    def switch_on(self, name: str, given: object) -> None:
        """Set the rule of a fault: a number or true is its probability, an object holds its fields.

        Raises `ValueError` for an unknown name and for a rule that does not fit the fault.
        """
        self._active[name] = _Active(read_rule(name, given))
        self._luck.setdefault(name, random.Random(f"{self._seed}:{name}"))  # noqa: S311 - not for secrets

    def switch_off(self, name: str | None = None) -> None:
        """Switch one fault off, or all of them."""
        if name is None:
            self._active.clear()
        else:
            self._active.pop(name, None)

    def strike(self, name: str, subject: Subject) -> FaultRule | None:
        """The rule of this fault if it strikes now, else None."""
        active = self._active.get(name)
        if active is None or not _concerns(active.rule, subject):
            return None
        if self._luck[name].random() >= active.rule.probability:
            return None
        active.fired += 1
        if active.rule.count is not None and active.fired >= active.rule.count:
            del self._active[name]
        return active.rule

    def aim(self, subject: Subject) -> Strike:
        """`strike` for this subject."""
        return partial(self.strike, subject=subject)

    def list_active(self) -> dict[str, dict[str, Any]]:
        """Every active fault, with its rule and how often it has struck."""
        return {
            name: {**active.rule.model_dump(exclude_unset=True), "fired": active.fired}
            for name, active in self._active.items()
        }


def read_rule(name: str, given: object) -> FaultRule:
    """Validate the rule given for this fault; raises the same error as `Faults.switch_on`."""
    if name not in FAULTS:
        raise ValueError(f"unknown fault {name!r}; choose one of {', '.join(FAULTS)}")
    fields = {"probability": float(given)} if isinstance(given, (bool, int, float)) else given
    if not isinstance(fields, dict):
        raise ValueError(f"{name}: must be a probability or an object")  # noqa: TRY004 - as for any other rule
    particulars, forms = FAULTS[name].particulars, FAULTS[name].forms
    if strangers := set(fields) - COMMON - set(particulars):
        takes = ", ".join(sorted(COMMON | set(particulars)))
        raise ValueError(f"{name}: does not take {', '.join(sorted(strangers))}; it takes {takes}")
    try:
        rule = FaultRule.model_validate({**particulars, **fields})
    except ValidationError as error:
        problems = [f"{name}.{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()]
        raise ValueError("; ".join(problems)) from None
    if rule.form and rule.form not in forms:
        raise ValueError(f"{name}.form: must be one of {', '.join(forms)}")
    return rule


def _concerns(rule: FaultRule, subject: Subject) -> bool:
    return rule.kind in {None, subject.kind} and (rule.prompt is None or rule.prompt in subject.prompt)
