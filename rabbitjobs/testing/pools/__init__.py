"""The conformance suite of pools; ``rabbitjobs.testing.pool_conformance`` puts it together."""
