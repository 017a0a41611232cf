"""To and from other programs: the authors' files, prompt embeddings, textual inversions, ComfyUI, the Hub."""
