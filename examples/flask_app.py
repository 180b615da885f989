"""Flask, and pre-forking gunicorn: the app may be made before the fork, and used before it too.

gunicorn --preload --workers 2 examples.flask_app:web
"""

from __future__ import annotations

import os

from flask import Flask

from examples.greetings import app, greet

web = Flask(__name__)


@web.post("/greetings/<name>")
def start(name: str) -> tuple[dict[str, str | int], int]:
    """Answer as soon as the broker has confirmed the job, and say which process sent it."""
    return {"id": greet.send(name).id, "pid": os.getpid()}, 202


@web.get("/greetings/<job_id>")
def wait(job_id: str) -> dict[str, str]:
    """Wait for a job's result."""
    return {"greeting": app.handle(job_id).result(timeout=30)}
