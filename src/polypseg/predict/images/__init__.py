"""Images in, masks out: sources, files, tables, and the way back after a kill."""
