"""The whole matrix: every module of rows, in the order in which they are played."""

from __future__ import annotations

from tests.faults import (
    rows_broker,
    rows_cluster,
    rows_composite,
    rows_desk,
    rows_messages,
    rows_network,
    rows_pools,
    rows_processes,
    rows_store,
)
from tests.faults.row import ROWS

# Importing a module adds its rows; this is their order.
PARTS = (
    rows_processes,
    rows_pools,
    rows_broker,
    rows_network,
    rows_messages,
    rows_store,
    rows_desk,
    rows_cluster,
    rows_composite,
)
MATRIX = {
    name: row
    for part in PARTS
    for name, row in ROWS.items()
    if row.play.__module__ == part.__name__
}
