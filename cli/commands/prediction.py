"""`rushes prediction`: give up a render that does not end."""

from typing import Annotated

import typer

from cli.api import open_api
from cli.options import JsonOption, PredictionArgument
from cli.output import print_answer
from rushes_client.errors import Declined
from stack.errors import BAD_INPUT, CommandError

UNACCEPTED = 422

app = typer.Typer(help="Predictions: one purchase each.", no_args_is_help=True)
DoubleCostOption = Annotated[
    bool,
    typer.Option(
        "--accept-double-cost", help="Accept that this render may still be billed in addition to the next one."
    ),
]


# The callback keeps `abandon` a subcommand while it is the only command.
@app.callback()
def _predictions() -> None:
    """Predictions: one purchase each."""


@app.command("abandon")
def abandon(
    prediction: PredictionArgument, *, accept_double_cost: DoubleCostOption = False, as_json: JsonOption = False
) -> None:
    """Give up a render that outlived its watch window. It ends as `lost`, counts as spent, and frees its slot.

    Its job is bought again if it has attempts left. Without the flag, the command only shows the cost.

    Example:

        rushes prediction abandon 019a2b3c-4d5e-7f60-8123-456789abcdef --accept-double-cost
    """
    body = {"accept_double_cost": accept_double_cost}
    with open_api() as client:
        try:
            answer = client.post("predictions", prediction, "abandon", body=body)
        except Declined as declined:
            if declined.status != UNACCEPTED or accept_double_cost:
                raise
            hint = "repeat it with --accept-double-cost if that is what you want"
            raise CommandError(*declined.errors, hint=hint, exit_code=BAD_INPUT) from declined
    line = f"prediction {prediction} is abandoned; job {answer['id']} is {answer['state']}"
    print_answer(answer, line, as_json=as_json)
