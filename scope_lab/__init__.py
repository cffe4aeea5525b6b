"""SCOPE Lab: signal-calibrated on-policy distillation (arXiv 2604.10688), to see and to train.

Axis letters in names, everywhere: P prompts in a step, G rollouts per prompt, B = P·G rollouts, T response tokens,
L prompt and response tokens, V vocabulary, K top-k. `weights_B` has one number a rollout, `logp_BT` one a token.
"""

from importlib import import_module

# Public names and where they live; each module is imported on first use, so that `import scope_lab` stays light.
_PUBLIC = {
    "group_weights": "objective",
    "solve_tau": "objective",
    "effective_sample_size": "objective",
    "scope_advantages": "objective",
    "policy_loss": "objective",
    "perplexity": "logprobs",
    "avg_at_k": "evaluation",
    "pass_at_k": "evaluation",
    "Rollouts": "rollouts",
    "ScopeConfig": "config",
    "ScopeTrainer": "trainer",
    "load_task": "tasks",
    "load_pair": "models",
}

__all__ = [*_PUBLIC]


def __getattr__(name: str):
    if name in _PUBLIC:
        return getattr(import_module(f".{_PUBLIC[name]}", __name__), name)
    if name in _PUBLIC.values():  # `scope_lab.objective`, as README's table names it
        return import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted([*globals(), *_PUBLIC])
