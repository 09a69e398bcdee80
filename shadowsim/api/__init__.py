"""HTTP on 127.0.0.1 to test traffic, and a session's file to its answers.

`server` and `app` need the extra `shadowsim[api]`; the rest needs nothing.
"""
