"""A picture of a topology as SVG, laid out in columns; no other program is needed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final
from xml.sax.saxutils import escape, quoteattr

import msgspec

from rabbitjobs.topology.draw import Edge, Graph, Node, width

_SIGN: Final = 7.3
_SMALL: Final = 6.0
_HEIGHT: Final = 44
_GAP_X: Final = 110
_GAP_Y: Final = 16
_MARGIN: Final = 24
_COLUMNS: Final = 7
_LANE: Final = 70
_STYLE: Final = """
  text { font: 12px ui-monospace, Menlo, Consolas, monospace; fill: #1b1f24 }
  .note { font-size: 10px; fill: #57606a }
  .label { font-size: 10px; fill: #57606a; paint-order: stroke; stroke: #fff; stroke-width: 3px }
  .exchange { fill: #fff1d6; stroke: #b35900 } .queue { fill: #ddf4ff; stroke: #0969da }
  .ladder { fill: #eee5ff; stroke: #6639ba } .outside { fill: #f6f8fa; stroke: #57606a }
  .edge { fill: none; stroke: #57606a } .dashed { stroke-dasharray: 5 4 }
"""


class _Box(msgspec.Struct, frozen=True):
    x: float
    y: float
    wide: float

    @property
    def middle(self) -> float:
        return self.y + _HEIGHT / 2

    @property
    def right(self) -> float:
        return self.x + self.wide


def svg(picture: Graph, *, title: str) -> str:
    """The picture as one SVG document; ``title`` is what a screen reader says."""
    boxes = _layout(picture)
    across = max(box.right for box in boxes.values()) + _MARGIN
    down = max(box.y for box in boxes.values()) + _HEIGHT + _MARGIN
    size = f'width="{across:.0f}" height="{down:.0f}" viewBox="0 0 {across:.0f} {down:.0f}"'
    parts = (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label={quoteattr(title)}>',
        f"<title>{escape(title)}</title>",
        f"<style>{_STYLE}</style>",
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" '
        'markerHeight="7" orient="auto"><path d="M0 0 8 4 0 8z" fill="#57606a"/></marker></defs>',
        f'<rect width="{across:.0f}" height="{down:.0f}" fill="#fff"/>',
        *_drawn_edges(picture.edges, boxes),
        *(_drawn_box(node, boxes[node.id]) for node in picture.nodes),
        "</svg>",
    )
    return "\n".join(parts) + "\n"


def _layout(picture: Graph) -> Mapping[str, _Box]:
    """Columns from left to right, each centred below the lane of the top boxes."""
    stacks = [[n for n in picture.nodes if n.column == column] for column in range(_COLUMNS)]
    low = [[node for node in stack if not node.top] for stack in stacks]
    tallest = max(len(stack) for stack in low) * (_HEIGHT + _GAP_Y)
    boxes: dict[str, _Box] = {}
    x: float = _MARGIN
    for stack, below in zip(stacks, low, strict=True):
        if stack:
            wide = max(_wide(node) for node in stack)
            boxes |= {node.id: _Box(x, _MARGIN, wide) for node in stack if node.top}
            boxes |= _stacked(below, _Box(x, _MARGIN + _LANE, wide), tallest)
            x += wide + _GAP_X
    return boxes


def _stacked(nodes: Sequence[Node], first: _Box, tall: float) -> Mapping[str, _Box]:
    if not nodes:
        return {}
    step = min(tall / len(nodes), 3 * (_HEIGHT + _GAP_Y))
    top = first.y + (tall - step * len(nodes)) / 2 + (step - _HEIGHT) / 2
    return {
        node.id: _Box(first.x, top + place * step, first.wide) for place, node in enumerate(nodes)
    }


def _wide(node: Node) -> float:
    return max(width(node.label) * _SIGN, width(node.note) * _SMALL) + 20


def _drawn_box(node: Node, box: _Box) -> str:
    round_ = {"exchange": 20, "outside": 20, "queue": 3, "ladder": 3}[node.shape]
    middle = box.x + box.wide / 2
    label_y = box.middle + (-2 if node.note else 4)
    lines = [
        f'<rect class="{node.shape}" x="{box.x:.1f}" y="{box.y:.1f}" width="{box.wide:.1f}" '
        f'height="{_HEIGHT}" rx="{round_}"/>',
        f'<text x="{middle:.1f}" y="{label_y:.1f}" text-anchor="middle">'
        f"{escape(node.label)}</text>",
    ]
    if node.note:
        lines.append(
            f'<text class="note" x="{middle:.1f}" y="{box.middle + 13:.1f}" '
            f'text-anchor="middle">{escape(node.note)}</text>'
        )
    return "\n".join(lines)


def _drawn_edges(edges: Iterable[Edge], boxes: Mapping[str, _Box]) -> Iterable[str]:
    """All arrows, then all labels, so that no arrow runs through a text."""
    drawn = [edge for edge in edges if edge.start in boxes and edge.end in boxes]
    for edge in drawn:
        yield _arrow(edge, boxes[edge.start], boxes[edge.end])
    bundles = {(edge.end, edge.label): edge for edge in drawn if edge.label}
    for edge in bundles.values():
        yield _label(edge, boxes[edge.end])


def _arrow(edge: Edge, start: _Box, end: _Box) -> str:
    forward = end.x > start.x
    x1, x2 = (start.right, end.x) if forward else (start.x, end.right)
    bend = (x2 - x1) / 2
    kind = "edge dashed" if edge.dashed else "edge"
    return (
        f'<path class="{kind}" marker-end="url(#tip)" d="M{x1:.1f} {start.middle:.1f} '
        f"C{x1 + bend:.1f} {start.middle:.1f} {x2 - bend:.1f} {end.middle:.1f} "
        f'{x2:.1f} {end.middle:.1f}"/>'
    )


def _label(edge: Edge, end: _Box) -> str:
    x, y = end.x - 12, end.middle - 6
    return (
        f'<text class="label" x="{x:.1f}" y="{y:.1f}" text-anchor="end">{escape(edge.label)}</text>'
    )
