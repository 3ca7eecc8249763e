"""Figures and the HTML page. Takes plain arrays and tables; knows no store and no stage."""
