"""Attribution methods by name, and beside them projections, groupings, perturbations: one method a file."""

from ..core import registry

registry.methods.stand_for(__name__)
