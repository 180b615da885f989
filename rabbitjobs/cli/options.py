"""What every command gets: the app, the settings, the topology, as the options name them."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rabbitjobs import settings as configuration

if TYPE_CHECKING:
    from rabbitjobs.app import RabbitJobs
    from rabbitjobs.topology.model import TopologySpec

# How a command hands --url on to the processes that it starts.
URL_VARIABLE = "RABBITJOBS_CLI_URL"


@dataclass
class CliContext:
    """The root's options and what follows from them."""

    app_name: str | None = None
    config: Path | None = None
    url: str | None = field(default=None, repr=False)
    log_level: str = "info"
    log_format: Literal["auto", "console", "json"] = "auto"

    def log(self) -> None:
        """Configure logging: for commands that run something, not for those that print."""
        from rabbitjobs.monitor.logs import configure

        configure(self.log_level, self.log_format)

    def settings(self) -> configuration.Settings:
        """The configuration, without any app code."""
        return self._settings

    @cached_property
    def _settings(self) -> configuration.Settings:
        return configuration.load(self.config)

    def app(self, *, needed: bool = False) -> RabbitJobs:
        """The app with its code; without one, unless ``needed``, an app that knows no jobs.

        Raises ``AppNotFound``, and ``ConfigError`` where code and config do not fit.
        """
        return self._needed if needed else self._app

    @cached_property
    def _needed(self) -> RabbitJobs:
        from rabbitjobs.app.finding import find_app, include

        app = find_app(self.app_name, configured=self.settings().app)
        app.override(config=self.config, url=self.url)
        include(app.settings.include)
        return app

    @cached_property
    def _app(self) -> RabbitJobs:
        from rabbitjobs.app import RabbitJobs
        from rabbitjobs.app.finding import named_app

        if named_app(self.app_name, self.settings().app):
            return self._needed
        return RabbitJobs(config=self.config, url=self.url)

    def spec(self) -> TopologySpec:
        """The topology of the config; without one, that which follows from the app's jobs."""
        return self.settings().topology or self.app().spec

    def broker_url(self) -> str:
        """The URL of the broker that the command is about."""
        if self.url or not self.settings().broker_url:
            return self.app().url
        url = self.settings().broker_url
        assert url is not None
        return self.settings().broker_files.into(url.reveal())

    def command(self) -> tuple[str, ...]:
        """This command line with its root options, for processes that are started from here.

        The URL is not among them: it would show the password in ``ps``; it goes by environment.
        """
        parts = [sys.executable, "-m", "rabbitjobs"]
        for option, value in (("--app", self.app_name), ("--config", self.config)):
            if value is not None:
                parts += [option, str(value)]
        if self.url is not None:
            os.environ[URL_VARIABLE] = self.url
        return (*parts, "--log-level", self.log_level, "--log-format", self.log_format)

    def management_url(self) -> str | None:
        """The configured management URL, if there is one."""
        url = self.settings().management_url
        return url.reveal() if url else None
