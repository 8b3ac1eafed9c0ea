"""Pausing, resuming and stopping a run from elsewhere: another thread, a signal, a callback."""

import threading
import time

#: Draws of a chain below which an interrupted run has nothing to show.
LEAST_DRAWS = 4
#: How often, in seconds, a run looks whether it is to pause, go on or stop.
POLL_SECONDS = 0.1


class Control:
    """A switch that a running fit obeys; safe to use from any thread.

    Stopping returns the draws finished until then, marked partial, as Ctrl-C does.

    Examples
    --------
    >>> control = jm.Control()
    >>> control.stop()  # a fit that has it ends with the draws it has
    >>> control.stopped
    True
    """

    def __init__(self) -> None:
        self._running = threading.Event()
        self._running.set()
        self._stopped = threading.Event()

    def pause(self) -> None:
        """Hold the chains after their current draws."""
        self._running.clear()

    def resume(self) -> None:
        """Let held chains go on."""
        self._running.set()

    def stop(self) -> None:
        """End sampling and keep what is finished; also ends a pause."""
        self._stopped.set()
        self._running.set()

    def hold(self) -> None:
        """Wait as long as the run is paused."""
        while self.paused:
            time.sleep(POLL_SECONDS)

    @property
    def paused(self) -> bool:
        """Whether the chains are to be held."""
        return not self._running.is_set()

    @property
    def stopped(self) -> bool:
        """Whether sampling is to end."""
        return self._stopped.is_set()
