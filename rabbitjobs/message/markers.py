"""Marks on annotations: parameters that are filled in by the worker and never travel."""

from __future__ import annotations

from typing import Self


class Injected:
    """A base for classes whose parameters are injected when the job runs (``Context``, say)."""

    @classmethod
    def detached(cls) -> Self:
        """One for a call outside of any worker (``job(...)`` in a unit test)."""
        return cls()
