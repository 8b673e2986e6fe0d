"""From a trained model to translations: beam search, and the batches and streams of sentences around it."""
