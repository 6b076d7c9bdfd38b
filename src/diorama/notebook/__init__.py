"""Pictures in notebooks: live, and linked to each other."""
