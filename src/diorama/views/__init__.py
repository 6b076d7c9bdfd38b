"""What the page shows: one view a file; the folders are the rooms of the page."""

from ..core import registry

registry.views.stand_for(__name__)
