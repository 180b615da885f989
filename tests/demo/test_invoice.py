"""An invoice is a real picture, written whole."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from examples.shop import invoice


def test_an_invoice_is_a_readable_picture(tmp_path: Path) -> None:
    """It opens again, has ink on it, and leaves no part file."""
    path = tmp_path / "000007.png"
    picture = invoice.render(7, 4, "1997-01-01", 2, "29.33")
    assert invoice.write(picture, path) == path.stat().st_size
    with Image.open(path) as image:
        assert image.size == (invoice.WIDTH, invoice.HEIGHT)
        assert len(set(image.get_flattened_data())) > 2
    assert list(tmp_path.iterdir()) == [path]


def test_rendering_twice_gives_the_same_file(tmp_path: Path) -> None:
    """A job may run twice: the second run must change nothing."""
    first, second = tmp_path / "a.png", tmp_path / "b.png"
    for path in (first, second):
        invoice.write(invoice.render(7, 4, "1997-01-01", 2, "29.33"), path)
    assert first.read_bytes() == second.read_bytes()
