"""Sliders and menus of the lessons: thin ipywidgets shells over `scope_lab.plots` and `scope_lab.explore`."""

from .panel import Frames, Panel
from .tau import TAUS, TauExplorer

__all__ = ["TAUS", "Frames", "Panel", "TauExplorer"]
