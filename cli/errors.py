"""Report failures to people: `error: ...`, then `hint: ...`, and an exit code. Never a traceback."""

import contextlib
import os
import sys
from collections.abc import Callable

import typer

from cli.output import print_errors
from cli.prompt_file.records import FileRefused
from models.db.errors import DatabaseAway
from rushes.errors import InvalidInput, Refused, RushesError, Unavailable
from rushes_client import ApiAway, ClientError, Declined
from stack.errors import BAD_INPUT, FAILED, INTERRUPTED, SERVICE_AWAY, CommandError, ServiceAway

SHOWN_PROBLEMS = 20

_HINT = "\nhint: "
# Typer's parser library is private to it. The parser's UsageError is the parent of the public BadParameter.
_UsageError: type[Exception] = typer.BadParameter.__mro__[1]


def run_guarded(command: Callable[[], int | None]) -> int:
    """Run a command and return its exit code. Report every failure on stderr in one shape."""
    _make_output_forgiving()
    try:
        code = command() or 0
        sys.stdout.flush()
    except BrokenPipeError:
        _drop_stdout()
        return FAILED
    except KeyboardInterrupt:
        print_errors(["interrupted"])
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the edge: no traceback reaches a person
        return report(error)
    return code


def report(error: Exception) -> int:
    """Print an error in that shape and return its exit code."""
    said = _explain_ours(error) if isinstance(error, RushesError) else _explain_others(error)
    print_errors(said.errors, hint=said.hint)
    return said.exit_code


def _explain_ours(error: RushesError) -> CommandError:
    match error:
        case CommandError():
            return error
        case FileRefused():
            return CommandError(*error.lines(SHOWN_PROBLEMS), hint="nothing was sent", exit_code=BAD_INPUT)
        case InvalidInput():
            return CommandError(*map(str, error.problems), exit_code=BAD_INPUT)
        case _:
            message, _, hint = str(error).partition(_HINT)
            code = BAD_INPUT if isinstance(error, Refused) else FAILED
            return CommandError(message, hint=hint, exit_code=SERVICE_AWAY if isinstance(error, Unavailable) else code)


def _explain_others(error: Exception) -> CommandError:
    match error:
        case typer.Abort():
            return CommandError("interrupted", exit_code=INTERRUPTED)
        case ClientError():
            return CommandError(*error.errors, hint=error.hint, exit_code=_choose_code(error))
        case DatabaseAway():
            return ServiceAway(str(error), hint="start it, or set RUSHES_DATABASE_URL to where it runs")
        case _UsageError():
            return _explain_usage(error)
        case ModuleNotFoundError():
            return CommandError(f"the package {error.name} is not installed", hint="pip install 'rushes[embedded]'")
        case OSError():
            reason = (error.strerror or str(error)).lower()
            return CommandError(f"{error.filename}: {reason}" if error.filename else reason)
        case _:
            what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            return CommandError(f"unexpected: {what}", hint="this is a bug in rushes; `rushes doctor` checks the rest")


def _choose_code(error: ClientError) -> int:
    is_callers_fault = isinstance(error, Declined) and error.status < 500
    return SERVICE_AWAY if isinstance(error, ApiAway) else BAD_INPUT if is_callers_fault else FAILED


def _explain_usage(error: Exception) -> CommandError:
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "rushes"
    say = getattr(error, "format_message", None)
    message = str(say() if say else error).strip().rstrip(".") or "a command is missing"
    hint = f"{command} --help shows how it is used"
    return CommandError(message[:1].lower() + message[1:], hint=hint, exit_code=BAD_INPUT)


def _make_output_forgiving() -> None:
    """Write an escape, instead of crashing, for a character that the terminal or pipe cannot show."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def _drop_stdout() -> None:
    """Discard buffered output, because the reader has gone. Otherwise the interpreter would complain when it exits."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
