"""Attacks computed by other libraries, as rows of the leaderboard: ``foolbox:LinfPGD(steps=50)``.

``names`` parses the name, ``tables_…`` list the attacks of each library with their traits, ``entry`` makes the registry
entry, ``check`` compares the parameters with the installed library, and ``call`` runs the attack through the adapter of
its library. Only the last two import the library.
"""

import os

# foolbox imports GitPython, which otherwise raises ImportError on a machine without git.
os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
