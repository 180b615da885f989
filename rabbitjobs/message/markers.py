"""Marks on annotations: parameters that are filled in by the worker and never travel."""

from __future__ import annotations


class Injected:
    """A base for classes whose parameters are injected when the job runs (``Context``, say)."""
