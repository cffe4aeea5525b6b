"""Figures that move: drawn once, and then on every move only what changes, over a saved background.

That is several times as quick as a new figure, and no figure stays open. `frame` is for widgets; `still` gives the same
state as an ordinary figure.
"""

from collections.abc import Hashable
from typing import Any

from matplotlib.artist import Artist
from matplotlib.figure import Figure

from ..style import canvas_of, new_figure, quick_png


class MovingFigure:
    """A figure with fixed margins, of which some artists follow a state. Subclasses draw its axes and fill two lists.

    slow    artists that follow the state's `key`; together with what never changes they are the background
    quick   artists that follow every move

    Artists are drawn in the order of the lists. `choose(key)` sets the slow ones, `move(state)` the quick ones.
    """

    def __init__(self, width: float, height: float, dpi: int = 100):
        self.figure = new_figure(width, height)
        self.figure.set_dpi(dpi)
        self.figure.set_layout_engine("none")  # panels stay where they are
        self.slow: list[Artist] = []
        self.quick: list[Artist] = []
        self._key: Hashable = None
        self._blank: Any = None

    def choose(self, key) -> None:
        raise NotImplementedError

    def move(self, state) -> None:
        raise NotImplementedError

    def frame(self, key: Hashable, state) -> bytes:
        """One picture as PNG. The background is drawn again where the key is another than the last time."""
        canvas = canvas_of(self.figure)
        if self._blank is None:
            self._animate(True)
            canvas.draw()
            self._blank, self._key = canvas.copy_from_bbox(self.figure.bbox), None
        if key != self._key:
            self.choose(key)
            self._draw(self._blank, self.slow)
            self._background, self._key = canvas.copy_from_bbox(self.figure.bbox), key
        self.move(state)
        self._draw(self._background, self.quick)
        return quick_png(canvas)

    def still(self, key: Hashable, state) -> Figure:
        """The figure in this state, to be drawn at any resolution."""
        self._animate(False)
        self._blank = None
        self.choose(key)
        self.move(state)
        return self.figure

    def _animate(self, animated: bool) -> None:
        for artist in (*self.slow, *self.quick):
            artist.set_animated(animated)

    def _draw(self, background, artists: list[Artist]) -> None:
        canvas = canvas_of(self.figure)
        canvas.restore_region(background)
        renderer = canvas.get_renderer()
        for artist in artists:
            artist.draw(renderer)
