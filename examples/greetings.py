"""Two jobs, a plain function and a coroutine: what the other examples send.

From the root of the clone: rabbitjobs --app examples.greetings:app dev
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from rabbitjobs import RabbitJobs

CONFIG = Path(__file__).with_name("greetings_config")
app = RabbitJobs("greetings", config=CONFIG, apply=True)


@app.job()
def greet(name: str) -> str:
    """Runs in a thread of the worker."""
    return f"hello {name}"


@app.job()
async def add(left: int, right: int) -> int:
    """Runs on the worker's event loop."""
    await asyncio.sleep(0)
    return left + right
