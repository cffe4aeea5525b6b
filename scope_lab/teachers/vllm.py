"""A teacher behind OpenAI-compatible vLLM servers: token ids in, one checked log-probability per response token out."""

import json
import math
from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..config import ScopeConfig, check_server_temperature, split_list
from ..errors import InputError
from ..models import PROBES
from ..rollouts import Rollouts, as_rows
from ..servers import Fault, Servers

SETTING = "teacher_servers"
SCORE = "/v1/completions"
# vLLM writes this where a log-probability is minus infinity, because JSON has no infinity.
MINUS_INFINITY = -9999.0
# A log-probability this far above 0 is the rounding of a certain token, and taken as 0.
ROUNDING = 1e-4
PROBE_GAP = 0.1  # nats per token, on average over a probe: copies of one model in bfloat16 differ by a third of it
TOO_LONG = "longer than the server's context"


class ServerTeacher:
    """Scores rollouts by the teacher that some vLLM servers serve, all the same one (scope_lab.teachers.Teacher).

    servers  their addresses, or Servers with limits of your own; the teacher's server is started by
             `vllm serve MODEL --logprobs-mode raw_logprobs` (the default)
    model    the name under which they serve it; None: the only one that they serve

    A rollout is asked about in one request, which names it by its token ids: nothing is tokenised again. An answer
    counts only when it is of that model, holds exactly these ids, and a finite log-probability of at most 0 for each
    (up to 1e-4 above is rounding, and read as 0). Whatever else comes is a fault: counted in `faults` by kind, and
    asked again. A rollout that ran out of attempts has NaN in its whole row, never another number.

    Only temperature 1: a server gives log-probabilities of the logits as they are. Its batches differ from time to
    time, and with them the last digits: a run with servers is not repeatable to the last bit.
    """

    def __init__(self, servers: Servers | Sequence[str], model: str | None = None):
        self.servers = servers if isinstance(servers, Servers) else Servers(servers, SETTING)
        listed = self.servers.ask_each("/v1/models", None, read_models)
        for server, found in zip(self.servers.servers, listed, strict=True):
            if model not in found if model else len(found) != 1:
                accepted = model or "one alone (or set teacher_model)"
                raise InputError(f"{SETTING}: {server.url} serves {', '.join(found) or 'nothing'}, accepted {accepted}")
            model = model or next(iter(found))
        assert model is not None  # servers are never none
        self.name = model
        contexts = [found[model] for found in listed]
        self.context = min((limit for limit in contexts if limit), default=None)

    @property
    def faults(self) -> Counter[str]:
        """Failed attempts so far, by kind."""
        return self.servers.faults

    def score(self, rollouts: Rollouts, rows: Tensor, temperature: float) -> Tensor:
        """Log-probs (len(rows), T) of those rollouts' tokens, float32 nats; NaN where masked, and in rows that failed.

        Raises InputError for a temperature other than 1.
        """
        check_server_temperature(temperature)
        rows = as_rows(rows)
        logp_BT = torch.full((len(rows), rollouts.mask_BT.shape[1]), torch.nan)
        asked, questions, readers = [], [], []
        for i, row in enumerate(rows.tolist()):
            prompt = rollouts.prompt_tokens[int(rollouts.group_B[row])]
            tokens = prompt + rollouts.tokens_BT[row, rollouts.mask_BT[row]].tolist()
            if self.context and len(tokens) >= self.context:  # one token more is sampled, and thrown away
                self.faults[TOO_LONG] += 1
            elif len(tokens) > len(prompt):
                asked.append(i)
                questions.append(self._question(tokens))
                readers.append(partial(read_logprobs, model=self.name, tokens=tokens, start=len(prompt)))
        for i, logp in zip(asked, self.servers.ask(SCORE, questions, readers), strict=True):
            if logp is not None:
                logp_BT[i, rollouts.mask_BT[rows[i]]] = torch.tensor(logp)
        return logp_BT

    def _question(self, tokens: list[int]) -> dict:
        # No tokens at all (max_tokens 0) is refused, and streaming drops the log-probabilities.
        return {"model": self.name, "prompt": tokens, "max_tokens": 1, "temperature": 0, "prompt_logprobs": 0}

    def check(self, tokenizer, allow_mismatch: bool = False) -> None:
        """Refuse servers whose tokens are not the student's, or that differ from one another on a probe text.

        Every server must encode the probe texts as `tokenizer` does and render its chat template alike (unless
        `allow_mismatch`), score its highest token id, and give the first probe's tokens nearly the log-probabilities
        that the other servers give. Raises InputError naming the server and the difference.
        """
        if not allow_mismatch:
            for probe in PROBES:
                self._compare_tokens({"prompt": probe}, tokenizer(probe).input_ids, repr(probe[:24]))
            if tokenizer.chat_template is not None:
                messages = [{"role": "user", "content": PROBES[0]}]
                ours = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
                self._compare_tokens({"messages": messages}, list(ours), "a message in the chat template")
        tokens = [*tokenizer(PROBES[0]).input_ids, len(tokenizer) - 1]
        if self.context:
            tokens = tokens[-(self.context - 1) :]
        reader = partial(read_logprobs, model=self.name, tokens=tokens, start=1)
        found = torch.tensor(self.servers.ask_each(SCORE, self._question(tokens), reader))
        gap = (found - found[0]).abs().mean(-1)
        if (gap > PROBE_GAP).any():
            worst = self.servers.servers[int(gap.argmax())].url
            raise InputError(
                f"{SETTING}: {worst} differs from {self.servers.servers[0].url} by {float(gap.max()):.2g} nats a token "
                f"on a probe text, accepted {PROBE_GAP}: is it the same model?"
            )

    def _compare_tokens(self, question: dict, ours: list[int], what: str) -> None:
        found = self.servers.ask_each("/tokenize", {"model": self.name, **question}, read_tokens)
        for server, theirs in zip(self.servers.servers, found, strict=True):
            if theirs != ours:
                raise InputError(
                    f"tokenizers differ: {what} is {ours[:8]}… for the student, {theirs[:8]}… for {server.url}; "
                    "--allow-mismatch overrides"
                )

    def close(self) -> None:
        self.servers.close()


def teacher_behind_servers(config: ScopeConfig) -> ServerTeacher | None:
    """The teacher that a run's settings name, where they name servers. Raises InputError where one does not answer."""
    if not config.teacher_servers:
        return None
    urls = split_list(config.teacher_servers)
    servers = Servers(urls, SETTING, config.teacher_timeout, config.teacher_concurrency)
    return ServerTeacher(servers, config.teacher)


# Readers of answers: what is accepted, else Fault


def read_logprobs(body: bytes, *, model: str, tokens: list[int], start: int) -> list[float]:
    """Log-probs of tokens[start:] given those before, nats, from an answer about exactly `tokens`. Raises Fault."""
    answer = _object(body)
    choices = answer.get("choices")
    if not isinstance(choices, list) or len(choices) != 1 or not isinstance(choices[0], dict):
        raise Fault("malformed")
    if answer.get("model") != model:
        raise Fault("another model")
    places = choices[0].get("prompt_logprobs")
    if choices[0].get("index") != 0 or not isinstance(places, list):
        raise Fault("malformed")
    if len(places) != len(tokens):
        raise Fault("too few tokens" if len(places) < len(tokens) else "too many tokens")
    if places[0] is not None:
        raise Fault("malformed")
    for place, token in zip(places[1:], tokens[1:], strict=True):
        if not isinstance(place, dict):
            raise Fault("malformed")
        if place.keys() != {str(token)}:
            raise Fault("other token ids")
    return [_logprob(place[str(token)]) for place, token in zip(places[start:], tokens[start:], strict=True)]


def _logprob(found: Any) -> float:
    value = found.get("logprob") if isinstance(found, dict) else None
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise Fault("malformed")
    if isinstance(value, float) and math.isnan(value):
        raise Fault("not a number")
    if value <= MINUS_INFINITY:
        raise Fault("minus infinity")
    if value > ROUNDING:
        raise Fault("above 0")
    return min(float(value), 0.0)


def read_models(body: bytes) -> dict[str, int | None]:
    """Names of the models that a server lists, with their context in tokens where it says so."""
    listed = _object(body).get("data")
    if not isinstance(listed, list) or not all(isinstance(entry, dict) and "id" in entry for entry in listed):
        raise Fault("malformed")
    return {str(entry["id"]): entry.get("max_model_len") for entry in listed}


def read_tokens(body: bytes) -> list[int]:
    tokens = _object(body).get("tokens")
    if not isinstance(tokens, list):
        raise Fault("malformed")
    return tokens


def _object(body: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        raise Fault("not JSON") from None
    if not isinstance(answer, dict):
        raise Fault("malformed")
    return answer
