"""What any sequence-to-sequence paper shares: data, training loop, beam search, evaluation. Knows no paper."""
