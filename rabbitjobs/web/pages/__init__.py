"""The pages of the review desk: plain HTML that works without scripts. The desk has the rules."""

from rabbitjobs.web.pages.routing import routes

__all__ = ["routes"]
