"""Cuts what is to be told into answers of bounded size."""

from collections.abc import Iterable, Iterator

from controlplane.xds.messages import MAX_RESPONSE_BYTES, MAX_RESPONSE_RESOURCES, Resource

_NAME_OVERHEAD_BYTES = 8
"""More than the tag and the length of a removed name take."""


def cut(items: Iterable[Resource | bytes]) -> Iterator[tuple[tuple[Resource, ...], tuple[bytes, ...]]]:
    """Yields resources and removed names (bytes) for one answer after the other, in order.

    Items are read as they are needed, so that no more than one answer's content is in memory at a time. An answer is within
    `MAX_RESPONSE_BYTES` and `MAX_RESPONSE_RESOURCES`, unless one resource alone is larger. Nothing is yielded for no items.
    """
    resources: list[Resource] = []
    removed: list[bytes] = []
    size = 0
    for item in items:
        item_size = item.size if isinstance(item, Resource) else len(item) + _NAME_OVERHEAD_BYTES
        if (resources or removed) and (size + item_size > MAX_RESPONSE_BYTES or len(resources) == MAX_RESPONSE_RESOURCES):
            yield tuple(resources), tuple(removed)
            resources, removed, size = [], [], 0
        if isinstance(item, Resource):
            resources.append(item)
        else:
            removed.append(item)
        size += item_size
    if resources or removed:
        yield tuple(resources), tuple(removed)
