"""The options and arguments that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

FileArgument = Annotated[
    str,
    typer.Argument(
        metavar="FILE",
        help="Prompts: .jsonl (one object per line), .csv (each header is the name of a parameter), "
        ".txt (one prompt per line), or - for JSON lines from standard input.",
    ),
]
ModelOption = Annotated[str | None, typer.Option("--model", "-m", help="Video model for lines that name none.")]
DurationOption = Annotated[
    int | None, typer.Option("--duration", "-d", help="Seconds of video, for lines that do not set it.")
]
AudioOption = Annotated[
    bool | None, typer.Option("--audio/--no-audio", help="Sound or no sound, for lines that do not set it.")
]
PredictionArgument = Annotated[str, typer.Argument(metavar="PREDICTION", help="Our id of the prediction.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON on stdout, and nothing else there.")]
FolderOption = Annotated[
    Path,
    typer.Option(
        "--to", metavar="FOLDER", help="Folder for the files. It is created if it does not exist.", show_default="here"
    ),
]
LimitOption = Annotated[
    int, typer.Option("--limit", "-n", min=1, max=1_000_000, help="Maximum number to list, newest first.")
]
