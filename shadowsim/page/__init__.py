"""A run, as it goes or from its folder, to a page in a browser where a person sees it and answers.

`view` and `past` decide what is seen; `board` and `routes` bring it to the browser, and need the
extra `shadowsim[api]`.
"""
