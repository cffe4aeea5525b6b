"""A module in vllm's place: real sampling, with the weights that it was sent, in an order of its own."""

import sys
from types import ModuleType, SimpleNamespace
from typing import ClassVar

import torch
from transformers import AutoConfig, AutoModelForCausalLM


class SamplingParams(SimpleNamespace):
    pass


class EngineArgs(SimpleNamespace):
    pass


class LLMEngine:
    """Writes whole responses, one a step, the last that was asked for first.

    spoil(output) changes what it says of a response; lost: requests that it forgets; frees: whether its cache can go
    """

    started: ClassVar[list["LLMEngine"]] = []

    def __init__(self, arguments):
        self.arguments, self.waiting, self.aborted, self.synced = arguments, [], [], []
        self.asked: list[tuple[str, list[int], SamplingParams]] = []
        self.spoil, self.lost, self.frees = (lambda output: None), set(), True
        self.model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(arguments.model)).eval()
        torch.manual_seed(arguments.max_model_len)  # as vLLM does
        self.started.append(self)

    @classmethod
    def from_engine_args(cls, arguments):
        if arguments.gpu_memory_utilization > 0.9:
            raise ValueError("No available memory for the cache blocks.\nTry increasing it.")
        return cls(arguments)

    def add_request(self, name, prompt, parameters):
        assert name not in {asked for asked, *_ in self.asked}
        self.asked.append((name, prompt["prompt_token_ids"], parameters))
        if int(name) not in self.lost:
            self.waiting.append(self.asked[-1])

    def has_unfinished_requests(self) -> bool:
        return bool(self.waiting)

    def abort_request(self, names):
        self.aborted += names
        self.waiting = [request for request in self.waiting if request[0] not in names]

    def collective_rpc(self, method, kwargs):
        assert method == "reload_weights"
        self.synced.append(dict(kwargs["weights_iterator"]))
        self.model.load_state_dict(self.synced[-1])

    def reset_prefix_cache(self) -> bool:
        return self.frees

    @torch.no_grad()
    def step(self) -> list:
        name, prompt, parameters = self.waiting.pop()
        generator, tokens, logprobs = torch.Generator().manual_seed(parameters.seed), [], []
        raw = self.arguments.logprobs_mode == "raw_logprobs"
        reason = None
        while reason is None:
            logits_V = self.model(torch.tensor([prompt + tokens])).logits[0, -1]
            chances_V = torch.softmax(logits_V / parameters.temperature, -1)
            token = int(torch.multinomial(chances_V, 1, generator=generator))
            logp_V = torch.log_softmax(logits_V, -1) if raw else chances_V.log()
            tokens.append(token)
            logprobs.append({token: SimpleNamespace(logprob=float(logp_V[token]))})
            if token in parameters.stop_token_ids:
                reason = "stop"
            elif len(tokens) == parameters.max_tokens:
                reason = "length"
        output = SimpleNamespace(token_ids=tokens, finish_reason=reason, logprobs=logprobs)
        output.logprobs = None if parameters.logprobs is None else logprobs
        torch.rand(1)  # as vLLM does
        self.spoil(output)
        return [SimpleNamespace(request_id=name, outputs=[output], finished=True)]


def install(monkeypatch) -> type[LLMEngine]:
    """As if vllm were installed, for one test."""
    module, parameters = ModuleType("vllm"), ModuleType("vllm.sampling_params")
    parameters.RequestOutputKind = SimpleNamespace(FINAL_ONLY="final")
    module.EngineArgs, module.LLMEngine, module.SamplingParams = EngineArgs, LLMEngine, SamplingParams
    module.sampling_params = parameters
    monkeypatch.setitem(sys.modules, "vllm", module)
    monkeypatch.setitem(sys.modules, "vllm.sampling_params", parameters)
    monkeypatch.setattr(LLMEngine, "started", [])
    return LLMEngine
