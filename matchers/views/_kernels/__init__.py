"""The numba kernels of the query views; each file is one step. numpy and numba only.

grey      pixels made grey, and smaller where they are many
trim      where bars, frames and blurred fills end
planes    a region as 64 x 64 cells, and turned a little
project   cells to the codes of many crops at once
fit       a crop box fitted to one candidate
"""
