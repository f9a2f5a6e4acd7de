"""``millrace queue``, on real topics of the embedded log and on streams of the v3io emulator."""

from __future__ import annotations

import asyncio
import contextlib
import doctest
import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from millrace.queues.address import open_queue
from millrace.queues.base import Commit, Settings
from millrace.queues.message import Message
from millrace.serving.cli import progress, table
from millrace.serving.cli.main import run

sys.path.append(str(Path(__file__).parents[2] / "queues"))

from v3io_emulator import Emulator


@pytest.fixture(params=["log", "v3io"])
def folder(request, tmp_path, monkeypatch):
    """Where topics are: a directory, or a container of a platform."""
    if request.param == "log":
        yield f"log://{tmp_path}"
        return
    monkeypatch.setenv("V3IO_ACCESS_KEY", "secret")
    with Emulator() as platform:
        yield f"v3io+http://{platform.host}/projects"


def fill(url: str, *values: str, partitions: int = 1, group: str | None = None) -> int:
    """Append values, in turn to each partition; a group has done the first of each. Answers the first offset."""

    async def filled() -> int:
        async with await open_queue(url, Settings(partitions=partitions)) as queue:
            messages = [Message(value.encode(), partition=n % partitions) for n, value in enumerate(values)]
            first = (await queue.append(messages))[0].offset if messages else 0
            if group is not None:
                await queue.commit(group, {number: Commit(first + 1) for number in range(partitions)})
            return first

    return asyncio.run(filled())


def interrupted(program: subprocess.Popen[bytes]) -> int:
    """The exit code after Ctrl-C; pressed again when it came just before the program began to wait for a key."""
    for _ in range(20):
        program.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            return program.wait(1)
    program.kill()
    return program.wait()


async def read(url: str) -> list[Message]:
    async with await open_queue(url) as queue:
        return await queue.read(0, 0)


def told(capsys) -> str:
    return capsys.readouterr().out


def error(capsys) -> str:
    """The one line on stderr."""
    (line,) = capsys.readouterr().err.splitlines()
    return line


def values(capsys) -> list[str]:
    """The values of ``tail --json``."""
    return [json.loads(line)["value"] for line in told(capsys).splitlines()]


def test_list_shows_the_address_of_each_topic(folder, capsys):
    fill(f"{folder}/orders")
    fill(f"{folder}/bills")
    assert run(["queue", "list", folder]) == 0
    assert told(capsys).splitlines() == [f"{folder}/bills", f"{folder}/orders"]
    assert run(["queue", "list", folder, "--json"]) == 0
    assert json.loads(told(capsys)) == [f"{folder}/bills", f"{folder}/orders"]


def test_show_counts_messages_and_the_lag_of_groups(folder, capsys):
    first = fill(f"{folder}/orders", "a", "b", "c", "d", partitions=2, group="bills")
    assert run(["queue", "show", f"{folder}/orders", "--json"]) == 0
    state = json.loads(told(capsys))
    assert [one["messages"] for one in state["partitions"]] == [2, 2]
    partitions = [{"partition": number, "committed": first + 1, "lag": 1} for number in (0, 1)]
    assert state["groups"] == [{"group": "bills", "members": 0, "total_lag": 2, "partitions": partitions}]


def test_show_prints_tables(tmp_path, capsys):
    fill(f"log://{tmp_path}/orders", *"abc", group="bills")
    assert run(["queue", "show", f"log://{tmp_path}/orders"]) == 0
    assert told(capsys).splitlines() == [
        f"log://{tmp_path}/orders: 3 messages",
        "",
        "partition  begin  end  messages",
        "        0      0    3         3",
        "",
        "group  members  partition  committed  lag",
        "bills        0          0          1    2",
    ]


def test_tail_shows_the_last_messages(folder, capsys):
    fill(f"{folder}/orders", *"abcdef")
    assert run(["queue", "tail", f"{folder}/orders", "--no-follow", "-n", "2", "--json"]) == 0
    assert values(capsys) == ["e", "f"]


def test_tail_begins_at_an_offset(folder, capsys):
    first = fill(f"{folder}/orders", *"abcdef")
    assert run(["queue", "tail", f"{folder}/orders", "--no-follow", "--from", str(first + 3), "--json"]) == 0
    assert values(capsys) == ["d", "e", "f"]


def test_tail_writes_each_message_on_one_harmless_line(tmp_path, capsys):
    fill(f"log://{tmp_path}/orders", "two\nlines \x1b[31m")
    assert run(["queue", "tail", f"log://{tmp_path}/orders", "--no-follow"]) == 0
    assert told(capsys).endswith("  0:0  two\\nlines \\x1b[31m\n")


def test_tail_follows_what_comes_until_it_is_interrupted(tmp_path):
    url = f"log://{tmp_path}/orders"
    fill(url, "before")
    command = [sys.executable, "-m", "millrace", "queue", "tail", url, "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        assert json.loads(program.stdout.readline())["value"] == "before"
        fill(url, "after")
        assert json.loads(program.stdout.readline())["value"] == "after"
        os.kill(program.pid, signal.SIGINT)
        assert program.wait(20) == 130


def test_replay_sets_the_place_of_a_group(folder, capsys):
    first = fill(f"{folder}/orders", *"abcdef", group="bills")
    assert run(["queue", "replay", f"{folder}/orders", "--group", "bills", "--from", "latest"]) == 0
    assert told(capsys).splitlines()[1].split() == ["0", str(first + 1), str(first + 6), "0"]
    assert run(["queue", "replay", f"{folder}/orders", "--group", "bills", "--from", "1h"]) == 0
    assert told(capsys).splitlines()[1].split() == ["0", str(first + 6), str(first), "6"]


def test_replay_says_when_a_group_is_new(tmp_path, capsys):
    fill(f"log://{tmp_path}/orders", "a")
    assert run(["queue", "replay", f"log://{tmp_path}/orders", "--group", "bils", "--from", "earliest"]) == 0
    assert told(capsys).startswith("group 'bils' had no place in")


def test_replay_is_refused_while_the_group_has_members(tmp_path, capsys):
    url = f"log://{tmp_path}/orders"
    fill(url, "a")
    command = ["queue", "replay", url, "--group", "bills", "--from", "earliest"]

    async def with_member() -> list[int]:
        async with await open_queue(url) as queue, queue.consumer("bills") as consumer:
            await consumer.poll()
            return [await asyncio.to_thread(run, one) for one in (command, [*command, "--force"])]

    assert asyncio.run(with_member()) == [1, 0]
    assert "has 1 live members" in error(capsys)


def test_replay_copies_a_range_to_another_topic(folder, capsys):
    first = fill(f"{folder}/orders", *"abcdef")
    fill(f"{folder}/some")
    span = ["--from", str(first + 2), "--until", str(first + 4)]
    assert run(["queue", "replay", f"{folder}/orders", "--copy-to", f"{folder}/some", *span]) == 0
    assert told(capsys) == f"2 messages copied to {folder}/some\n"
    assert run(["queue", "tail", f"{folder}/some", "--no-follow", "--json"]) == 0
    assert values(capsys) == ["c", "d"]


def test_purge_deletes_all_or_up_to_a_place(tmp_path, capsys):
    url = f"log://{tmp_path}/orders"
    fill(url, *"abcdef")
    assert run(["queue", "purge", url, "--before", "2", "--yes"]) == 0
    assert run(["queue", "purge", url, "--yes"]) == 0
    assert run(["queue", "purge", url, "--yes"]) == 0
    assert told(capsys).splitlines() == [
        f"2 messages deleted from {url}", f"4 messages deleted from {url}", "there is nothing to delete",
    ]  # fmt: skip


@pytest.mark.parametrize(("answer", "left"), [("n", 3), ("", 3), ("y", 0)])
def test_purge_asks_first_and_says_who_has_not_read(tmp_path, capsys, monkeypatch, answer, left):
    url = f"log://{tmp_path}/orders"
    fill(url, *"abc", group="bills")
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda question: print(question) or answer)
    assert run(["queue", "purge", url]) == (1 if left else 0)
    assert told(capsys).startswith(f"group 'bills' has not done 2 of them\ndelete 3 messages of {url}? [y/N] ")
    assert run(["queue", "show", url]) == 0
    assert told(capsys).startswith(f"{url}: {left} messages")


def test_ctrl_c_at_the_question_deletes_nothing(tmp_path):
    url = f"log://{tmp_path}/orders"
    fill(url, *"abc")
    parent, child = pty.openpty()
    command = [sys.executable, "-m", "millrace", "queue", "purge", url]
    with subprocess.Popen(command, stdin=child, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as program:
        assert program.stdout is not None
        asked = b""
        while b"[y/N]" not in asked:
            asked += os.read(program.stdout.fileno(), 1_000)
        assert interrupted(program) == 130
    os.close(parent)
    os.close(child)
    assert len(asyncio.run(read(url))) == 3


def test_purge_without_anybody_to_ask_wants_yes(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    assert run(["queue", "purge", f"log://{tmp_path}/orders"]) == 2
    assert error(capsys).endswith("say --yes")


def test_purge_of_a_stream_says_what_to_do_instead(capsys, monkeypatch):
    monkeypatch.setenv("V3IO_ACCESS_KEY", "secret")
    with Emulator() as platform:
        url = f"v3io+http://{platform.host}/projects/orders"
        fill(url, "a")
        assert run(["queue", "purge", url, "--yes"]) == 1
    assert "by its retention only; to pass over them" in error(capsys)


@pytest.mark.parametrize("client", ["kafka-python", "confluent-kafka"])
def test_commands_work_on_kafka(client, capsys):
    from kafka_broker import new_group, new_topic, real

    real()
    url, group, option = new_topic(), new_group(), ["--option", f"client={client}"]
    fill(url, *"abcdef", group=group)
    assert run(["queue", "list", url.rpartition("/")[0], "--json", *option]) == 0
    assert url in json.loads(told(capsys))
    assert run(["queue", "replay", url, "--group", group, "--from", "4", *option]) == 0
    assert told(capsys).splitlines()[1].split() == ["0", "1", "4", "2"]
    assert run(["queue", "purge", url, "--before", "3", "--yes", *option]) == 0
    assert told(capsys) == f"3 messages deleted from {url}\n"
    assert run(["queue", "tail", url, "--no-follow", "--json", *option]) == 0
    assert values(capsys) == ["d", "e", "f"]
    assert run(["queue", "show", f"{url}-other", *option]) == 1
    assert error(capsys).startswith(f"millrace: there is no topic {url}-other")


def test_topic_that_is_not_there_is_not_made(folder, capsys):
    assert run(["queue", "show", f"{folder}/ordres"]) == 1
    assert error(capsys) == (
        f"millrace: there is no topic {folder}/ordres; `millrace queue list {folder}` shows those that there are"
    )
    assert run(["queue", "list", folder]) == 0
    assert told(capsys) == f"there are no topics in {folder}\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["queue"], "say what to do: list, show, tail, replay, purge"),
        (["queue", "shwo", "log:///t/q"], "invalid choice: 'shwo'"),
        (["queue", "tail", "log:///t/q", "--no-folow"], "did you mean '--no-follow'"),
        (["queue", "tail", "log:///t/q", "--from", "noon"], "'noon' is no place in a topic; places are earliest"),
        (["queue", "replay", "log:///t/q", "--from", "latest"], "--group --copy-to is required"),
        (["queue", "replay", "log:///t/q", "--group", "g", "--from", "1", "--until", "2"], "goes with --copy-to"),
        (["queue", "show", "memory://orders"], "in the memory of one process"),
        (["queue", "show", "log:///t/q", "--option", "map_bytes"], "--option takes NAME=VALUE, not 'map_bytes'"),
    ],
)
def test_a_wrong_command_line_is_told_in_one_line(arguments, said, capsys):
    assert run(arguments) == 2
    assert said in error(capsys)


def test_options_reach_the_backend_and_secrets_come_from_files(tmp_path, capsys):
    with Emulator() as platform:
        platform.access_keys = {"from a file"}
        (tmp_path / "key").write_text("from a file\n")
        options = ["--option", f"access_key=@{tmp_path / 'key'}", "--option", f"endpoint={platform.url}"]
        assert run(["queue", "list", "v3io:///projects", *options]) == 0
        assert told(capsys) == "there are no topics in v3io:///projects\n"


@pytest.mark.parametrize("action", ["list", "show", "tail", "replay", "purge"])
def test_each_action_has_help_with_an_example(action, capsys):
    assert run(["queue", action, "--help"]) == 0
    assert f"example:\n  millrace queue {action} " in told(capsys)


def test_help_of_the_command_lists_its_actions(capsys):
    assert run(["queue", "--help"]) == 0
    shown = told(capsys)
    assert all(f"    {action} " in shown for action in ("list", "show", "tail", "replay", "purge"))


@pytest.mark.parametrize("module", [progress, table])
def test_examples_in_docstrings_are_true(module):
    assert doctest.testmod(module).failed == 0


def test_a_traceback_is_shown_only_when_asked_for(tmp_path, capsys):
    assert run(["queue", "show", f"log://{tmp_path}/none", "--verbose"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_progress_is_for_terminals_only(tmp_path, capsys, monkeypatch):
    url = f"log://{tmp_path}/orders"
    fill(url, *"abc")
    fill(f"{url}-2")
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    assert run(["queue", "replay", url, "--copy-to", f"{url}-2", "--from", "earliest"]) == 0
    assert "3 of 3 (100 %) messages copied" in capsys.readouterr().err
    monkeypatch.setattr("sys.stderr.isatty", lambda: False)
    assert run(["queue", "replay", url, "--copy-to", f"{url}-2", "--from", "earliest"]) == 0
    assert capsys.readouterr().err == ""


def test_a_path_without_a_scheme_is_a_place_of_the_embedded_log(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    fill(f"log://{tmp_path}/some/orders", "first")
    assert run(["queue", "list", "some"]) == 0 and run(["queue", "show", "some/orders"]) == 0
    assert capsys.readouterr().out.splitlines()[:2] == [
        f"log://{tmp_path}/some/orders", f"log://{tmp_path}/some/orders: 1 message",
    ]  # fmt: skip


def test_list_without_an_address_shows_the_streams_of_up(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    fill(f"log://{tmp_path}/.millrace/streams/orders", "first")
    assert run(["queue", "list"]) == 0
    assert capsys.readouterr().out == f"log://{tmp_path}/.millrace/streams/orders\n"
