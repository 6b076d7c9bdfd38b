"""The run folder's record: who writes it, who reads it, and how a run is begun."""

from __future__ import annotations

from .histogram import Histograms, HistogramValue
from .reader import Envelope, Event, Reader
from .writer import Writer

__all__ = ["Envelope", "Event", "HistogramValue", "Histograms", "Reader", "Writer"]
