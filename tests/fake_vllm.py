"""A server that speaks the part of vLLM that a teacher needs, and a proxy in front of a server that breaks it."""

import json
import random
import socket
import threading
from collections import Counter
from collections.abc import Callable
from functools import lru_cache
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import torch


class LocalServer:
    """An HTTP server on a free port of 127.0.0.1 in threads of this process; as a context manager it runs inside."""

    def __init__(self):
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_GET(self):
                outer.answer(self, None)

            def do_POST(self):
                outer.answer(self, self.rfile.read(int(self.headers["Content-Length"])))

            def log_message(self, *arguments):
                pass

        class Server(ThreadingHTTPServer):
            request_queue_size = 128

            def handle_error(self, request, client_address):
                pass  # a client that gave up

        self._http = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"

    def answer(self, handler: BaseHTTPRequestHandler, body: bytes | None) -> None:
        raise NotImplementedError

    def __enter__(self):
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *error):
        self._http.shutdown()
        self._http.server_close()


def send(handler: BaseHTTPRequestHandler, body: bytes, status: int = 200, claimed: int | None = None) -> None:
    handler.send_response(status)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", str(len(body) if claimed is None else claimed))
    handler.end_headers()
    handler.wfile.write(body)


class FakeTeacher(LocalServer):
    """Serves a model through transformers, one prompt at a time, in fp32."""

    def __init__(self, model, tokenizer, name: str = "teacher", context: int = 128):
        super().__init__()
        self.model, self.tokenizer, self.name, self.context = model, tokenizer, name, context
        self._alone = threading.Lock()
        self._logprobs = lru_cache(maxsize=None)(self._compute)

    @torch.no_grad()
    def _compute(self, tokens: tuple[int, ...]) -> list[float]:
        logits = self.model(torch.tensor([tokens])).logits[0, :-1].float()
        return torch.log_softmax(logits, -1).gather(1, torch.tensor(tokens[1:])[:, None]).squeeze(1).tolist()

    def answer(self, handler, body):
        asked = json.loads(body) if body else {}
        if handler.path == "/v1/models":
            found = {"data": [{"id": self.name, "max_model_len": self.context}]}
        elif handler.path == "/tokenize":
            text = asked.get("prompt") or asked["messages"][0]["content"]
            found = {"tokens": self.tokenizer(text).input_ids, "max_model_len": self.context}
        elif max(asked["prompt"]) >= self.model.config.vocab_size or len(asked["prompt"]) >= self.context:
            return send(handler, b'{"error": {"message": "refused"}}', 400)
        else:
            tokens = asked["prompt"]
            with self._alone:
                values = self._logprobs(tuple(tokens))
            places = [{str(t): {"logprob": x, "rank": 1}} for t, x in zip(tokens[1:], values, strict=True)]
            choice = {"index": 0, "text": "", "prompt_logprobs": [None, *places]}
            found = {"model": self.name, "choices": [choice]}
        send(handler, json.dumps(found).encode())


def breaks_choices(change: Callable[[dict], None]) -> Callable[[bytes], bytes]:
    """A fault that changes what a good answer says."""

    def broken(body: bytes) -> bytes:
        answer = json.loads(body)
        change(answer)
        return json.dumps(answer).encode()

    return broken


def _set_logprob(value):
    def change(answer: dict) -> None:
        places = answer["choices"][0]["prompt_logprobs"]
        places[-2] = {token: {**entry, "logprob": value} for token, entry in places[-2].items()}

    return breaks_choices(change)


def _shift_ids(answer: dict) -> None:
    places = answer["choices"][0]["prompt_logprobs"]
    places[1:] = [{str(int(token) + 1): entry for token, entry in place.items()} for place in places[1:]]


def _drop_place(answer: dict) -> None:
    answer["choices"][0]["prompt_logprobs"].pop(1)


def _repeat_place(answer: dict) -> None:
    places = answer["choices"][0]["prompt_logprobs"]
    places.append(places[-1])


# What an answer becomes, by fault; the text is the kind under which the client counts it.
SPOILED: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "malformed JSON": ("not JSON", lambda body: body[: len(body) // 2]),
    "a web page instead": ("not JSON", lambda body: b"<html>bad gateway</html>"),
    "an error instead": ("malformed", lambda body: b'{"error": {"message": "out of memory"}}'),
    "too few tokens": ("too few tokens", breaks_choices(_drop_place)),
    "too many tokens": ("too many tokens", breaks_choices(_repeat_place)),
    "NaN": ("not a number", _set_logprob(float("nan"))),
    "null": ("malformed", _set_logprob(None)),
    "minus infinity": ("minus infinity", _set_logprob(float("-inf"))),
    "minus infinity as vLLM writes it": ("minus infinity", _set_logprob(-9999.0)),
    "a probability instead": ("above 0", _set_logprob(0.5)),
    "another model's ids": ("other token ids", breaks_choices(_shift_ids)),
    "another model": ("another model", breaks_choices(lambda answer: answer.update(model="other"))),
    "no log-probs": ("malformed", breaks_choices(lambda answer: answer["choices"][0].pop("prompt_logprobs"))),
}
STATUSES = (429, 500, 503)
SWAPPED, SLOW, CUT, REFUSED = "swapped answers", "slow", "cut mid-body", "refused"
FAULTS = (*SPOILED, *(f"http {status}" for status in STATUSES), SWAPPED, SLOW, CUT)


class FaultProxy(LocalServer):
    """Hands requests on to a server; `share` of those for log-probs come to grief, each in a way chosen by chance.

    seconds   how long a slow answer keeps its client waiting
    injected  how many faults of each kind there have been
    """

    def __init__(self, upstream: str, share: float, seconds: float, seed: int = 0, faults=FAULTS):
        super().__init__()
        self.upstream, self.share, self.seconds, self.faults = urlsplit(upstream).netloc, share, seconds, faults
        self.injected: Counter[str] = Counter()
        self._chance = random.Random(seed)
        self._lock = threading.Lock()
        self._answers: list[bytes] = []  # the last two that differ
        self._closing = threading.Event()

    def __exit__(self, *error):
        self._closing.set()
        super().__exit__(*error)

    def answer(self, handler, body):
        good, status = self._upstream(handler, body)
        if handler.path != "/v1/completions":
            return send(handler, good, status)
        with self._lock:
            fault = self._chance.choice(self.faults) if self._chance.random() < self.share else None
            others = [answer for answer in self._answers if answer != good]
            self._answers = [*others[-1:], good]
            if fault == SWAPPED and not others:
                fault = None  # there is no other answer yet to take for this one
            if fault:
                self.injected[fault] += 1
        if fault is None:
            send(handler, good, status)
        elif fault in SPOILED:
            send(handler, SPOILED[fault][1](good))
        elif fault == SWAPPED:
            send(handler, others[-1])
        elif fault == SLOW:
            self._closing.wait(self.seconds)
            handler.close_connection = True
        elif fault == CUT:
            send(handler, good[: len(good) // 2], claimed=len(good))
            handler.connection.shutdown(socket.SHUT_RDWR)
            handler.close_connection = True
        else:
            send(handler, b"{}", int(fault.split()[1]))

    def _upstream(self, handler, body: bytes | None) -> tuple[bytes, int]:
        if not hasattr(handler, "upstream"):  # one connection for each of a client's
            handler.upstream = HTTPConnection(self.upstream, timeout=60)
        handler.upstream.request("POST" if body else "GET", handler.path, body, {"Content-Type": "application/json"})
        response = handler.upstream.getresponse()
        return response.read(), response.status


def closed_port() -> str:
    """An address at which nothing listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{taken.getsockname()[1]}"
