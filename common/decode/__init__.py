"""From a trained model to translations: beam search, and the stream of sentences around it."""
