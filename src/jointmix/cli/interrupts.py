"""Ctrl-C and requests to end, also where they meet what drops or replaces Python's exception."""

import _thread
import signal
import sys
import threading
import time
from types import FrameType

#: Exit code of what was interrupted.
INTERRUPTED = 130
#: Seconds within which two requests are one: shells and schedulers ask a process, and its group.
_ONE = 1.0


class Interrupts:
    """What a command has been told of its end.

    Attributes
    ----------
    met
        Whether it has been asked to end: what fails from then on fails for that reason.
    """

    def __init__(self) -> None:
        self.met, self._asked = False, -_ONE

    def heed(self) -> None:
        """Answer Ctrl-C and SIGTERM alike, unless who started the command ignores Ctrl-C."""
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, self._ask)
        signal.signal(signal.SIGTERM, self._ask)
        sys.unraisablehook = self._dropped

    def _ask(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if now - self._asked < _ONE:
            return
        self.met, self._asked = True, now
        signal.default_int_handler(number, frame)

    def _dropped(self, ignored: "sys.UnraisableHookArgs") -> None:
        """Ctrl-C comes once more where it met a library's callback, whose exceptions are dropped.

        What it left half made complains of that when it goes, to nobody's use.
        """
        if issubclass(ignored.exc_type, KeyboardInterrupt):
            self._asked = -_ONE
            # At once, it would meet this function.
            again = threading.Timer(0.1, _thread.interrupt_main)
            # It does not outlast the command.
            again.daemon = True
            again.start()
        elif not self.met:
            sys.__unraisablehook__(ignored)
