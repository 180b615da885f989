"""A plan declared on the broker in memory works as one applied to RabbitMQ."""

from __future__ import annotations

from rabbitjobs.testing.memory import effective_arguments
from rabbitjobs.topology.plan import Policy, Queue


def test_a_policy_adds_to_the_arguments_and_the_lower_limit_wins() -> None:
    queue = Queue(
        name="shop.q.emails", role="work", arguments={"x-max-length": 5, "x-overflow": "kept"}
    )
    policies = [
        Policy(name="other", pattern="^shop.q.other$", definition={"delivery-limit": 1}),
        Policy(
            name="own",
            pattern="^shop\\.q\\.emails$",
            definition={"max-length": 3, "delivery-limit": 20, "overflow": "drop-head"},
        ),
        Policy(name="weak", pattern="^shop", definition={"delivery-limit": 2}, priority=1),
    ]
    assert effective_arguments(queue, policies) == {
        "x-max-length": 3,
        "x-overflow": "kept",
        "x-delivery-limit": 20,
    }
