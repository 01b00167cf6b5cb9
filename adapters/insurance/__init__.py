"""Translate the insurer's wire (NHSA 3101, 3102, 3103) to facts and decisions to its answers."""
