"""What a URL path means to routers and models. Pure functions of text; nothing is called."""

from __future__ import annotations

from functools import lru_cache

PREFIX = "/v2/models"
METADATA_PATHS = ("", "/", "/v2", "/v2/", "/v2/health", "/v2/health/")
INFER_OPERATIONS = ("infer", "predict")
VERSIONS = "versions"


@lru_cache(maxsize=4096)
def split_path(path: str, prefix: str = PREFIX) -> tuple[str, ...] | None:
    """The segments of a path behind the prefix; ``None`` for a path that is not under it.

    >>> split_path("/v2/models/m1/versions/2/infer")
    ('m1', 'versions', '2', 'infer')
    >>> split_path("/v2/models/"), split_path("/elsewhere")
    ((), None)
    """
    path = path.partition("?")[0]
    if path != prefix and not path.startswith(f"{prefix}/"):
        return None
    return tuple(part for part in path[len(prefix) :].split("/") if part)


def route_key(rest: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    """The route that the first segments name, with its version as ``name:version``, and the segments behind it.

    >>> route_key(("m1", "versions", "2", "infer"))
    ('m1:2', ('infer',))
    """
    if len(rest) >= 3 and rest[1] == VERSIONS:
        return f"{rest[0]}:{rest[2]}", rest[3:]
    return rest[0], rest[1:]


@lru_cache(maxsize=4096)
def own_rest(path: str, name: str) -> tuple[str, ...]:
    """The segments behind a model's own name, for a model that no router stands before.

    >>> own_rest("/v2/models/m1/ready", "m1"), own_rest("/v2/models/router/m1/versions/2/infer", "m1")
    (('ready',), ('infer',))
    >>> own_rest("/", "m1"), own_rest("/v2/models/other/infer", "m1")
    ((), ('infer',))
    """
    rest = split_path(path)
    if not rest:
        return ()
    if name in rest:
        return route_key(rest[rest.index(name) :])[1]
    return route_key(rest)[1]
