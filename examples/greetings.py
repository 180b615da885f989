"""Two jobs, a plain function and a coroutine: what the other examples send.

rabbitjobs --app examples.greetings:app dev
"""

from __future__ import annotations

import asyncio

from rabbitjobs import RabbitJobs

app = RabbitJobs("greetings", apply=True)


@app.job()
def greet(name: str) -> str:
    """Runs in a thread of the worker."""
    return f"hello {name}"


@app.job()
async def add(left: int, right: int) -> int:
    """Runs on the worker's event loop."""
    await asyncio.sleep(0)
    return left + right
