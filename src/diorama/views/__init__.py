"""What the page shows: one view a file; the folders are the rooms of the page."""
