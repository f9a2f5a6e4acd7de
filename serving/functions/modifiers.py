"""What is given to ``function.apply``: MLRun's modifiers, as far as functions that serve need them."""

from __future__ import annotations

import os
from collections.abc import Callable

from ...errors import GraphError
from .described import Described

API, USER, KEY = "V3IO_API", "V3IO_USERNAME", "V3IO_ACCESS_KEY"


def v3io_cred(
    api: str = "", user: str = "", access_key: str = "", *, secret: str | None = None
) -> Callable[[Described], None]:
    """Let a deployed function open v3io streams: ``function.apply(v3io_cred())``.

    The access key is referred to and never written. Without `secret` it is the secret ``V3IO_ACCESS_KEY`` of the
    function, whose source is given when it is deployed (``secret=``, ``--secret``).

    :param api: where the platform's web API is; default: ``V3IO_API`` of this environment, if it is set
    :param user: default: ``V3IO_USERNAME`` of this environment, if it is set
    :param access_key: refused: it is a value
    :param secret: the Kubernetes Secret with the key: ``"secret-name/key"``, or ``"secret-name"`` where the key is
        ``V3IO_ACCESS_KEY``
    :raises GraphError: the value of a key was given, or `secret` names no Secret

    >>> from millrace import new_function
    >>> function = new_function("f").apply(v3io_cred("https://webapi.example.com", secret="v3io/key"))
    >>> function.spec.env["V3IO_API"], function.spec.env_from_secrets
    ('https://webapi.example.com', {'V3IO_ACCESS_KEY': 'v3io/key'})
    """
    if access_key:
        raise GraphError(
            "v3io_cred(access_key=…) is the value of a secret, which is never written: set V3IO_ACCESS_KEY in the "
            "environment, and name a deployed function's Kubernetes Secret with v3io_cred(secret='secret-name/key')"
        )

    def modify(function: Described) -> None:
        for name, value in ((API, api or os.environ.get(API)), (USER, user or os.environ.get(USER))):
            if value:
                function.set_env(name, value)
        if secret is None:
            function.with_secrets("env", KEY)
        else:
            name, _, key = secret.partition("/")
            function.set_env_from_secret(KEY, name, key or None)

    return modify
