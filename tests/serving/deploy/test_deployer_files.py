"""How a function's files travel in a configuration that has room for one."""

from __future__ import annotations

import base64
import subprocess
import sys

import pytest

from millrace.errors import MillraceError
from millrace.serving.deploy.deployer_unit import Deployable

FILES = {"main.py": b"from steps.a import handler\n", "steps/a.py": b"def handler(): return 'hi'\n", "m.bin": b"\0\xff"}


def prepared(files, **build):
    spec = {"handler": "main:handler", **({"build": build} if build else {})}
    return Deployable({"metadata": {"name": "hello"}, "spec": spec}, files).prepared(project="demo")


def source(config) -> str:
    return base64.b64decode(config["spec"]["build"]["functionSourceCode"]).decode()


def test_a_single_file_is_the_source():
    config = prepared({"main.py": b"handler = print\n"})
    assert source(config) == "handler = print\n"
    assert "commands" not in config["spec"]["build"]


def test_several_files_are_unpacked_over_the_source_when_the_image_is_built(tmp_path):
    text = source(prepared(FILES)).replace("/opt/nuclio", str(tmp_path))
    (tmp_path / "main.py").write_text(text)
    subprocess.run([sys.executable, "main.py"], cwd=tmp_path, check=True)
    assert {path: (tmp_path / path).read_bytes() for path in FILES} == FILES
    done = subprocess.run([sys.executable, "-c", "import main; print(main.handler())"], cwd=tmp_path, check=True,
                          capture_output=True, text=True)  # fmt: skip
    assert done.stdout == "hi\n"


def test_an_image_that_was_built_without_unpacking_says_so(tmp_path):
    (tmp_path / "main.py").write_text(source(prepared(FILES)))
    done = subprocess.run([sys.executable, "-c", "import main"], cwd=tmp_path, stderr=subprocess.PIPE,
                          text=True, check=False)  # fmt: skip
    assert "ImportError: the files of this function were not unpacked" in done.stderr


@pytest.mark.parametrize(
    ("commands", "expected"),
    [
        ([], ["@nuclio.postCopy", "python3 /opt/nuclio/main.py"]),
        (["pip install x"], ["pip install x", "@nuclio.postCopy", "python3 /opt/nuclio/main.py"]),
        (["a", "@nuclio.postCopy", "b"], ["a", "@nuclio.postCopy", "python3 /opt/nuclio/main.py", "b"]),
    ],
)
def test_commands_behind_the_copying_find_all_files(commands, expected):
    assert prepared(FILES, commands=commands)["spec"]["build"]["commands"] == expected


def test_an_image_that_is_there_gets_no_code():
    build = prepared(FILES, codeEntryType="image")["spec"]["build"]
    assert build == {"codeEntryType": "image"}


def test_the_same_files_in_another_order_give_the_same_configuration():
    assert prepared(FILES) == prepared(dict(reversed(FILES.items())))


def test_a_changed_file_changes_the_hash():
    (one, other) = (prepared({**FILES, "m.bin": data})["metadata"]["annotations"] for data in (b"1", b"2"))
    assert one.keys() == other.keys() and one != other


def test_a_handler_that_is_in_none_of_the_files_is_told():
    with pytest.raises(MillraceError, match=r"'hello': its handler is in 'main\.py', which is not among its files"):
        prepared({"other.py": b""})
