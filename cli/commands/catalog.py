"""`rushes catalog`: the video models on offer."""

from typing import Any

from cli.api import open_api
from cli.options import JsonOption
from cli.output import print_json, print_table, show_money


def catalog(as_json: JsonOption = False) -> None:
    """Show the video models with their parameters, limits and prices.

    Example:

        rushes catalog --json
    """
    with open_api() as client:
        found = client.get("catalog")
    if as_json:
        print_json(found)
        return
    for model in found["models"]:
        size = f"{model['width']}x{model['height']}"
        price = f"{show_money(model['price_per_second'])} per second"
        title = f"{model['name']}: {model['about']}, {size}, {price}\n{model['id']}"
        rows = [(each["name"], each["kind"], _describe_value(each), each["about"]) for each in model["parameters"]]
        print_table(("  PARAMETER", "KIND", "VALUE", "ABOUT"), [(f"  {row[0]}", *row[1:]) for row in rows], title=title)
        print()


def _describe_value(parameter: dict[str, Any]) -> str:
    if parameter["required"]:
        return "required"
    default = str(parameter["default"]).lower() if isinstance(parameter["default"], bool) else parameter["default"]
    choices = "|".join(map(str, parameter["choices"] or []))
    return f"{default} ({choices})" if choices else f"{default}"
