"""A folder has one writer, and the system takes the lock back from a process that is killed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from stable_cascade_nodes.headless.batch import lock
from stable_cascade_nodes.headless.graph import WorkflowError

HOLD = """
import sys, time
from pathlib import Path
from stable_cascade_nodes.headless.batch import lock
with lock.held(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_another_process_is_refused_until_the_first_is_killed(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None and other.stdout.readline() == "held\n"
        told = rf"written by another `cascade batch` \(process {other.pid} on"
        with pytest.raises(WorkflowError, match=told), lock.held(tmp_path):
            pass
        other.kill()
        other.wait()
        with lock.held(tmp_path):
            pass


def test_it_is_free_again_after_a_failure(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), lock.held(tmp_path):
        raise ZeroDivisionError
    with lock.held(tmp_path), pytest.raises(WorkflowError, match="another"), lock.held(tmp_path):
        pass
