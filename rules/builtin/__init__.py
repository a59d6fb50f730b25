"""The rules of policy.md, one a file. They import the public API of `rules` and never each other."""
