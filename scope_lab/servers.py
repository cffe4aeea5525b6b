"""Several HTTP servers that answer alike, asked together: limits, retries with backoff, and a rest for a broken one.

An answer is what its reader accepted, or nothing: no fault of a server or of the way to it becomes a value.
"""

import asyncio
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlsplit

from .errors import InputError

T = TypeVar("T")
Reader = Callable[[bytes], T]

KEY = "VLLM_API_KEY"  # environment variable with the servers' key, where they want one; never written anywhere
LONGEST_PAUSE = 30  # between two attempts, in units of the first pause


class Fault(Exception):
    """An attempt that gave nothing usable; its text is the kind under which it is counted."""


@dataclass
class Server:
    """A server as its client sees it: a circuit breaker.

    After `PATIENCE` faults in a row it rests; then one request tries it: an answer closes the matter, a fault doubles
    the rest.
    """

    PATIENCE = 5
    LONGEST_REST = 60.0

    url: str
    first_rest: float
    in_flight: int = 0
    faults_in_a_row: int = 0
    rest: float = 0.0  # seconds
    rests_until: float = 0.0  # of time.monotonic

    def room(self, concurrency: int) -> bool:
        return self.in_flight < (1 if self.rest else concurrency)

    @property
    def resting(self) -> bool:
        return time.monotonic() < self.rests_until

    def record(self, fault: bool) -> None:
        if not fault:
            self.faults_in_a_row, self.rest, self.rests_until = 0, 0.0, 0.0
            return
        self.faults_in_a_row += 1
        # What was in flight when the rest began does not prolong it.
        if self.faults_in_a_row >= self.PATIENCE and not self.resting:
            self.rest = min(2 * self.rest or self.first_rest, self.LONGEST_REST)
            self.rests_until = time.monotonic() + self.rest


class Servers:
    """Asks servers that are copies of one another.

    urls         "http://host:port" each, with or without a trailing /v1
    setting      what an error message calls them
    timeout      seconds for one attempt, from connecting to the last byte
    concurrency  requests in flight at each server
    retries      attempts after the first; before the n-th of them `pause` · 2^(n - 1) seconds pass, at most 30 times
                 `pause`, less up to half by chance, so that requests that failed together do not come back together
    rest         seconds that a server is first left alone after five faults in a row

    `faults` counts every attempt that failed, by kind. Requests go out from one background thread; `ask` may be called
    from any. No proxy of the environment is used. Raises InputError for what is not an http or https address.
    """

    def __init__(
        self,
        urls: Sequence[str],
        setting: str = "servers",
        timeout: float = 60.0,
        concurrency: int = 32,
        retries: int = 6,
        pause: float = 1.0,
        rest: float = 5.0,
    ):
        if not urls:
            raise InputError(f"{setting}: found none, accepted addresses like http://127.0.0.1:8000")
        for url in urls:
            if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
                raise InputError(f"{setting}: found {url!r}, accepted addresses like http://127.0.0.1:8000")
        self.servers = [Server(url.rstrip("/").removesuffix("/v1"), rest) for url in urls]
        self.setting, self.timeout, self.concurrency = setting, timeout, concurrency
        self.retries, self.pause = retries, pause
        self.faults: Counter[str] = Counter()
        self._chance = random.Random()  # of its own: a run's random numbers do not depend on faults
        self._loop: asyncio.AbstractEventLoop | None = None
        self._starting = threading.Lock()

    def ask(self, path: str, questions: Sequence[Any], readers: Sequence[Reader[T]]) -> list[T | None]:
        """POST each question (as JSON) to any server; an answer is what the question's reader made of it.

        A reader raises Fault for what it does not accept. None: all attempts failed.
        """

        async def all_of_them() -> list[T | None]:
            return await asyncio.gather(*map(self._ask, [path] * len(questions), questions, readers))

        return self._wait_for(all_of_them())

    def ask_each(self, path: str, question: Any, reader: Reader[T]) -> list[T]:
        """One answer of every server, in order: POST a question, or GET where it is None. At a start: no retries.

        Raises InputError naming the server that gave none, and why.
        """

        async def all_of_them() -> list[T | Fault]:
            return await asyncio.gather(*(self._attempt(server, path, question, reader) for server in self.servers))

        found: list[T] = []
        for server, answer in zip(self.servers, self._wait_for(all_of_them()), strict=True):
            if isinstance(answer, Fault):
                raise InputError(f"{self.setting}: {server.url}{path} gave no usable answer ({answer})")
            found.append(answer)
        return found

    def close(self) -> None:
        """End the background thread."""
        if self._loop is not None:
            self._wait_for(self._client.aclose())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._loop = None

    # In the background thread

    async def _ask(self, path: str, question: Any, reader: Reader[T]) -> T | None:
        for attempt in range(self.retries + 1):
            if attempt:
                pause = self.pause * min(2 ** (attempt - 1), LONGEST_PAUSE)
                await asyncio.sleep(pause * self._chance.uniform(0.5, 1))
            server = await self._take()
            if server is None:
                self.faults["all servers rest"] += 1
                continue
            found: T | Fault = Fault("interrupted")
            try:
                found = await self._attempt(server, path, question, reader)
            finally:
                await self._give_back(server, found)
            if not isinstance(found, Fault):
                return found
            self.faults[str(found)] += 1
        return None

    async def _take(self) -> Server | None:
        """A place at the least busy server that does not rest, waited for; None where all rest."""
        async with self._changed:
            while awake := [server for server in self.servers if not server.resting]:
                if free := [server for server in awake if server.room(self.concurrency)]:
                    server = min(free, key=lambda server: server.in_flight)
                    server.in_flight += 1
                    return server
                await self._changed.wait()
        return None

    async def _give_back(self, server: Server, found: Any) -> None:
        async with self._changed:
            server.in_flight -= 1
            before = server.rest
            server.record(isinstance(found, Fault))
            if server.rest == before:
                self._changed.notify()  # a free place is for one
            else:
                self._changed.notify_all()  # a server that goes to rest or comes back concerns all who wait

    async def _attempt(self, server: Server, path: str, question: Any, reader: Reader[T]) -> T | Fault:
        import httpx

        method = "GET" if question is None else "POST"
        try:
            async with asyncio.timeout(self.timeout):
                response = await self._client.request(method, server.url + path, json=question)
            if response.status_code != 200:
                raise Fault(f"http {response.status_code}")
            return reader(response.content)
        except Fault as fault:
            return fault
        except (TimeoutError, httpx.TimeoutException):
            return Fault("timeout")
        except httpx.ConnectError:
            return Fault("refused")
        except (httpx.HTTPError, httpx.InvalidURL):
            return Fault("cut off")

    # Between threads

    def _wait_for(self, coroutine: Coroutine[Any, Any, T]) -> T:
        future = asyncio.run_coroutine_threadsafe(coroutine, self._running_loop())
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        import httpx

        with self._starting:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._changed = asyncio.Condition()
                headers = {"Authorization": f"Bearer {os.environ[KEY]}"} if os.environ.get(KEY) else None
                limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
                self._client = httpx.AsyncClient(timeout=None, limits=limits, headers=headers, trust_env=False)
                threading.Thread(target=self._loop.run_forever, name=self.setting, daemon=True).start()
            return self._loop
