"""``millrace export PLATFORM``: a folder, or one line that says why not."""

from __future__ import annotations

from pathlib import Path

import pytest

from millrace.serving.cli.main import run

SHOP = str(Path(__file__).parents[1] / "deploy" / "shop" / "orders.py")


@pytest.mark.parametrize(
    ("platform", "file"),
    [
        ("nuclio", "order.txt"),
        ("docker", "Dockerfile"),
        ("kubernetes", "orders-billing.yaml"),
        ("compose", "compose.yaml"),
    ],
)
def test_each_platform_gets_its_folder(platform, file, tmp_path, capsys):
    out = str(tmp_path / "out")
    assert run(["export", platform, f"{SHOP}:fn", "-o", out]) == 0
    assert (tmp_path / "out" / file).is_file()
    assert capsys.readouterr().out == f"{out}: function 'orders' for {platform}\n"


def test_the_choices_reach_the_files(tmp_path):
    out = tmp_path / "out"
    choices = ["--image", "r.example.com/shop:2", "--namespace", "shop", "--python", "3.12", "--kserve"]
    assert run(["export", "kubernetes", SHOP, "-o", str(out), *choices]) == 0
    text = (out / "orders.yaml").read_text()
    assert "image: r.example.com/shop:2" in text and "namespace: shop" in text and "kind: InferenceService" in text
    assert "FROM python:3.12-slim" in (out / "image" / "Dockerfile").read_text()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["kuberntes", SHOP, "-o", "x"], "there is no platform 'kuberntes'; did you mean 'kubernetes'"),
        (["docker", SHOP], f"say where to: millrace export docker {SHOP} -o docker"),
        (["docker", SHOP, "-o", "x", "--format", "json"], "--format is for a description; docker has its own"),
        ([SHOP, "--image", "x"], "--image is for a platform: millrace export nuclio"),
        ([SHOP, "--kserve"], "--kserve is for a platform"),
    ],
)
def test_a_wrong_command_line_is_told_in_one_line(arguments, said, capsys):
    assert run(["export", *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line


def test_what_can_not_be_deployed_is_told_in_one_line(tmp_path, capsys):
    assert run(["export", "docker", SHOP, "-o", str(tmp_path / "out"), "--python", "3.9"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "millrace: python='3.9' is no Python that Millrace runs on; give 3.11 or later, as '3.11'"
    assert not (tmp_path / "out").exists()


def test_objects_are_named_with_the_option_that_writes_them(tmp_path, capsys):
    code = "import millrace\nclass C:\n    def do(self, x):\n        return x\n"
    code += "fn = millrace.new_function('f')\nfn.set_topology('flow').to(C(), name='c')\n"
    (tmp_path / "f.py").write_text(code)
    assert run(["export", "docker", str(tmp_path / "f.py"), "-o", str(tmp_path / "out")]) == 1
    assert "(--pickle)" in capsys.readouterr().err
    assert run(["export", "docker", str(tmp_path / "f.py"), "-o", str(tmp_path / "out"), "--pickle"]) == 0


def test_a_description_in_another_folder_finds_the_code_of_children(tmp_path, monkeypatch):
    (tmp_path / "steps").mkdir()
    (tmp_path / "steps" / "child.py").write_text("def bill(order):\n    return order\n")
    (tmp_path / "fn.py").write_text(
        "import millrace\nfn = millrace.new_function('f')\ngraph = fn.set_topology('flow')\n"
        "graph.to('>>', 'q', path='kafka://b.example.com:9092/q').to(name='s', handler='bill', function='c')\n"
        "fn.add_child_function('c', 'steps/child.py')\n"
    )
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path)
    assert run(["export", "fn.py", "-o", "other/fn.yaml"]) == 0
    monkeypatch.chdir("/")
    assert run(["export", "nuclio", str(tmp_path / "other" / "fn.yaml"), "-o", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "f-c" / "code-c" / "child.py").is_file()
