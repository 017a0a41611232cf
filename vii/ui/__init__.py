"""A page in the browser: learn, apply, and the library. Behind `vii ui`; needs the extra `ui`.

What the pages do stands in plain functions (`learning`, `applying`, `shelf`, `uploads`), `jobs` runs one job at a
time, `guard` and `bodies` refuse what the page itself never sends, and only `parts`, `app`, the three `*_page` modules
and `server` know gradio.
"""
