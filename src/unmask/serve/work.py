"""One thread that alone runs models, for one request at a time.

PyTorch keeps threads for every thread that calls it, so requests do not call it themselves.
"""

import queue
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress

LINES = 256  # that wait to be sent
TICK = 0.1  # seconds, after which somebody looks whether the client is still there


class Busy(Exception):
    """Another request is at work."""


class Stopped(Exception):
    """Nobody waits for the result any more."""


class Task:
    """Work for one request: `work` is called with this, and says lines."""

    def __init__(self, work: Callable[["Task"], None]):
        self.work, self.stop = work, threading.Event()
        self.lines: queue.Queue[dict] = queue.Queue(LINES)

    def say(self, line: dict) -> None:
        """Send a line; wait while too many are on their way.  Stopped if nobody takes them."""
        while True:
            self.check()
            try:
                self.lines.put(line, timeout=TICK)
                return
            except queue.Full:
                continue

    def check(self) -> None:
        if self.stop.is_set():
            raise Stopped

    def said(self) -> Iterator[dict | None]:
        """The lines as they come; None where there was none for a while."""
        while True:
            try:
                line = self.lines.get(timeout=TICK)
            except queue.Empty:
                yield None
                continue
            yield line
            if "end" in line:
                return


class Worker:
    """The thread."""

    def __init__(self) -> None:
        self.free = threading.Lock()
        self.asked: queue.Queue[Task | None] = queue.Queue()
        self.now: Task | None = None
        self.thread = threading.Thread(target=self.run, name="model", daemon=True)
        self.thread.start()

    def begin(self, work: Callable[[Task], None]) -> Task:
        """Raises Busy if another request is at work."""
        if not self.free.acquire(blocking=False):
            raise Busy
        self.now = Task(work)
        self.asked.put(self.now)
        return self.now

    def run(self) -> None:
        while (task := self.asked.get()) is not None:
            last = {}
            try:
                task.work(task)
            except Stopped:
                pass
            except (ValueError, FloatingPointError, MemoryError, RuntimeError) as error:
                last = {"error": " ".join(str(error).split())[:1000] or "not enough memory"}
                if isinstance(error, RuntimeError):
                    traceback.print_exc()
            except Exception as error:
                traceback.print_exc()
                last = {"error": f"this is a bug in unmask: {type(error).__name__}: {error}"}
            finally:
                # first: who has read the last line may ask again
                self.now = None
                self.free.release()
            with suppress(Stopped):
                for line in filter(None, (last, {"end": True})):
                    task.say(line)

    def close(self) -> None:
        """Stop what is at work, and end."""
        if self.now is not None:
            self.now.stop.set()
        self.asked.put(None)
        self.thread.join(10)
