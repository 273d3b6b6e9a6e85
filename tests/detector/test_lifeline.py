import subprocess
import sys
import time

PROGRAM = """
import sys, time
from detector.lifeline import tie_to_supervisor
tie_to_supervisor()
print("ready", flush=True)
time.sleep(60)
"""


def test_a_supervised_process_ends_when_its_standard_input_is_closed() -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    )
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        assert child.stdout.readline() == b"ready\n"
        assert child.poll() is None
        begun = time.monotonic()
        child.stdin.close()
        assert child.wait(timeout=20) == 1
        assert time.monotonic() - begun < 10
    finally:
        child.kill()
        child.wait()
        child.stdout.close()


def test_what_is_written_to_it_does_not_end_it() -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", PROGRAM.replace("sleep(60)", "sleep(1)")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        child.stdout.readline()
        child.stdin.write(b"hello")
        child.stdin.flush()
        assert child.wait(timeout=20) == 0
    finally:
        child.kill()
        child.wait()
        child.stdin.close()
        child.stdout.close()
