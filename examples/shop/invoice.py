"""The invoice: a real picture drawn for each order."""

from __future__ import annotations

import os
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

WIDTH, HEIGHT, MARGIN = 480, 300, 28


def render(number: int, customer: int, day: str, cds: int, total: str) -> Image.Image:
    """Draw the invoice of one order, in 16 shades of grey: small files, quickly written."""
    image = Image.new("L", (WIDTH, HEIGHT), 255)
    draw = ImageDraw.Draw(image)
    large, small = ImageFont.load_default(22), ImageFont.load_default(14)
    draw.rectangle((0, 0, WIDTH, 56), fill=32)
    draw.text((MARGIN, 15), f"Invoice {number:06d}", font=large, fill=255)
    lines = [("Customer", f"{customer:05d}"), ("Date", day), ("CDs", str(cds))]
    for row, (label, value) in enumerate(lines):
        top = 84 + row * 30
        draw.text((MARGIN, top), label, font=small, fill=96)
        draw.text((WIDTH // 2, top), value, font=small, fill=0)
        draw.line((MARGIN, top + 24, WIDTH - MARGIN, top + 24), fill=208)
    draw.text((MARGIN, 210), "Total", font=large, fill=0)
    draw.text((WIDTH // 2, 210), f"{total} USD", font=large, fill=0)
    return image


def write(image: Image.Image, path: Path) -> int:
    """Write the picture whole or not at all, and return its size in bytes.

    A job may run twice (a worker died after the write, before the ack): the second write
    replaces the first by the same picture.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    image.save(partial, format="PNG")
    size = partial.stat().st_size
    partial.replace(path)
    return size
