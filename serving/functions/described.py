"""What a function is apart from its graph: name, settings, secrets; and how all of it is written and read."""

from __future__ import annotations

import os
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any, Self

from ...errors import GraphError, SpecError, near
from ..graph.flow import FlowStep
from ..graph.step import warn_inert
from .arguments import known_arguments
from .logins import keep_logins
from .placed import Placed
from .spec import FunctionSpec, Metadata, metadata_from_dict, spec_from_dict, spec_to_dict

KINDS = ("serving", "nuclio", "remote", "")
YAML = (".yaml", ".yml")


class Described(Placed):
    """A function's metadata and spec, with the calls that change them.

    >>> print(Described("adder").with_parameters(by=2).to_yaml())
    kind: serving
    metadata:
      name: adder
    spec:
      parameters:
        by: 2
    <BLANKLINE>
    """

    kind = "serving"

    def __init__(self, name: str = "function", *, spec: FunctionSpec | None = None) -> None:
        self.metadata = Metadata(name or "function")
        self.spec = spec or FunctionSpec()
        self.verbose = False

    @property
    def name(self) -> str:
        """The function's name."""
        return self.metadata.name

    # -- settings ------------------------------------------------------------------------------------------------

    @known_arguments
    def with_secrets(self, kind: str, source: Any) -> Self:
        """Declare where secrets are: ``inline`` (a dict), ``file``, ``env`` (``"A,B"``) or ``kubernetes``.

        Steps read them with ``context.get_secret(name)``. Their values are never written into a spec.

        :param source: for ``kubernetes`` a mapping of names to ``"secret-name/key"``, which is what a deployed
            function needs; the folder of a mount; or a list of names that are expected

        >>> import millrace
        >>> function = millrace.new_function("shop").with_secrets("inline", {"token": "s3cret"})
        >>> _ = function.set_topology("flow").to(
        ...     name="length", handler=lambda event, context: len(context.get_secret("token"))).respond()
        >>> function.to_mock_server().test(body=1)
        6
        """
        if kind == "kubernetes" and isinstance(source, Mapping):
            source = self.refer_to_secrets(source)
        self.spec.secrets.add(kind, source)
        return self

    def with_parameters(self, **parameters: Any) -> Self:
        """Set parameters, which steps read with ``context.get_param``.

        >>> import millrace
        >>> function = millrace.new_function("shop").with_parameters(currency="EUR")
        >>> _ = function.set_topology("flow").to(
        ...     name="price", handler=lambda event, context: f"{event} {context.get_param('currency')}").respond()
        >>> function.to_mock_server().test(body=5)
        '5 EUR'
        """
        self.spec.parameters.update(parameters)
        return self

    def set_tracking(
        self,
        stream_path: str | None = None,
        batch: int | None = None,
        sample: int | None = None,
        stream_args: dict[str, Any] | None = None,
        tracking_policy: Any = None,
        enable_tracking: bool = True,
        sampling_percentage: float = 100,
    ) -> Self:
        """Write a record of what models were asked and answered to a stream; in a mock server
        ``server.queue("tracking_stream").messages``.

        :param stream_path: the stream's address; default: the function's default stream
        :param sampling_percentage: how many of the requests are recorded; failures always are
        """
        warn_inert(batch=batch, sample=sample, stream_args=stream_args, tracking_policy=tracking_policy)
        if not 0 < sampling_percentage <= 100:
            raise GraphError(f"sampling_percentage={sampling_percentage!r} must be more than 0, and at most 100")
        self.spec.tracking_stream = (stream_path or "tracking") if enable_tracking else None
        self.spec.sampling_percentage = sampling_percentage
        return self

    def apply(self, modify: Any) -> Self:
        """Let a function modify this one: ``function.apply(with_my_settings)``."""
        modify(self)
        return self

    # -- writing -------------------------------------------------------------------------------------------------

    def to_dict(self, *, pickle: bool = False) -> dict[str, Any]:
        """The function as plain data, in MLRun's layout; values of inline secrets are left out."""
        keep_logins(self.spec)
        metadata = {key: value for key, value in vars(self.metadata).items() if value}
        found = {"kind": self.kind, "metadata": metadata, "spec": spec_to_dict(self.spec, pickle=pickle)}
        self.spec.secrets.refuse_in(found, where=f"function '{self.name}'")
        return found | ({"verbose": True} if self.verbose else {})

    def to_yaml(self, *, pickle: bool = False) -> str:
        """The function as YAML text.

        :param pickle: write objects that do not import by name as cloudpickle; loading it takes ``trusted=True``

        >>> import millrace
        >>> function = millrace.new_function("double")
        >>> _ = function.set_topology("flow").to(name="double", handler="(event * 2)").respond()
        >>> print(function.to_yaml().splitlines()[0])
        kind: serving
        """
        from .text import dump_yaml  # noqa: PLC0415 - for start-up: yaml takes long

        return dump_yaml(self.to_dict(pickle=pickle))

    @known_arguments
    def export(
        self,
        target: str = "function.yaml",
        folder: str | None = None,
        *,
        pickle: bool = False,
        image: str | None = None,
        python: str | None = None,
        namespace: str | None = None,
        streams: str | None = None,
        secret: str | None = None,
        wheel: str | None = None,
        kserve: bool = False,
    ) -> str:
        """Write the function as a YAML file, or all that a platform needs to run it into a folder; return the path.

        Code files that a YAML file names are relative to its folder. A folder gets the code itself, and what is wrong
        is found before anything is written.

        :param target: the YAML file; or ``"nuclio"``, ``"docker"``, ``"kubernetes"`` or ``"compose"``, with a `folder`
        :param pickle: write objects that do not import by name as cloudpickle; loading it takes ``trusted=True``
        :param image: the image's name, for ``docker``, ``kubernetes`` and ``compose``
        :param python: its Python version; default: the one that runs
        :param namespace: of Kubernetes
        :param streams: where queues without an address are: ``kafka://broker:9092``
        :param secret: the Kubernetes Secret of all secrets that refer to none
        :param wheel: a wheel file to install Millrace from, instead of the package index
        :param kserve: let KServe run the function that answers requests
        """
        from ..deploy.target import TARGETS  # noqa: PLC0415 - for start-up: only when asked for

        if target in TARGETS:
            from .exporting import export_to  # noqa: PLC0415 - only when asked for

            return export_to(self, target, folder, pickle=pickle, image=image, python=python, namespace=namespace,
                             streams=streams, secret=secret, wheel=wheel, kserve=kserve)  # fmt: skip
        given = {"folder": folder, "image": image, "python": python, "namespace": namespace, "streams": streams,
                 "secret": secret, "wheel": wheel, "kserve": kserve or None}  # fmt: skip
        for name, value in given.items():
            if value is not None:
                raise SpecError(
                    f"export('{target}') writes a YAML file and takes no {name}=; "
                    f"folders are written for {', '.join(TARGETS)}{near(target, TARGETS)}"
                )
        place = Path(target).resolve().parent
        other = self.copy()
        for one in (other, *other.spec.functions.values()):
            if one.spec.filename and Path(one.spec.filename).is_file():
                one.spec.filename = Path(os.path.relpath(one.spec.filename, place)).as_posix()
        Path(target).write_text(other.to_yaml(pickle=pickle), encoding="utf-8")
        return target

    @classmethod
    def from_dict(cls, values: dict[str, Any], *, trusted: bool = False) -> Self:
        """The function that :meth:`to_dict` wrote; unknown keys are refused.

        :param trusted: unpickle objects, which runs code
        """
        known = ("kind", "metadata", "spec", "verbose", "status")
        if not isinstance(values, Mapping):
            raise SpecError(f"a function must be a mapping with kind, metadata and spec, not {values!r:.60}")
        for key in values:
            if key not in known:
                raise SpecError(f"the function has an unknown key '{key}'{near(str(key), known)}")
        check_kind(values.get("kind"))
        function = cls()
        function.metadata = metadata_from_dict(values.get("metadata") or {})
        function.spec = spec_from_dict(values.get("spec") or {}, trusted=trusted)
        if isinstance(function.spec.graph, FlowStep):
            function.spec.graph.name = function.name
        children = (values.get("spec") or {}).get("functions") or {}
        if not isinstance(children, Mapping):
            raise SpecError(f"spec.functions must be a mapping of names to functions, not {children!r:.60}")
        for name, child in children.items():
            function.spec.functions[name] = cls.from_dict(child, trusted=trusted)
        function.verbose = bool(values.get("verbose", False))
        return function

    @classmethod
    def from_file(cls, filename: str, *, trusted: bool = False) -> Self:
        """The function in a YAML file; code files that it names are relative to its folder."""
        from .text import load_yaml  # noqa: PLC0415 - for start-up: yaml takes long

        try:
            text = Path(filename).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise SpecError(f"the file '{filename}' can not be read: {error}") from error
        function = cls.from_dict(load_yaml(text, source=filename), trusted=trusted)
        folder = Path(filename).resolve().parent
        for one in (function, *function.spec.functions.values()):
            if one.spec.filename and (folder / one.spec.filename).is_file():
                one.spec.filename = str(folder / one.spec.filename)
        return function

    def copy(self) -> Self:
        """An independent function with the same settings."""
        return deepcopy(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        other = type(self)()
        other.metadata, other.spec = deepcopy(self.metadata, memo), deepcopy(self.spec, memo)
        other.verbose = self.verbose
        return other

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"


def check_kind(kind: str | None) -> None:
    """Refuse kinds of functions that hold no graph."""
    if kind and kind not in KINDS:
        raise SpecError(f"Millrace makes functions of kind 'serving', not '{kind}'")
