"""How every option of the command is declared: with its environment variable, and with `--config` beneath it."""

import tomllib
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import click

Function = TypeVar("Function", bound=Callable[..., Any])


def option(*names: str, **attributes: Any) -> Callable[[Function], Function]:
    """Declares an option that is also `CERTPLANE_<OPTION>`. Arguments are click's."""
    long = next(name for name in names if name.startswith("--")).split("/")[0]
    attributes.setdefault("envvar", "CERTPLANE_" + long.removeprefix("--").upper().replace("-", "_"))
    attributes.setdefault("show_envvar", True)
    attributes.setdefault("show_default", True)
    return click.option(*names, **attributes)


def _load_config(context: click.Context, _parameter: click.Parameter, path: Path | None) -> None:
    if path is None:
        return
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise click.BadParameter(f"{path}: {error}") from None
    known = {parameter.name for parameter in context.command.params}
    table = content.get(context.info_name or "", {})
    shared = {key: value for key, value in content.items() if not isinstance(value, dict)}
    values = {key.replace("-", "_"): value for key, value in {**shared, **table}.items()}
    unknown = sorted(key.replace("-", "_") for key in table if key.replace("-", "_") not in known)
    if unknown:
        raise click.BadParameter(f"{path}: [{context.info_name}] has unknown options: {', '.join(unknown)}")
    context.default_map = {**(context.default_map or {}), **{key: value for key, value in values.items() if key in known}}


config_option = option(
    "--config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    is_eager=True,
    expose_value=False,
    callback=_load_config,
    help="TOML file: options at the top level hold for every command, a table such as [serve] for one. Options and environment win.",
)

log_level_option = option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="info", help="What to log.")


class Duration(click.ParamType[timedelta, Any]):
    """A duration such as `90s`, `15m`, `12h` or `7d`."""

    name = "duration"

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> timedelta:
        """Returns a timedelta, or fails with an example."""
        if isinstance(value, timedelta):
            return value
        unit = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}.get(str(value)[-1:])
        try:
            return timedelta(**{unit or "": float(str(value)[:-1])})
        except (ValueError, TypeError, OverflowError):
            self.fail(f"{value!r} is not a duration; write for example 90s, 15m, 12h or 7d", parameter, context)
