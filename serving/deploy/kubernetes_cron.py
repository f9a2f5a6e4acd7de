"""Cron triggers in Kubernetes: jobs that send the function its event. Intervals run in the function itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from ...errors import SpecError
from .docker import USER, image_name
from .kubernetes_pod import labels, metadata
from .names import check_name
from .unit import Unit

IN_PATHS = "/?&=%:;,+@!$'()*~"
"""What has its meaning in a URL, or is written in percents already."""
LONGEST_NAME = 52
"""Kubernetes adds 11 characters to the names of the jobs."""
CALL = (
    "import sys, urllib.request as r; url, method, body, headers = sys.argv[1:]; import json; "
    "r.urlopen(r.Request(url, body.encode() or None, json.loads(headers), method=method), timeout=60)"
)


def cron_jobs(unit: Unit, *, host: str | None = None) -> list[dict[str, Any]]:
    """A CronJob for each cron trigger with a schedule.

    :param host: the name of the function's Service; default: the function's own
    :raises SpecError: the schedule has not five fields, nothing takes its event, or an interval would run several times
    """
    found = []
    for name, one in unit.triggers.items():
        if one["kind"] == "cron" and "interval" not in one["attributes"]:
            found.append(_job(unit, name, one, host or unit.name))
        elif one["kind"] == "cron" and unit.replica_range != (1, 1):
            low, high = unit.replica_range
            raise SpecError(
                f"function '{unit.name}', trigger '{name}': an interval runs in each replica, of which there are {low} "
                f"to {high}; set replicas=1, or give a schedule='*/5 * * * *', which is one job for all"
            )
    return found


def _job(unit: Unit, name: str, trigger: Mapping[str, Any], host: str) -> dict[str, Any]:
    attributes = trigger.get("attributes") or {}
    schedule = str(attributes.get("schedule") or "")
    if len(schedule.split()) != 5:
        raise SpecError(
            f"function '{unit.name}', trigger '{name}': Kubernetes takes a schedule of five fields, such as "
            f"'*/5 * * * *', not {attributes.get('schedule')!r}"
        )
    if unit.http is None:
        raise SpecError(f"function '{unit.name}', trigger '{name}': there is no http trigger that takes its events")
    check_name(f"{unit.name}-{name}", what="cron job's", longest=LONGEST_NAME)
    event = attributes.get("event") or {}
    body = event.get("body") or ""
    method = event.get("method") or "POST"
    url = f"http://{host}/{quote(str(event.get('path') or '/').lstrip('/'), safe=IN_PATHS)}"
    command = ["python", "-c", CALL, url, method, body, json.dumps(event.get("headers") or {}, sort_keys=True)]
    container = {
        "name": "call", "image": image_name(unit), "command": command,
        "securityContext": {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True,
                            "capabilities": {"drop": ["ALL"]}},
    }  # fmt: skip
    template = {
        "metadata": {"labels": {**labels(unit), "app.kubernetes.io/name": f"{unit.name}-{name}"}},
        "spec": {"restartPolicy": "Never", "containers": [container], "automountServiceAccountToken": False,
                 "securityContext": {"runAsNonRoot": True, "runAsUser": USER, "runAsGroup": USER}},
    }  # fmt: skip
    spec = {
        "schedule": schedule, "concurrencyPolicy": "Forbid",
        "jobTemplate": {"spec": {"backoffLimit": 2, "template": template}},
    }  # fmt: skip
    return {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": metadata(unit, suffix=name), "spec": spec}
