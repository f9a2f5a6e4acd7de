"""Pickled objects are the same bytes in every process, and the same classes in this one."""

from __future__ import annotations

import subprocess
import sys

import cloudpickle

import millrace
from millrace.serving.graph.stable_pickle import stable_pickle

PROGRAM = """
import sys
from millrace.serving.graph.stable_pickle import stable_pickle

class Base:
    def do(self, body):
        return body + self.by

class Add(Base):
    def __init__(self, by):
        self.by = by

class Other(Add):
    pass

sys.stdout.buffer.write(stable_pickle([Add(3), Other(4), Add]))
"""


def written():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, check=True, timeout=30)
    return done.stdout


def test_two_processes_write_the_same_bytes_which_load_as_one_class_each():
    first = written()
    assert first == written()
    add, other, kind = cloudpickle.loads(first)
    assert (add.do(1), other.do(1)) == (4, 5)
    assert type(add) is kind and isinstance(other, kind) and type(other) is not kind


def made(by):
    class Add:
        def do(self, body):
            return body + by

    return Add


def test_what_is_loaded_where_it_was_written_is_the_same_class():
    class Add:
        pass

    assert type(cloudpickle.loads(stable_pickle(Add()))) is Add


def test_classes_that_differ_are_loaded_as_different_classes():
    texts = [stable_pickle(made(by)()) for by in (1, 2)]
    program = "import sys, cloudpickle; print([cloudpickle.loads(bytes.fromhex(t)).do(0) for t in sys.argv[1:]])"
    command = [sys.executable, "-c", program, *(one.hex() for one in texts)]
    done = subprocess.run(command, capture_output=True, check=True, timeout=30)
    assert done.stdout.split() == [b"[1,", b"2]"]


def test_a_function_with_objects_is_exported_alike_by_two_processes(tmp_path):
    program = PROGRAM.rpartition("sys.stdout")[0] + (
        "import millrace\nfunction = millrace.new_function('f')\n"
        "function.set_topology('flow').to(Add(3), name='a').respond()\n"
        "function.export('docker', sys.argv[1], pickle=True)\n"
    )
    for name in ("one", "two"):
        subprocess.run([sys.executable, "-c", program, str(tmp_path / name)], check=True, timeout=30)
    specs = [(tmp_path / name / "function-spec.yaml").read_bytes() for name in ("one", "two")]
    assert specs[0] == specs[1]
    function = millrace.import_function(str(tmp_path / "one" / "function-spec.yaml"), trusted=True)
    assert function.to_mock_server().test(body=1) == 4
