"""Hybrid quantum-classical recurrent networks on real dynamic circuits.

`program` says what circuit a sequence is, `compiling` fits it to a device, `simulate` computes it
exactly, `execution` runs shots, `estimation` turns bits into numbers with error bars, `learning`
closes the hybrid loop, `tasks` brings data, and `studies` is one module per user job.
"""
