"""What belongs together: clusters of rows, orders of a matrix that show its structure, bi-clusters of signed strengths."""

from .biclusters import Blocked, biclusters
from .clusters import Clustered, clusters, matched
from .regions import modularity, regions
from .seriation import ORDERS, ordered

__all__ = ["ORDERS", "Blocked", "Clustered", "biclusters", "clusters", "matched", "modularity", "ordered", "regions"]
