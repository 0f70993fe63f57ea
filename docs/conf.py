"""How Sphinx builds these pages: `make docs`, without a network, every warning an error."""

project = "Millrace"
copyright = "Millrace's authors, Apache-2.0"
extensions = ["myst_parser"]
html_theme = "furo"
html_title = "Millrace"
html_show_sphinx = False
exclude_patterns = ["service/*"]
myst_heading_anchors = 3
nitpicky = True
