"""The run folder's record: who writes it, who reads it, and how a run is begun."""

from __future__ import annotations

from .envelope import Envelope
from .event import RecordedEvent
from .histogram import HistogramSeries, HistogramValue
from .reader import RunReader
from .writer import Writer

__all__ = ["Envelope", "HistogramSeries", "HistogramValue", "RecordedEvent", "RunReader", "Writer"]
