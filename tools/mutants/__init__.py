"""Mutation testing on a fixed sample: `python -m tools.mutants`.

mutmut and cosmic-ray mutate everything and run one command for each mutant. Here a mutant meets only the
tests whose coverage reaches its line, processes that tests start included; the sample is fixed by a seed; and
the same mutants can be run against two versions of the tests.
"""
