"""Sliders and menus of the lessons: thin ipywidgets shells over `scope_lab.plots` and `scope_lab.explore`."""

from .browser import RolloutBrowser
from .cost import CostCalculator
from .panel import Frames, Panel
from .pass_at_k import PassAtKExplorer
from .reference import DeparturePanel
from .tau import TAUS, TauExplorer
from .training import LiveCurves, RunExplorer
from .verifier import VerifierPanel

__all__ = [
    "TAUS",
    "CostCalculator",
    "DeparturePanel",
    "Frames",
    "LiveCurves",
    "Panel",
    "PassAtKExplorer",
    "RolloutBrowser",
    "RunExplorer",
    "TauExplorer",
    "VerifierPanel",
]
