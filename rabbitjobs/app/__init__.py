"""The app and its composition: the only room where the parts meet."""

from rabbitjobs.app.application import RabbitJobs

__all__ = ["RabbitJobs"]
