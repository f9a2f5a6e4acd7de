"""What can go wrong between Millrace and a Nuclio dashboard, each with its way out."""

from __future__ import annotations

from collections.abc import Sequence

from ...errors import MillraceError

LOG_TAIL_LINES = 20
REASON_CHARACTERS = 600
WAYS = "dashboard= or --dashboard, NUCLIO_DASHBOARD_URL, or dashboard.url in the configuration file"


class DeployError(MillraceError):
    """The root of what goes wrong while functions are deployed, asked or removed."""


class DashboardUnreachable(DeployError):
    """No dashboard answers at the address.

    :param source: who said the address, such as ``"NUCLIO_DASHBOARD_URL"``
    """

    def __init__(self, address: str, *, source: str, reason: str) -> None:
        super().__init__(
            f"no Nuclio dashboard answers at {address} (from {source}): {reason}; give its address with {WAYS}, "
            "or deploy with --via nuctl"
        )


class NotADashboard(DeployError):
    """Something answers at the address, but no Nuclio dashboard."""

    def __init__(self, address: str, *, source: str, answer: str) -> None:
        super().__init__(
            f"what answers at {address} (from {source}) is no Nuclio dashboard: {answer}; give the dashboard's "
            f"address, without /api, with {WAYS}"
        )


class CredentialsRefused(DeployError):
    """The dashboard does not know who asks (401), or does not let them (403)."""

    status = 401

    def __init__(self, address: str, *, upstream_status: int, identity: str, call: str, reason: str) -> None:
        self.status = upstream_status
        said = f" ({reason})" if reason else ""
        if upstream_status == 401:
            text = (
                f"the dashboard at {address} does not let in {identity}{said}: set the right "
                "NUCLIO_DASHBOARD_USERNAME and NUCLIO_DASHBOARD_PASSWORD, or NUCLIO_DASHBOARD_TOKEN"
            )
        else:
            text = f"the dashboard at {address} does not let {identity} {call}{said}: ask for that right"
        super().__init__(text)


class DashboardFailed(DeployError):
    """The dashboard answered with an error status.

    :param upstream_status: that status
    :param reason: its own words
    """

    def __init__(self, call: str, *, upstream_status: int, reason: str) -> None:
        super().__init__(f"the dashboard could not {call}: {reason or 'no reason given'} ({upstream_status})")
        self.upstream_status = upstream_status


class ConnectionDropped(DeployError):
    """The connection broke before the answer was there; the dashboard may have done what it was asked."""

    def __init__(self, address: str, *, call: str, reason: str) -> None:
        super().__init__(f"the connection to the dashboard at {address} broke while it was to {call}: {reason}")


class OtherProject(DeployError):
    """A function of that name belongs to another project of the same namespace."""

    def __init__(self, name: str, *, project: str, other: str) -> None:
        super().__init__(
            f"function '{name}' exists in project '{other}' and can not be deployed to '{project}' too: names are "
            "unique in a namespace; rename the function, give it a tag, or undeploy the other"
        )


class OtherFunction(DeployError):
    """A function of that name is a part of another one, as its child or itself.

    :param whole: the function that it would be a part of now
    """

    def __init__(self, name: str, *, whole: str, other: str) -> None:
        super().__init__(
            f"function '{name}' is deployed as a part of '{other}' and can not be one of '{whole}' too; rename the "
            f"function or its child, give it a tag, or undeploy '{other}'"
        )


class CodeTooLarge(DeployError):
    """The code does not fit into what the dashboard stores of a function."""

    def __init__(self, name: str, *, size_bytes: int, limit_bytes: int) -> None:
        super().__init__(
            f"function '{name}': its files take {size_bytes:,} bytes packed, and a dashboard stores at most "
            f"{limit_bytes:,}: leave models and data out, build an image (`millrace export nuclio`), or use --via nuctl"
        )


class DeployFailed(DeployError):
    """A function did not become ready.

    :param state: where it ended, such as ``"error"``
    :param log: the end of its build log, line by line
    """

    def __init__(self, function: str, *, state: str, reason: str, log: Sequence[str] = ()) -> None:
        super().__init__(f"function '{function}' was not deployed ({state}): {reason[:REASON_CHARACTERS]}")
        self.function = function
        self.state = state
        self.log = list(log)
        for line in self.log:
            self.add_note(f"build log of {function}: {line}")


class FunctionNotFound(DeployError):
    """The dashboard has no function of that name."""

    status = 404

    def __init__(self, name: str, *, address: str, near: str = "") -> None:
        super().__init__(f"the dashboard at {address} has no function '{name}'{near or '; deploy it first'}")
