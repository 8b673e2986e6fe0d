"""Token ids that mean the same in every vocabulary and every model.

Both papers feed the target shifted right by one. In both authors' code the first input is the zero vector and not a
start symbol: GroundHog `Decoder.build_decoder` (the first readout row is zero) and tensor2tensor v1.0 (the shift
comes after the embedding). So START is an id below every token. A model embeds it as zero, and it needs no
vocabulary row.
"""

START = -1
"""The token before the first target token. It is embedded as the zero vector."""
EOS = 0
"""The last token of every source and target. Also the filling of padding, which masks hide (GroundHog
`create_padded_batch`)."""
UNK = 1
"""Any token outside the vocabulary."""
