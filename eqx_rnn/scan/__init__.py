"""Runs a cell over time. Time is the first axis of everything here."""

from .plain import scan as scan
from .plain import select as select
