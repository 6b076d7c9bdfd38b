"""The page's server: routes, the guard in front of them, and one socket."""
