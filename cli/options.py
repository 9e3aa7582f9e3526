"""The options and arguments that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

FileArgument = Annotated[
    str,
    typer.Argument(
        metavar="FILE",
        help="Prompts: .txt (one per line or paragraph), .csv, .tsv, .xlsx (a column named prompt), .json, .jsonl "
        "(an object per job), or - for JSON lines from standard input.",
    ),
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
