"""Reports of training, shown one by one: what `charrnn train` and `charrnn sweep` share."""

from __future__ import annotations

import signal
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from charrnn.checkpoint.run_folder import RunFolder
    from charrnn.cli.signals import StopSignal


@dataclass
class Shown:
    """What was shown, however it ended.

    last: the last report. run: the last one that was opened. is_teacher: it is one, of the run
    that was asked for. closed: stdout was closed, so that nobody reads the results.
    """

    last: Any = None
    run: RunFolder | None = None
    is_teacher: bool = False
    closed: OSError | None = None

    def show_all(
        self, reports: Generator[Any, None, None], display: Any, stop: StopSignal, *, as_json: bool
    ) -> None:
        """Show each report, and tell the signals when the run polls them.

        The reports are closed too, which saves the run where a signal came while one was shown.
        """
        from charrnn.cli.train.display import Silent  # which takes time, as the caller did
        from charrnn.tasks.distill import StudentStarted, TeacherStarted
        from charrnn.tasks.train import Opened, Reading
        from charrnn.training.reports import Finished

        with closing(display), closing(reports):
            for self.last in reports:
                # Nothing is polled while the text is read and after the last step.
                stop.is_polled = not isinstance(self.last, Reading | Finished)
                if isinstance(self.last, Opened):
                    self.run = self.last.run
                elif isinstance(self.last, TeacherStarted | StudentStarted):
                    self.is_teacher = isinstance(self.last, TeacherStarted)
                    self.run = None  # until this one is open
                try:
                    display.show(self.last)
                except OSError as error:
                    if as_json:  # nobody reads the results: save, then say so
                        self.closed = error
                        stop.note(signal.SIGTERM)
                    display = Silent()  # a closed terminal does not end a run
