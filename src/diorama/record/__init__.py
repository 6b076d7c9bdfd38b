"""What a run keeps: signals, snapshots and the probe set; and what a person may ask of a running training."""
