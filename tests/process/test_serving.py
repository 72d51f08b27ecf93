"""A replica site and whoever started it: Ctrl-C, and the starter's death."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.support.scripts import WAIT_SECONDS, is_alive, start_script, until

SCRIPT = """
    import threading
    from windrow.demo.finviz.site import QuoteSite
    with QuoteSite() as site:
        try:
            print(site.pid, flush=True)
            threading.Event().wait()
        except KeyboardInterrupt:
            print("stats" if site.stats() else "nothing")
"""


@pytest.mark.chaos
def test_a_site_outlives_the_ctrl_c_that_interrupts_a_run(tmp_path: Path) -> None:
    process = start_script(tmp_path, SCRIPT, start_new_session=True)
    assert process.stdout is not None
    pid = int(process.stdout.readline())
    os.killpg(process.pid, signal.SIGINT)
    assert process.communicate(timeout=WAIT_SECONDS) == ("stats\n", "")
    assert not is_alive(pid)


@pytest.mark.chaos
def test_a_site_does_not_outlive_its_starter(tmp_path: Path) -> None:
    process = start_script(tmp_path, SCRIPT)
    assert process.stdout is not None
    pid = int(process.stdout.readline())
    process.kill()
    until(lambda: not is_alive(pid))
    process.communicate()
