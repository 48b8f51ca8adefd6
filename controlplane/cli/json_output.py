"""Messages as JSON on standard output, as the API has them."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

import click
from google.protobuf.json_format import MessageToDict


def as_json(message: Any, indent: int | None = 2) -> str:
    """Returns a message as JSON."""
    return json.dumps(MessageToDict(message), indent=indent)


def print_list(field: str, pages: Iterable[Sequence[Any]]) -> None:
    """Prints `{"FIELD": [...]}` piece by piece as pages come, one message a line."""
    opening = f'{{"{field}": [\n'
    for page in pages:
        for message in page:
            click.echo(opening + as_json(message, indent=None), nl=False)
            opening = ",\n"
    click.echo(f'{{"{field}": []}}' if opening.startswith("{") else "\n]}")
