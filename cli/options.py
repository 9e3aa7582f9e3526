"""The options and arguments that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

FileArgument = Annotated[
    str,
    typer.Argument(
        metavar="FILE",
        help="Prompts: .jsonl (an object per line), .csv (headers name parameters), .txt (a prompt per line), "
        "or - for JSON lines from standard input.",
        show_default=False,
    ),
]
ModelOption = Annotated[
    str | None, typer.Option("--model", "-m", help="Video model for lines that name none.", show_default=False)
]
DurationOption = Annotated[
    int | None, typer.Option("--duration", "-d", help="Seconds, for lines that leave it open.", show_default=False)
]
AudioOption = Annotated[
    bool | None,
    typer.Option("--audio/--no-audio", help="Sound or none, for lines that leave it open.", show_default=False),
]
PredictionArgument = Annotated[
    str, typer.Argument(metavar="PREDICTION", help="Id of a prediction of ours.", show_default=False)
]
JsonOption = Annotated[bool, typer.Option("--json", help="JSON on stdout, and nothing else there.")]
FolderOption = Annotated[
    Path,
    typer.Option(
        "--to", metavar="FOLDER", help="Where the files go. It is created if it does not exist.", show_default="here"
    ),
]
LimitOption = Annotated[int, typer.Option("--limit", "-n", min=1, max=1_000_000, help="So many at most, newest first.")]
