"""How far a map is to be believed: measures of one map against the model that it explains."""
