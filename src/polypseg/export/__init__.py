"""From a run to one self-describing model file, proved equal to its source."""
