"""A long sampling survives Ctrl-C and kill -9: finished batches stay on disk; the same command goes on after them."""

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..durable import whole_file
from ..errors import RunStopped, one_line
from ..rollouts import Sampling


class FinishedBatches:
    """Batches of one or more samplings, in a folder beside the file that they are for.

    A batch is found again by what made it: prompts, sampling settings, batch size, the model's weights and its kind of
    device.
    """

    def __init__(self, out: str | Path):
        self.folder = Path(f"{out}.partial")
        self.key = ""

    def begin(self, model, prompts: Sequence[list[int]], sampling: Sampling, batch_size: int) -> None:
        """Say which sampling comes now."""
        digest = hashlib.sha256()
        digest.update(json.dumps([prompts, asdict(sampling), batch_size, model.device.type]).encode())
        for name, parameter in model.named_parameters():
            few = parameter.detach().flatten()[:: max(1, parameter.numel() // 64)]
            digest.update(name.encode() + few.float().cpu().numpy().tobytes())
        self.key = digest.hexdigest()[:16]
        self.folder.mkdir(parents=True, exist_ok=True)

    def _file(self, start: int) -> Path:
        return self.folder / f"{self.key}-{start:08d}.safetensors"

    def load(self, start: int) -> tuple[Tensor, Tensor] | None:
        """Tokens and log-probs of the batch at `start`; None where there is none, or none that can be read."""
        try:
            found = load_file(self._file(start))
            return found["tokens"], found["logp"]
        except (OSError, SafetensorError, KeyError):
            return None

    def save(self, start: int, tokens_BT: Tensor, logp_BT: Tensor) -> None:
        """Keep a batch; a file appears whole or not at all."""
        try:
            with whole_file(self._file(start)) as unfinished:
                save_file({"tokens": tokens_BT.contiguous(), "logp": logp_BT.contiguous()}, unfinished)
        except (OSError, SafetensorError) as error:
            raise RunStopped(
                f"{self.folder}: cannot be written ({one_line(error)}); what is there will be used"
            ) from None

    def remove(self) -> None:
        """Once the output is written."""
        shutil.rmtree(self.folder, ignore_errors=True)
