"""Bounds of what people give: no page, text or tag is longer than a desk can bear."""

from __future__ import annotations

from rabbitjobs.errors import ActionRefused

PAGE_MOST = 10_000
TEXT_MOST = 20_000
TAGS_MOST = 50
TAG_MOST = 100
SEARCH_MOST = 500


def check_page(limit: int) -> None:
    """Raise ``ActionRefused`` for a page of no case, or of more than can be shown."""
    if not 1 <= limit <= PAGE_MOST:
        raise ActionRefused(f"expected a page of 1 to {PAGE_MOST} entries, got {limit}")


def check_search(text: str | None) -> None:
    """Raise ``ActionRefused`` for a text to look for that is longer than anything in the index."""
    if text is not None and len(text) > SEARCH_MOST:
        raise ActionRefused(
            f"expected up to {SEARCH_MOST} characters to look for, got {len(text)}; shorten it"
        )


def check_text(text: str, what: str, *, needed: bool = True) -> None:
    """Raise ``ActionRefused`` for a reason or comment that says nothing, or is a book."""
    if needed and not text.strip():
        raise ActionRefused(f"expected {what}, got an empty text; say why")
    if len(text) > TEXT_MOST:
        raise ActionRefused(
            f"expected {what} of up to {TEXT_MOST} characters, got {len(text)}; shorten it"
        )


def check_tags(tags: tuple[str, ...]) -> None:
    """Raise ``ActionRefused`` for too many tags, or one that is empty or too long."""
    if len(tags) > TAGS_MOST or not all(0 < len(tag) <= TAG_MOST for tag in tags):
        raise ActionRefused(
            f"expected up to {TAGS_MOST} tags of 1 to {TAG_MOST} characters, got {len(tags)} of up "
            f"to {max(map(len, tags), default=0)}"
        )
