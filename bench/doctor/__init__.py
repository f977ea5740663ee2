"""Checks of the installation and of the machine, for ``bench doctor``.

The modules import the standard library only, so that they also work beside a broken library. Libraries are imported in
a process of their own (:mod:`bench.doctor.probe`).
"""
