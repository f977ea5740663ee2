"""Attacks computed by independent libraries, for tests, benchmarks and ``--attack-backend reference``."""

import os

# foolbox imports GitPython, which otherwise raises ImportError on a machine without git.
os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
