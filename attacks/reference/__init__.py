"""Attacks computed by independent libraries, for tests, benchmarks and ``--attack-backend reference``."""
