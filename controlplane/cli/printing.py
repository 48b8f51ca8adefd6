"""Messages as JSON, and lists as JSON or as a table, on standard output."""

import json as json_format
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import click
from google.protobuf.json_format import MessageToDict


def as_json(message: Any, indent: int | None = 2) -> str:
    """Returns a message as JSON."""
    return json_format.dumps(MessageToDict(message), indent=indent)


def print_list(field: str, pages: Iterable[Sequence[Any]]) -> None:
    """Prints `{"FIELD": [...]}` piece by piece as pages come, one message a line."""
    opening = f'{{"{field}": [\n'
    for page in pages:
        for message in page:
            click.echo(opening + as_json(message, indent=None), nl=False)
            opening = ",\n"
    click.echo(f'{{"{field}": []}}' if opening.startswith("{") else "\n]}")


def show_list(
    field: str, pages: Iterable[Sequence[Any]], *, json: bool, table: Callable[[Iterable[Sequence[Any]]], Iterable[str]], none: str
) -> None:
    """Prints all pages, as JSON (see `print_list`) or as the lines of a table; says `none` on standard error when it has no line."""
    if json:
        print_list(field, pages)
        return
    lines = 0
    for line in table(page for page in pages if page):
        click.echo(line)
        lines += 1
    if not lines:
        click.echo(none, err=True)
