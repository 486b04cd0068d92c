"""A deterministic event loop: virtual time, and processes that end between any two steps, as `kill -9` ends them.

Whatever runs belongs to a process, by its context. What belongs to a dead one never runs again: no `finally`, no
goodbye. What belongs to one that is stopped (SIGSTOP, a long pause) runs when it goes on, though time has passed. A
call in a thread becomes a greenlet: it runs in one piece, but for where it sleeps.
"""

import asyncio
import contextlib
import contextvars
import heapq
import itertools
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

import greenlet

T = TypeVar("T")


class Killed(Exception):
    """The process that was asked died before it answered."""


class Standstill(Exception):
    """Nothing is left to run, and no time to wait for."""


@dataclass(eq=False, slots=True)
class Process:
    """One incarnation of a role. `fuse`: so many steps until it is killed, or frozen for so long; None: it is not."""

    name: str
    alive: bool = True
    stopped: bool = False
    fuse: int | None = None
    frozen_for: float | None = None  # seconds
    waiting: list[asyncio.Handle] = field(default_factory=list)  # what would have run while it was stopped
    at_death: list[Callable[[], None]] = field(default_factory=list)
    tasks: list[asyncio.Task[Any]] = field(default_factory=list)


PROCESS: contextvars.ContextVar[Process | None] = contextvars.ContextVar("process", default=None)


class _Numbered:
    """Hashed by the order of making: a set of them is walked in the same order in every run."""

    _number: int

    def __hash__(self) -> int:
        return self._number

    def __eq__(self, other: object) -> bool:
        return self is other


class _Task(_Numbered, asyncio.Task):  # type: ignore[type-arg]
    pass


class _Future(_Numbered, asyncio.Future):  # type: ignore[type-arg]
    pass


class SimLoop(asyncio.BaseEventLoop):
    """`call_latency` gives the seconds until a call in a thread begins."""

    def __init__(self, call_latency: Callable[[], float]) -> None:
        super().__init__()
        self._call_latency = call_latency
        self._now = 0.0
        self._numbers = itertools.count()
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self.steps = 0
        self.on_death: Callable[[Process], None] = lambda process: None
        self.errors: list[str] = []  # what nobody caught
        self._made: list[asyncio.Task[Any]] = []  # kept: a coroutine that is thrown away runs its `finally`
        self._asleep: set[greenlet.greenlet] = set()
        self.set_task_factory(self._new_task)  # type: ignore[arg-type]
        self.set_exception_handler(self._on_error)

    # -- time ---------------------------------------------------------------------------------------------------------

    def time(self) -> float:
        return self._now

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        heapq.heappush(self._timers, (when, next(self._numbers), timer))
        return timer

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """It is passed over when its time comes."""

    # -- one turn -----------------------------------------------------------------------------------------------------

    def _run_once(self) -> None:
        ready = self._ready  # type: ignore[attr-defined]
        if not ready:
            self._pass_time(ready)
        for _ in range(len(ready)):
            handle = ready.popleft()
            if handle._cancelled:
                continue
            process = handle._context.get(PROCESS)
            if process is None or self._may_run(process, handle):
                self.steps += 1
                handle._run()

    def _pass_time(self, ready: Any) -> None:
        timers = self._timers
        while timers and timers[0][2]._cancelled:
            heapq.heappop(timers)
        if not timers:
            raise Standstill
        self._now = timers[0][0]
        while timers and timers[0][0] <= self._now:
            ready.append(heapq.heappop(timers)[2])

    def _may_run(self, process: Process, handle: asyncio.Handle) -> bool:
        if not process.alive:
            return False
        if process.stopped:
            process.waiting.append(handle)
            return False
        if process.fuse is not None:
            process.fuse -= 1
            if process.fuse <= 0:
                return self._burn(process, handle)
        return True

    def _burn(self, process: Process, handle: asyncio.Handle) -> bool:
        process.fuse = None
        if process.frozen_for is None:
            self.kill(process)
        else:
            self.stop_process(process)
            process.waiting.append(handle)
            self.call_later(process.frozen_for, self.go_on, process, context=OUTSIDE)
        return False

    # -- processes ----------------------------------------------------------------------------------------------------

    def spawn(self, process: Process, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """A task of the process."""
        context = contextvars.copy_context()
        context.run(PROCESS.set, process)
        task = self.create_task(work, context=context)
        task._log_destroy_pending = False  # type: ignore[attr-defined]
        process.tasks.append(task)
        return task

    async def ask(self, process: Process, work: Coroutine[Any, Any, T]) -> T:
        """The answer of a process to somebody outside. Raises Killed when it dies, or is dead already."""
        if not process.alive:
            work.close()
            raise Killed
        answer: asyncio.Future[T] = self.create_future()

        def died() -> None:
            if not answer.done():
                answer.set_exception(Killed())

        def done(task: asyncio.Task[T]) -> None:
            if answer.done() or task.cancelled():
                died()
            elif (error := task.exception()) is not None:
                answer.set_exception(error)
            else:
                answer.set_result(task.result())

        process.at_death.append(died)
        self.spawn(process, work).add_done_callback(done)
        try:
            return await answer
        finally:
            process.at_death.remove(died)

    def kill(self, process: Process) -> None:
        process.alive = False
        process.waiting.clear()
        for tell in list(process.at_death):
            self.call_soon(tell, context=OUTSIDE)
        self.on_death(process)

    def stop_process(self, process: Process) -> None:
        process.stopped = True

    def go_on(self, process: Process) -> None:
        process.stopped = False
        waiting, process.waiting = process.waiting, []
        self._ready.extend(waiting)  # type: ignore[attr-defined]

    # -- threads ------------------------------------------------------------------------------------------------------

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        future: asyncio.Future[T] = self.create_future()
        context = contextvars.copy_context()

        def body() -> None:
            try:
                result = func(*args)
            except greenlet.GreenletExit:
                raise
            except BaseException as error:
                if not future.done():
                    future.set_exception(error)
            else:
                if not future.done():
                    future.set_result(result)

        thread = greenlet.greenlet(body)
        thread.gr_context = context.copy()
        self.call_later(self._call_latency(), thread.switch, context=context)
        return future

    def sleep(self, seconds: float) -> None:
        """`time.sleep` of a thread: others run meanwhile."""
        thread = greenlet.getcurrent()
        assert thread.parent is not None, "only a thread may sleep"
        context = contextvars.copy_context()
        self.call_later(seconds, thread.switch, context=context)
        self._asleep.add(thread)
        thread.parent.switch()
        self._asleep.discard(thread)

    def end_threads(self) -> None:
        """Once the run is over. What a sleeping thread holds on its stack nobody else can free."""
        for thread in tuple(self._asleep):
            with contextlib.suppress(Exception):  # it meets a world that has ended
                thread.throw(greenlet.GreenletExit)

    # -- what asyncio asks for ----------------------------------------------------------------------------------------

    def create_future(self) -> asyncio.Future[Any]:
        future = _Future(loop=self)
        future._number = next(self._numbers)
        return future

    def _new_task(self, loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, T], context: Any = None) -> Any:
        task = _Task.__new__(_Task)
        task._number = next(self._numbers)
        task.__init__(work, loop=loop, context=context)  # type: ignore[misc]
        task._log_destroy_pending = False  # type: ignore[attr-defined]
        self._made.append(task)
        return task

    def _on_error(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if error is not None and not isinstance(error, Killed):
            self.errors.append(f"{context['message']}: {error!r}")

    def _check_closed(self) -> None:
        """What is thrown away after a run may still call: nobody runs it."""

    def _asyncgen_firstiter_hook(self, agen: object) -> None:
        """An asynchronous generator that is thrown away is not closed: its process is dead, or the run is over."""

    _asyncgen_finalizer_hook = _asyncgen_firstiter_hook

    def _process_events(self, event_list: object) -> None:
        """There are none: nothing here comes from outside."""

    def _write_to_self(self) -> None:
        """Nobody sleeps."""


OUTSIDE = contextvars.Context()  # of no process


def the_loop() -> SimLoop:
    return cast(SimLoop, asyncio.get_running_loop())
