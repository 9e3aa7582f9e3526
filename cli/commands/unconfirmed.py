"""`rushes unconfirmed`: submissions with a lost answer, and a person's decisions about them."""

from typing import Annotated

import typer

from cli.api import open_api
from cli.options import JsonOption, PredictionArgument
from cli.output import print_answer, print_list, show_moment, show_money, show_text

app = typer.Typer(help="Unconfirmed submissions: the answers to their POSTs were lost.", no_args_is_help=True)
ProviderIdArgument = Annotated[str, typer.Argument(metavar="PROVIDER_ID", help="Id of the provider's prediction.")]


@app.command("list")
def list_unconfirmed(as_json: JsonOption = False) -> None:
    """List unconfirmed submissions, oldest first.

    Those with "person" under WAITS FOR need your decision; Rushes is still looking for the others.

    Example:

        rushes unconfirmed list
    """
    with open_api() as client:
        answer = client.get("unconfirmed")
    rows = (
        (
            each["prediction_id"],
            each["job_id"],
            show_moment(each["posted_at"]),
            show_money(each["price"]),
            "person" if each["needs_person"] else "looking",
            show_text(each["reason"]),
            show_text(each["input"].get("prompt", "")),
        )
        for each in answer["items"]
    )
    columns = ("PREDICTION", "JOB", "POSTED", "PRICE", "WAITS FOR", "REASON", "PROMPT")
    print_list(answer["items"], columns, rows, nothing="no submission is unconfirmed", as_json=as_json)


@app.command("adopt")
def adopt(prediction: PredictionArgument, provider_id: ProviderIdArgument, as_json: JsonOption = False) -> None:
    """Assign one of the provider's predictions to an unconfirmed submission. It is watched and stored like any other.

    Example:

        rushes unconfirmed adopt 019a2b3c-4d5e-7f60-8123-456789abcdef 5f2c1e0b7a9d4c63b8e1
    """
    with open_api() as client:
        answer = client.post("predictions", prediction, "adopt", body={"provider_id": provider_id})
    line = f"prediction {prediction} is {provider_id}; job {answer['id']} is {answer['state']}"
    print_answer(answer, line, as_json=as_json)


@app.command("dismiss")
def dismiss(prediction: PredictionArgument, as_json: JsonOption = False) -> None:
    """State that the provider never accepted a submission. Its job is bought again.

    If the provider did accept it, you pay twice. The job fails instead if posting it has killed three workers
    (`submit_killed_worker`).

    Example:

        rushes unconfirmed dismiss 019a2b3c-4d5e-7f60-8123-456789abcdef
    """
    with open_api() as client:
        answer = client.post("predictions", prediction, "dismiss")
    line = f"prediction {prediction} is marked not found; job {answer['id']} is {answer['state']}"
    print_answer(answer, line, as_json=as_json)
