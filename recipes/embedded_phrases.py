"""Write the phrases that the embedded editor retrieves starting texts from: instructions of random synthetic edits.

Run it with `python recipes/embedded_phrases.py`.
"""

from pathlib import Path

from vii.synthetic import phrases

COUNT = 1400

if __name__ == "__main__":
    path = Path(__file__).parents[1] / "vii/editors/embedded/phrases.txt"
    path.write_text("\n".join(phrases(COUNT)) + "\n")
