"""Ids that mean the same in every vocabulary and every model.

Both papers feed the target shifted right by one, and in both authors' code the first fed-back word is the
zero vector rather than a start symbol: GroundHog `Decoder.build_decoder` (first readout row is zero) and
tensor2tensor v1.0 (the shift comes after the embedding). Hence START, an id below every word, which a model
embeds as zero; no vocabulary row is spent on it.
"""

START = -1
"""The word before the first: embedded as the zero vector."""
EOS = 0
"""Ends every source and target; also fills padding, which masks keep unread (GroundHog `create_padded_batch`)."""
UNK = 1
"""Any word outside the vocabulary."""
