"""The last layer of a language model in chunks: log-probabilities of tokens without a logit of every token at once."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import linear
from torch.utils.checkpoint import checkpoint

# Logits that exist at a time, and entries of the vocabulary among them: few on a CPU, whose caches they should not
# leave far; many on a GPU, where few are slow. A weight's gradient is then written once for many tokens.
LOGITS_AT_A_TIME = {"cpu": 2**22, "cuda": 2**28}
ENTRIES_AT_A_TIME = {"cpu": 2**12, "cuda": 2**14}

# What models do to the output layer's result, by the name of the attribute that says it, and its value for nothing.
NEUTRAL = {"final_logit_softcapping": None, "logit_scale": 1.0, "logits_scaling": 1.0}


class LogitChange(NamedTuple):
    """What a model does to its output layer's result x: softcap · tanh(scale · x / softcap), or scale · x."""

    scale: float = 1.0
    softcap: float | None = None

    def __call__(self, x: Tensor) -> Tensor:
        x = x if self.scale == 1 else x * self.scale
        return x if self.softcap is None else self.softcap * torch.tanh(x / self.softcap)

    def bend(self, y: Tensor) -> Tensor | None:
        """dy/dx divided by scale, from y itself; None where that is 1."""
        return None if self.softcap is None else 1 - (y / self.softcap) ** 2


def token_logprobs(logits_BTV: Tensor, tokens_BT: Tensor, temperature: float = 1.0) -> Tensor:
    """log softmax(logits / temperature) of the given tokens, (B, T) nats; half precision is computed in float32."""
    logp_BTV = torch.log_softmax(_in_single(logits_BTV) / temperature, dim=-1)
    return logp_BTV.gather(-1, tokens_BT[..., None]).squeeze(-1)


def _in_single(x: Tensor) -> Tensor:
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def chunked_logprobs(
    head,
    project: Callable,
    hidden_NH: Tensor,
    tokens_N: Tensor,
    temperature: float = 1.0,
    change: LogitChange = LogitChange(),  # noqa: B008 - it cannot be changed
) -> Tensor:
    """log softmax(change(head(hidden)) / temperature) of the given tokens, (N,) nats, with gradient.

    head         the output layer; project: its own `forward`, hooks and wrappers around it having done their work
    hidden_NH    (N, H) float   its inputs; tokens_N (N,) int
    change       what the model does to its result

    At most LOGITS_AT_A_TIME logits exist at a time, forward and backward. Of a plain `Linear` each chunk's gradient is
    written down (`ChunkedLogprobs`); any other layer is called again by autograd for each chunk.
    """
    if getattr(project, "__func__", None) is torch.nn.Linear.forward:
        return ChunkedLogprobs.apply(hidden_NH, head.weight, head.bias, tokens_N, temperature, change)
    size = max(1, LOGITS_AT_A_TIME.get(hidden_NH.device.type, 2**28) // head.weight.shape[0])

    def score(hidden_nH: Tensor, tokens_n: Tensor) -> Tensor:
        return token_logprobs(change(_in_single(project(hidden_nH))), tokens_n, temperature)

    if len(tokens_N) <= size:
        return score(hidden_NH, tokens_N)
    chunks = zip(hidden_NH.split(size), tokens_N.split(size), strict=True)
    if not torch.is_grad_enabled():
        return torch.cat([score(*chunk) for chunk in chunks])
    return torch.cat([checkpoint(score, *chunk, use_reentrant=False) for chunk in chunks])


class ChunkedLogprobs(torch.autograd.Function):
    """log softmax(change(hidden · weightᵀ + bias) / temperature) of the given tokens, by tiles of tokens × vocabulary.

    With x the layer's result, z = change(x) / temperature, y the token and g the gradient that comes back:

        forward   log π(y) = z_y − log Σ exp z, the sum taken tile by tile
        backward  dx = g · (onehot(y) − softmax z) · change'(x) / temperature, of a tile whose x is computed again
                  dhidden += dx · weight        dweight += dxᵀ · hidden        dbias += Σ dx

    so that beside a tile's logits only one gradient of each argument exists, summed in float32 whatever dx is in.
    """

    @staticmethod
    def forward(ctx, hidden_NH, weight_VH, bias_V, tokens_N, temperature: float, change: LogitChange):
        kind = hidden_NH.device.type
        # Within autocast a Linear casts its arguments; backward runs outside of it, so that it must be told.
        ctx.dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else hidden_NH.dtype
        ctx.temperature, ctx.change = temperature, change
        z_N = hidden_NH.new_zeros(len(tokens_N), dtype=_single(ctx.dtype))
        log_total_N = torch.full_like(z_N, -torch.inf)
        with torch.autocast(kind, enabled=False):
            for rows, entries, y_nv, _, _ in _tiles(ctx, hidden_NH, weight_VH, bias_V):
                z_nv = y_nv.div_(temperature)
                log_total_N[rows] = torch.logaddexp(log_total_N[rows], torch.logsumexp(z_nv, dim=-1))
                place_n, here_n = _place(tokens_N[rows], entries)
                z_N[rows] = torch.where(here_n, z_nv.gather(1, place_n[:, None]).squeeze(1), z_N[rows])
        ctx.save_for_backward(hidden_NH, weight_VH, bias_V, tokens_N, log_total_N)
        return z_N - log_total_N

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient_N):
        hidden_NH, weight_VH, bias_V, tokens_N, log_total_N = ctx.saved_tensors
        arguments = (hidden_NH, weight_VH, bias_V)
        hidden, weight, bias = (
            torch.zeros_like(x, dtype=_single(ctx.dtype)) if needed else None
            for x, needed in zip(arguments, ctx.needs_input_grad[:3], strict=True)
        )
        gradient_N = gradient_N * (ctx.change.scale / ctx.temperature)
        for rows, entries, y_nv, hidden_nH, weight_vH in _tiles(ctx, hidden_NH, weight_VH, bias_V):
            bend_nv, gradient_n = ctx.change.bend(y_nv), gradient_N[rows]
            dx_nv = y_nv.div_(ctx.temperature).sub_(log_total_N[rows, None]).exp_().mul_(-gradient_n[:, None])
            place_n, here_n = _place(tokens_N[rows], entries)
            dx_nv.scatter_add_(1, place_n[:, None], torch.where(here_n, gradient_n, 0.0)[:, None])
            dx_nv = (dx_nv if bend_nv is None else dx_nv.mul_(bend_nv)).to(ctx.dtype)
            if hidden is not None:
                _add_product(hidden[rows], dx_nv, weight_vH)
            if weight is not None:
                _add_product(weight[entries], dx_nv.t(), hidden_nH)
            if bias is not None:
                bias[entries] += dx_nv.sum(0, dtype=bias.dtype)
        gradients = zip((hidden, weight, bias), arguments, strict=True)
        return *(None if x is None else x.to(argument.dtype) for x, argument in gradients), None, None, None


def _single(dtype: torch.dtype) -> torch.dtype:
    """What sums and softmax are computed in."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def _tiles(ctx, hidden_NH: Tensor, weight_VH: Tensor, bias_V: Tensor | None) -> Iterator[tuple]:
    """Slices of tokens and of the vocabulary, with the changed logits, the hidden states and the weights of each."""
    kind, (N, V) = hidden_NH.device.type, (len(hidden_NH), len(weight_VH))
    width = min(V, ENTRIES_AT_A_TIME.get(kind, V))
    if kind == "cpu" and ctx.dtype not in (torch.float32, torch.float64):
        width = V  # products are rounded to half precision there, and a sum of rounded ones over tiles is biased
    height = max(1, LOGITS_AT_A_TIME.get(kind, 2**28) // width)
    for entries in map(slice, range(0, V, width), range(width, V + width, width)):
        weight_vH = weight_VH[entries].to(ctx.dtype)
        bias_v = None if bias_V is None else bias_V[entries].to(ctx.dtype)
        for rows in map(slice, range(0, N, height), range(height, N + height, height)):
            hidden_nH = hidden_NH[rows].to(ctx.dtype)
            x_nv = linear(hidden_nH, weight_vH, bias_v).to(_single(ctx.dtype))
            yield rows, entries, ctx.change(x_nv), hidden_nH, weight_vH


def _place(tokens_n: Tensor, entries: slice) -> tuple[Tensor, Tensor]:
    """Where tokens stand in a tile, and whether they do; those that do not are given some place in it."""
    here_n = (tokens_n >= entries.start) & (tokens_n < entries.stop)
    return torch.where(here_n, tokens_n - entries.start, 0), here_n


def _add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    """total += left · right, without rounding the product to half precision where the device's library can."""
    if left.dtype == total.dtype:
        total.addmm_(left, right)
    elif total.is_cuda:
        torch.addmm(total, left, right, out_dtype=total.dtype, out=total)
    else:
        total += left @ right


def logit_change(model, head) -> LogitChange | None:
    """What the model does to `head`'s result before it gives its logits; None where that is not known.

    Found out once a model by probes: a marker in the layer's place must come out as the change says. Models say what
    they do in attributes (NEUTRAL), of their own or of their config; others' is unknown, unless it is nothing.
    """
    if not hasattr(head, "_scope_change"):
        head._scope_change = _probed(model, head)
    return head._scope_change


@torch.no_grad()
def _probed(model, head) -> LogitChange | None:
    marker = torch.linspace(-9.0, 7.0, 8, device=head.weight.device)[None, :, None]
    tokens = torch.zeros((1, 8), dtype=torch.long, device=head.weight.device)

    def comes_out() -> Tensor:
        with forward_of(head, lambda hidden: marker):
            return model(input_ids=tokens, use_cache=False).logits

    as_it_is = comes_out()
    if torch.equal(as_it_is, marker):
        return LogitChange()
    with unchanged_logits(model):
        if not torch.equal(comes_out(), marker):
            return None
    said = {name: value for _, name, value in _said(model)}
    scale = said.get("logit_scale", 1.0)
    for candidate in (scale / said.get("logits_scaling", 1.0), scale * said.get("logits_scaling", 1.0)):
        change = LogitChange(candidate, said.get("final_logit_softcapping"))
        if torch.allclose(change(marker), as_it_is, rtol=1e-4, atol=1e-5):
            return change
    return None


def _said(model) -> list[tuple[object, str, float]]:
    """Every attribute that says what the model does to its logits: its owner, its name, its value."""
    model = getattr(model, "module", model)
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    owners = {id(owner): owner for owner in (base, base.config, base.config.get_text_config())}.values()
    found = ((owner, name, getattr(owner, name, None)) for owner in owners for name in NEUTRAL)
    return [(owner, name, value) for owner, name, value in found if isinstance(value, int | float)]


@contextmanager
def unchanged_logits(model) -> Iterator[None]:
    """Within it a model's logits are what its output layer returns."""
    said = _said(model)
    try:
        for owner, name, _ in said:
            setattr(owner, name, NEUTRAL[name])
        yield
    finally:
        for owner, name, value in said:
            setattr(owner, name, value)


@contextmanager
def forward_of(module, function) -> Iterator[None]:
    """A module computes something else for a while; hooks and wrappers around it stay in force."""
    kept = module.__dict__.get("forward")
    module.forward = function
    try:
        yield
    finally:
        del module.forward
        if kept is not None:
            module.forward = kept
