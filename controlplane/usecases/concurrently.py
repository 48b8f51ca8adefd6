"""Several coroutines at once: all succeed, or one error comes out."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from controlplane.core.errors import LeaseLost, Unavailable


async def all_of(*coroutines: Coroutine[Any, Any, Any]) -> list[Any]:
    """Runs all, and returns their results in order.

    When one fails the others are cancelled, and one error is raised, not a group: that of a lost lease before that of an absent
    store before any other, since that is the order in which they bind the caller.
    """
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(coroutine) for coroutine in coroutines]
    except BaseExceptionGroup as failed:
        raise min(_leaves(failed), key=_rank) from None
    return [task.result() for task in tasks]


def _leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for each in error.exceptions for leaf in _leaves(each)]
    return [error]


def _rank(error: BaseException) -> int:
    match error:
        case LeaseLost():
            return 0
        case Unavailable():
            return 1
        case _:
            return 2
