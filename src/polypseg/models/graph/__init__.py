"""The graph of a Keras functional model as a picture: `draw_model`.

trace.py lists the model's calls, blocks.py gathers them into blocks and attention gates, layout.py places
the blocks, paint.py draws them, draw.py writes the files (through Graphviz where it is installed).
"""

from polypseg.models.graph.draw import draw_model

__all__ = ["draw_model"]
