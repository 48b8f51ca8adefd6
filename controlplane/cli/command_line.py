"""The options of a command that runs, as arguments for another run of it."""

from collections.abc import Collection, Iterator
from datetime import timedelta

import click


def as_arguments(context: click.Context, without: Collection[str]) -> list[str]:
    """Returns one argument for each option that has a value, wherever it came from: the command line, the environment, a file, a default.

    Args:
        context: of the command that runs.
        without: names of parameters to leave out (`redis_url`), secrets above all: others can read a command line.
    """
    return [
        argument for option in context.command.params if isinstance(option, click.Option) for argument in _given(context, option, without)
    ]


def _given(context: click.Context, option: click.Option, without: Collection[str]) -> Iterator[str]:
    value = context.params.get(option.name or "")
    if option.name in without or value is None:
        return
    name = option.opts[0]
    if option.is_flag:
        if value:
            yield name
        else:
            yield from option.secondary_opts[:1]
    elif option.multiple:
        # None given is said by an empty one, or the default would count.
        yield from (f"{name}={each}" for each in value or [""])
    elif isinstance(value, timedelta):
        yield f"{name}={value.total_seconds()}s"
    else:
        yield f"{name}={value}"
