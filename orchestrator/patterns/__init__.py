"""Ways for agents to work together, each a coordinator whose turns are code instead of a model's.

A coordinator is an agent of the team file with a `pattern`. Its turn is a pure function of what was asked
and what came back so far, so the one loop runs it like any other agent: its turns are steps of the run, its
tasks are the run's calls, and limits, deadline, restart and cancelling are those of every run.
"""
