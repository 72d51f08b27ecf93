"""The built-in job `finviz` (fundamentals of listed companies), and a replica of its site with made-up figures."""
