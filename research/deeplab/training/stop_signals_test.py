"""Signals that end a process, and their handlers before and after."""

import os
import signal

import pytest

from deeplab.training import stop_signals


def test_while_leaving_sigterm_is_an_orderly_end():
    with pytest.raises(SystemExit) as ended, stop_signals.leaving():
        os.kill(os.getpid(), signal.SIGTERM)
    assert ended.value.code == 0


def test_a_wait_gives_the_signal_back_for_as_long_as_it_lasts():
    before = signal.getsignal(signal.SIGTERM)
    with stop_signals.leaving():
        leave = signal.getsignal(signal.SIGTERM)
        with stop_signals.waiting():
            assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
        assert signal.getsignal(signal.SIGTERM) is leave
    assert signal.getsignal(signal.SIGTERM) is before
