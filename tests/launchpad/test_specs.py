"""Specs of fireworks are looked at as data: what is not exactly ours is refused, and nothing of it runs."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from bson import SON, Int64

from alkaflow.errors import BadInputError
from alkaflow.launchpad.firetask import firework_for
from alkaflow.launchpad.specs import TASK_NAME, check_spec

ID = "0123456789abcdef0123"
OURS = {"_fw_name": TASK_NAME, "calculation": ID}


def test_what_fireworks_writes_is_ours() -> None:
    assert check_spec(firework_for(ID).to_db_dict()["spec"]) == ID
    assert check_spec({"_tasks": [OURS]}) == ID  # of the first version
    assert check_spec(SON(_tasks=[SON(OURS)], _priority=Int64(7))) == ID


HOSTILE: list[Any] = [
    {"_tasks": [OURS | {"_fw_name": "ScriptTask"}]},
    {"_tasks": [OURS | {"_fw_name": "{{os.system}}"}]},
    {"_tasks": [OURS | {"_fw_name": "{{antigravity.RunCalculation}}"}]},
    {"_tasks": [OURS | {"_fw_name": TASK_NAME + "\n"}]},
    {"_tasks": [{"_fw_name": "PyTask", "func": "os.system", "args": ["touch canary"]}]},
    {"_tasks": [OURS | {"@module": "antigravity", "@class": "X"}]},
    {"_tasks": [OURS, OURS]},
    {"_tasks": [OURS, {"_fw_name": "ScriptTask", "script": "touch canary"}]},
    {"_tasks": []},
    {"_tasks": OURS},
    {"_tasks": [[OURS]]},
    {"_tasks": [{"_tasks": [OURS]}]},
    {"_tasks": [OURS | {"calculation": {"@module": "antigravity", "@class": "X"}}]},
    {"_tasks": [OURS | {"calculation": "!!python/object/apply:os.system ['touch canary']"}]},
    {"_tasks": [OURS | {"calculation": "../../etc/passwd"}]},
    {"_tasks": [OURS | {"calculation": ID + "\n"}]},
    {"_tasks": [OURS | {"calculation": ID.upper()}]},
    {"_tasks": [OURS | {"calculation": "\u0660" * 20}]},
    {"_tasks": [OURS | {"calculation": None}]},
    {"_tasks": [{"calculation": ID}]},
    {"_tasks": [OURS], "_launch_dir": "/"},
    {"_tasks": [OURS], "_add_launchpad_and_fw_id": True},
    {"_tasks": [OURS], "_background_tasks": [{"_fw_name": "ScriptTask"}]},
    {"_tasks": [OURS], "_priority": "1"},
    {"_tasks": [OURS], "_priority": True},
    {"_tasks": [OURS], "_priority": {"$gt": 0}},
    {"_tasks": [OURS], 1: 2},
    {"@module": "antigravity", "@class": "X"},
    {},
    [OURS],
    "!!python/object/apply:os.system ['touch canary']",
    None,
]


@pytest.mark.parametrize("spec", HOSTILE, ids=range(len(HOSTILE)))
def test_anything_else_is_refused_by_name(spec: Any) -> None:
    with pytest.raises(BadInputError, match=r"^firework 17 is refused, as its spec .*; alkaflow submit"):
        check_spec(spec, 17)


def test_nothing_is_imported_or_run(tmp_path: Path) -> None:
    code = f"""
import sys
sys.path.insert(0, {os.fspath(Path(__file__).parent)!r})
from test_specs import HOSTILE
from alkaflow.launchpad.specs import check_spec
before = set(sys.modules)
for spec in HOSTILE:
    try:
        check_spec(spec)
    except Exception as error:
        assert type(error).__name__ == "BadInputError", error
    else:
        raise SystemExit(f"accepted: {{spec}}")
print(sorted(set(sys.modules) - before))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr
    assert list(tmp_path.iterdir()) == []
