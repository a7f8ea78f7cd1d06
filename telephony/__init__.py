"""Carries sound: carriers, legs, pacing, playout. Knows no web framework, no provider and no policy."""
