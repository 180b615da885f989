"""The wire's conformance suite, in parts; ``rabbitjobs.testing.conformance`` is the door."""
