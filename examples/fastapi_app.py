"""FastAPI: send from a coroutine with `asend`. `uvicorn examples.fastapi_app:web`"""

from __future__ import annotations

from fastapi import FastAPI, HTTPException

from examples.greetings import app, greet
from rabbitjobs import Status
from rabbitjobs.errors import SendUnknown

web = FastAPI()


@web.post("/greetings/{name}", status_code=202)
async def start(name: str) -> dict[str, str]:
    """Answer as soon as the broker has confirmed the job."""
    try:
        handle = await greet.asend(name)
    except SendUnknown as error:
        # It may be stored: the client may ask again, under the same id.
        raise HTTPException(503, f"try again with id {error.job_id}") from error
    return {"id": handle.id}


@web.get("/greetings/{job_id}")
async def look(job_id: str) -> dict[str, str | None]:
    """Say where a job stands, and what it returned."""
    handle = app.handle(job_id)
    status = await handle.astatus()
    done = status is Status.SUCCEEDED
    return {"status": status.value, "greeting": await handle.aresult() if done else None}
