"""The contest: ours, the peers, raw clients and C, interleaved on one private broker."""
