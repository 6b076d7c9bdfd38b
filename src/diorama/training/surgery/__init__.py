"""Another shape for a network while it trains: what hangs on a layer's units, and how they are added and removed."""
