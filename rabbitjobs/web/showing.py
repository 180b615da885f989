"""How an error is shown: to programs as a problem document, to people as a page."""

from __future__ import annotations

from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from rabbitjobs.errors import RabbitJobsError
from rabbitjobs.web.faces import fault_page
from rabbitjobs.web.problems import Problem, plain_problem, problem_of, response_of


def show_error(request: Request, error: Exception) -> Response:
    """The response for an error of ours, or of HTTP itself."""
    headers = error.headers if isinstance(error, HTTPException) else None
    problem = _problem(error)
    if request.state.api:
        return response_of(problem, headers)
    text = problem.detail or HTTPStatus(problem.status).description
    if hasattr(request.state, "arrival"):
        response = fault_page(request, problem.title, text, problem.status)
    else:  # a page has links, and its host is just what cannot be believed
        response = PlainTextResponse(text, problem.status)
    response.headers.update(headers or {})
    return response


def _problem(error: Exception) -> Problem:
    if isinstance(error, RabbitJobsError):
        return problem_of(error)
    if isinstance(error, HTTPException):
        said = "" if error.detail == HTTPStatus(error.status_code).phrase else error.detail
        return plain_problem(error.status_code, said)
    return plain_problem(500, "It is in the log.")
