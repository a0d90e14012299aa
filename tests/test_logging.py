"""Messages and progress: plain lines in a log, a bar on a terminal, and nothing from a library."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Callable

import pytest

from samdiffsr.core.logging import configure
from samdiffsr.core.progress import each_image, progress_bar


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Makes stderr one; to be called in the test, where capsys has put its own stream."""
    return lambda: monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)


def test_messages_go_to_stdout_and_warnings_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    configure()
    logging.getLogger("samdiffsr.masks.segment").info("a line")
    logging.getLogger("samdiffsr.masks.segment").warning("mind this")
    assert capsys.readouterr() == ("a line\n", "warning: mind this\n")


def test_stdout_can_be_kept_for_a_result(capsys: pytest.CaptureFixture[str]) -> None:
    configure(quiet_stdout=True)
    logging.getLogger("samdiffsr.workflow").info("a line")
    assert capsys.readouterr() == ("", "a line\n")


def test_configuring_twice_says_nothing_twice(capsys: pytest.CaptureFixture[str]) -> None:
    configure()
    configure()
    logging.getLogger("samdiffsr.x").info("once")
    assert capsys.readouterr().out == "once\n"


def test_other_packages_are_left_alone(capsys: pytest.CaptureFixture[str]) -> None:
    configure()
    logging.getLogger("timm").info("not ours")
    assert capsys.readouterr() == ("", "")


def test_as_a_library_the_package_is_silent_but_for_warnings() -> None:
    code = (
        "import logging, samdiffsr; log = logging.getLogger('samdiffsr.x'); log.info('a'); log.warning('b')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "b\n")


def test_lines_in_a_log(capsys: pytest.CaptureFixture[str]) -> None:
    configure()
    with progress_bar("masks") as show:
        show.image(1, 2, "a")
        show.image(2, 2, "b", "48x48", "0.1 s")
        show.at(3, 9)
    assert capsys.readouterr() == ("a: 1 of 2\nb: 2 of 2, 48x48, 0.1 s\n", "")


def test_a_bar_on_a_terminal(capsys: pytest.CaptureFixture[str], terminal: Callable[[], None]) -> None:
    terminal()
    configure()
    with progress_bar("masks") as show:
        show.image(1, 2, "a")
        show.image(2, 2, "b")
    out, err = capsys.readouterr()
    assert out == ""
    assert "masks: 100%" in err
    assert "2/2" in err
    assert ", b]" in err


def test_a_message_does_not_run_into_the_bar(
    capsys: pytest.CaptureFixture[str], terminal: Callable[[], None]
) -> None:
    terminal()
    configure()
    with progress_bar("masks") as show:
        show.image(1, 2, "a")
        logging.getLogger("samdiffsr.x").info("a line of its own")
    assert capsys.readouterr().out == "a line of its own\n"


def test_a_bar_that_begins_anew(capsys: pytest.CaptureFixture[str], terminal: Callable[[], None]) -> None:
    terminal()
    with progress_bar(unit="band", leave=False) as show:
        for done, total in [(1, 4), (4, 4), (1, 6), (6, 6)]:
            show.at(done, total)
            assert show._bar.n == done
            assert show._bar.total == total


def test_each_image_is_told_when_it_is_done(capsys: pytest.CaptureFixture[str]) -> None:
    configure()
    for i, name in each_image("masks", ["a", "b"]):
        print(i, name)
    assert capsys.readouterr().out == "0 a\na: 1 of 2\n1 b\nb: 2 of 2\n"
