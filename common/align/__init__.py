"""Attention as word alignment: beside a statistical aligner, and to find the source word of an unknown one."""
