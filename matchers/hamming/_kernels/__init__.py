"""The numba kernels of the exact radius search; each file is one step. numpy and numba only.

permute   bits of a code put in a fixed random order, codes kept in blocks of eight
tables    16 tables in compressed sparse rows: starts, fingerprints, packed row numbers
probe     one query after the other looks its buckets up: few queries
sweep     one bucket after the other meets the queries that ask for it: many queries
brute     every code: small sets, wide radii, hostile queries
lanes     the vector instructions that the others share
"""
