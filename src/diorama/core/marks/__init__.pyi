# Made by `python -m diorama.core.typescript`; not edited by hand.

from .bars import Bars as Bars
from .blocks import Block as Block
from .blocks import Blocks as Blocks
from .blocks import Edge as Edge
from .field import Field as Field
from .group import Group as Group
from .heatmap import Heatmap as Heatmap
from .image import Box as Box
from .image import Image as Image
from .lines import Event as Event
from .lines import Lines as Lines
from .lines import Series as Series
from .mark import Array as Array
from .mark import Handle as Handle
from .mark import Mark as Mark
from .network import Network as Network
from .network import Vertex as Vertex
from .number import Action as Action
from .number import Number as Number
from .parallel import Parallel as Parallel
from .ridges import Ridges as Ridges
from .ridges import RidgeSet as RidgeSet
from .roll import Roll as Roll
from .scatter import Scatter as Scatter
from .table import Column as Column
from .table import Table as Table
from .text import Alternative as Alternative
from .text import Text as Text
from .tiles import Tiles as Tiles

Node = Bars | Blocks | Field | Group | Heatmap | Image | Lines | Network | Number | Parallel | Ridges | Roll | Scatter | Table | Text | Tiles
MARKS: dict[str, type[Mark]]
