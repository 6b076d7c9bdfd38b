"""What belongs together: clusters of rows, non-negative parts, orders of a matrix that show its structure, bi-clusters of signed strengths."""

from .biclusters import BlockGroups, biclusters
from .clusters import Clustering, clusters, matched
from .factors import GroupedFactors, factored
from .regions import modularity, regions
from .seriation import ORDERS, ordered

__all__ = [
    "ORDERS", "BlockGroups", "Clustering", "GroupedFactors", "biclusters", "clusters", "factored", "matched", "modularity", "ordered", "regions",
]
