"""What every panel shares: a picture replaced in place, the same state in words, frames that are remembered."""

import base64
import html
import io
from collections import OrderedDict
from contextlib import contextmanager

import ipywidgets
import numpy as np
from PIL import Image

from ..style import small_png

STYLE = "width:1000px;max-width:100%"


class Frames:
    """The last few pictures by their key, so that a second visit costs no drawing."""

    def __init__(self, size: int = 128):
        self.size = size
        self._frames: OrderedDict = OrderedDict()

    def __len__(self) -> int:
        return len(self._frames)

    def get(self, key, draw):
        if key not in self._frames:
            self._frames[key] = draw()
            if len(self._frames) > self.size:
                self._frames.popitem(last=False)
        self._frames.move_to_end(key)
        return self._frames[key]


class Panel(ipywidgets.VBox):
    """Controls, a picture, and a status line that says it in words. A subclass shows what its controls say in `update`.

    frames  pictures by their key, so that a state seen before costs no drawing
    """

    _held = False

    def __init__(self, controls: ipywidgets.Widget):
        self.frames = Frames()
        self.picture, self.status = ipywidgets.HTML(), ipywidgets.HTML()
        super().__init__([controls, self.picture, self.status])

    def update(self) -> None:
        """Show what the controls say now."""
        raise NotImplementedError

    def _update(self, _=None) -> None:
        """What every control calls when its value changes."""
        if not self._held:
            self.update()

    @contextmanager
    def one_picture(self):
        """Several controls change, and one picture follows, not one a control."""
        self._held = True
        try:
            yield
        finally:
            self._held = False
        self.update()

    def show(self, png: bytes, words: str, heading: str = "") -> None:
        """Replace picture, its heading and words; nothing else of the page is touched, so nothing flickers."""
        self._png, self._words = png, words
        data, said = base64.b64encode(png).decode(), html.escape(words, quote=True)
        above = f"<div><b>{html.escape(heading)}</b></div>" if heading else ""
        self.picture.value = f'{above}<img alt="{said}" style="{STYLE}" src="data:image/png;base64,{data}">'
        self.status.value = f'<div role="status" aria-live="polite" style="line-height:1.5">{said}</div>'

    def _repr_mimebundle_(self, **kwargs):
        """The live widget, with the current picture and its words for pages without a kernel."""
        bundle = super()._repr_mimebundle_(**kwargs)
        data, metadata = bundle if isinstance(bundle, tuple) else (bundle, {})
        picture = base64.b64encode(small_png(np.asarray(Image.open(io.BytesIO(self._png)).convert("RGB")))).decode()
        data = {**(data or {}), "image/png": picture, "text/plain": self._words}
        return data, {**metadata, "image/png": {"alt": self._words, "width": 1000}}
