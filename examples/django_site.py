"""Django in one file: send from a view. `python -m examples.django_site runserver`"""

from __future__ import annotations

import sys

import django
from django.conf import settings
from django.core.management import execute_from_command_line
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, JsonResponse
from django.urls import path

from examples.greetings import app, greet

settings.configure(
    ALLOWED_HOSTS=["localhost", "127.0.0.1", "testserver"],
    ROOT_URLCONF=__name__,
    SECRET_KEY="only for this example",
)
django.setup()


def start(request: HttpRequest, name: str) -> JsonResponse:
    """Answer as soon as the broker has confirmed the job."""
    return JsonResponse({"id": greet.send(name).id}, status=202)


async def wait(request: HttpRequest, job_id: str) -> JsonResponse:
    """Wait for a job's result, in an async view."""
    return JsonResponse({"greeting": await app.handle(job_id).aresult(timeout=30)})


urlpatterns = [path("greetings/<str:name>", start), path("results/<str:job_id>", wait)]
application = get_wsgi_application()

if __name__ == "__main__":
    execute_from_command_line(sys.argv)
