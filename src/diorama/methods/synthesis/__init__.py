"""Inputs made from nothing: pictures, rows and texts that a unit, a class or a code of a network asks for."""
