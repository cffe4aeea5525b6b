"""Sampling with vLLM in the training process, beside the student on its device.

vLLM computes with a copy of the student's weights in its own layout; `sync` writes them over in place, through the
worker's `reload_weights`, which keeps CUDA graphs and repacks what a kernel packs. Everything else used is public too:
`EngineArgs`, `LLMEngine`, `SamplingParams`. Of several ranks each has an engine of its own and samples its share.
"""

import copy
import os
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError, RunStopped, one_line
from ..models import stop_token_ids
from ..rollouts import Rollouts, Sampling, check_context, encode_prompts
from ..tasks import Problem
from . import OnFinished
from .filling import Filling
from .transformers import pad_token_id

TEMPERATURES = (0.01, 2.0)  # what vLLM samples at without a change of its own


class VllmEngine:
    """Samples with vLLM (scope_lab.engines.Engine). It holds no weights of the student before the first `sync`.

    model          the student, or one with its architecture; its config, EOS and device are read
    dtype          "float32" or "bfloat16": what vLLM keeps weights and computes in
    context        tokens, prompt and response, of the longest sequence
    sequences      sampled at a time, at most
    memory         share of the device's memory for vLLM's weights and cache; on a CPU of the machine's
    logp_at_one    whether its log-probs are those at temperature 1, or those at the temperature of sampling
    several_ranks  whether this process is one of several that a launcher started

    Log-probs are the engine's own where `sampling` asks for the kind that it gives, else NaN. A row's random numbers
    are its own: with the same weights, versions and device it comes out the same wherever it stands, as far as
    vLLM's arithmetic does not depend on what else is in a batch.

    Raises InputError without the package vllm, or where vLLM refuses model or memory.
    """

    def __init__(
        self,
        model,
        tokenizer,
        *,
        dtype: str,
        context: int,
        sequences: int = 256,
        memory: float = 0.3,
        logp_at_one: bool = False,
        several_ranks: bool = False,
    ):
        self.tokenizer, self.context, self.logp_at_one = tokenizer, context, logp_at_one
        self.stop_ids, self.pad_id = stop_token_ids(model, tokenizer), pad_token_id(model, tokenizer)
        self.device, self.on_cpu = model.device, model.device.type == "cpu"
        self.vllm = _import_vllm()
        self._asked = 0
        tokens = max(8_192, context)
        settings: dict[str, Any] = {
            "dtype": dtype,
            "max_model_len": context,
            "max_num_seqs": sequences,
            "max_num_batched_tokens": tokens,
            "gpu_memory_utilization": memory,
            "logprobs_mode": "raw_logprobs" if logp_at_one else "processed_logprobs",
            "load_format": "dummy",
            "skip_tokenizer_init": True,
            "generation_config": "vllm",
            "disable_log_stats": True,
        }
        config = copy.deepcopy(model.config)
        if several_ranks:
            settings["distributed_executor_backend"] = "external_launcher"
        if self.on_cpu:
            # A seeded request whose prompt is read in pieces would need a draw taken back, which no CPU generator can.
            settings |= {"enforce_eager": True, "enable_chunked_prefill": False}
            # Its kernel packs the output layer once: tied to the embedding, it would not follow when that is reloaded.
            config.tie_word_embeddings = False
        with tempfile.TemporaryDirectory() as folder, self._own_random_state():
            config.save_pretrained(folder)
            try:
                arguments = self.vllm.EngineArgs(model=folder, **settings)
                self.engine = self.vllm.LLMEngine.from_engine_args(arguments)
            except Exception as error:  # from many libraries: an unknown architecture, too little memory, no compiler
                raise InputError(f"engine: vllm does not start ({one_line(error)})") from error

    @torch.no_grad()
    def sync(self, model) -> None:
        weights = policy_weights(model, with_tied=self.on_cpu)
        self.engine.collective_rpc("reload_weights", kwargs={"weights_iterator": weights})
        if not self.engine.reset_prefix_cache():
            raise RuntimeError("vllm: prompts' keys and values of the earlier weights are still in use")

    def sample(
        self,
        problems: Sequence[Problem],
        rollouts_per_prompt: int,
        sampling: Sampling,
        on_finished: OnFinished | None = None,
    ) -> Rollouts:
        """As `Engine` says. Raises InputError where a prompt and its response cannot fit `context`, or vLLM cannot
        sample at that temperature; RunStopped where a response has no log-probs or ends in an unknown way."""
        if not problems:
            raise InputError("problems: found none, accepted at least one")
        prompts = encode_prompts(self.tokenizer, problems)
        self._check(max(map(len, prompts)), sampling)
        filling = Filling(self.tokenizer, problems, prompts, rollouts_per_prompt, sampling, self.pad_id, on_finished)
        row_of: dict[str, int] = {}
        with self._own_random_state():
            try:
                for row, group in enumerate(filling.rollouts.group_B.tolist()):
                    name, self._asked = str(self._asked), self._asked + 1
                    parameters = self._parameters(sampling, row)
                    self.engine.add_request(name, {"prompt_token_ids": prompts[group]}, parameters)
                    row_of[name] = row
                while self.engine.has_unfinished_requests():
                    for output in self.engine.step():
                        tokens, logp, ended = self._read(output.outputs[0], sampling)
                        filling.add(torch.tensor([row_of.pop(output.request_id)]), tokens[None], logp[None], ended)
            finally:
                if row_of:
                    self.engine.abort_request(list(row_of))
        return filling.result()

    def _own_random_state(self):
        """vLLM seeds and uses the process's generators: what it does to them is undone."""
        return torch.random.fork_rng(devices=[] if self.on_cpu else [self.device])

    def _check(self, longest: int, sampling: Sampling) -> None:
        check_context(longest, sampling.max_new_tokens, self.context, "the context that vLLM was started for")
        low, high = TEMPERATURES
        if not low <= sampling.temperature <= high:
            raise InputError(f"temperature: found {sampling.temperature:g}, accepted {low} to {high} with vLLM")

    def _parameters(self, sampling: Sampling, row: int):
        seed = np.random.SeedSequence([sampling.seed, sampling.first_row + row]).generate_state(1, np.uint64)[0]
        return self.vllm.SamplingParams(
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            top_k=sampling.top_k,
            max_tokens=sampling.max_new_tokens,
            seed=int(seed >> 1),
            stop_token_ids=self.stop_ids,
            ignore_eos=True,  # stop_token_ids has it
            detokenize=False,
            logprobs=0 if self._gives(sampling) else None,  # 0: of the sampled token alone
            output_kind=self.vllm.sampling_params.RequestOutputKind.FINAL_ONLY,
        )

    def _gives(self, sampling: Sampling) -> bool:
        """Whether vLLM's log-probs are those at `sampling.scored_at`, of the whole distribution."""
        if self.logp_at_one:
            return sampling.scored_at == 1
        return (sampling.scored_at, sampling.top_p, sampling.top_k) == (sampling.temperature, 1.0, 0)

    def _read(self, written, sampling: Sampling) -> tuple[Tensor, Tensor, bool]:
        """Tokens (L,), their log-probs (L,), and whether the last is an EOS."""
        tokens, reason = list(written.token_ids), written.finish_reason
        ended = bool(tokens) and tokens[-1] in self.stop_ids
        if not tokens or reason != ("stop" if ended else "length"):
            raise RunStopped(f"vllm: a response of {len(tokens)} tokens ended with {reason!r}, accepted stop or length")
        logp = torch.full((len(tokens),), torch.nan)
        if self._gives(sampling):
            try:
                found = [of[token].logprob for token, of in zip(tokens, written.logprobs, strict=True)]
            except (TypeError, KeyError, ValueError):
                raise RunStopped("vllm: a sampled token came without its log-prob") from None
            logp = torch.tensor(found)
        return torch.tensor(tokens), logp, ended


def policy_weights(model, with_tied: bool = False) -> Iterator[tuple[str, Tensor]]:
    """A student's weights under its checkpoint's names, one at a time; a LoRA adapter that is at work comes merged.

    Merging is in float32 and leaves the student as it is: a base in half precision would be rounded at every step.
    `with_tied` gives a weight of two names twice.
    """
    base = model.get_base_model() if hasattr(model, "peft_config") else model
    adapted = {name: module for name, module in base.named_modules() if hasattr(module, "get_delta_weight")}
    for name, weight in base.named_parameters(remove_duplicate=not with_tied):
        owner, is_base, rest = name.partition(".base_layer.")
        if is_base:
            layer, name = adapted[owner], f"{owner}.{rest}"
            if rest == "weight" and not layer.disable_adapters:
                deltas = [layer.get_delta_weight(adapter).float() for adapter in layer.active_adapters]
                weight = torch.stack([weight.float(), *deltas]).sum(0)
        elif any(name.startswith(f"{layer}.") for layer in adapted):
            continue  # the adapter itself
        yield name, weight.detach()


def _import_vllm():
    # In this process, so that weights need no way to another; quiet, and it reports its use to nobody.
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    try:
        import vllm
        import vllm.sampling_params
    except ImportError as error:
        raise InputError(
            f"engine: vllm cannot be imported ({one_line(error)}); install it with pip install 'scope-lab[gpu]'"
        ) from None
    return vllm
