"""Verdicts held against ground truth, and against one another: how good the judge is, and which of two is better.

Promises: copies of one line are not counted as evidence (intervals resample templates); what was left out is counted
and said; a figure that its rows cannot give is None, never a number.
"""
