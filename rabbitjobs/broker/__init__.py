"""Private RabbitMQ nodes: find a server on this machine, start it, stop it, break it."""

from rabbitjobs.broker.node import Node
from rabbitjobs.broker.state import running_url

__all__ = ["Node", "running_url"]
