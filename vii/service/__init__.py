"""An editor that stays loaded and answers over HTTP: photos in, pictures out, as `vii apply` writes them."""
