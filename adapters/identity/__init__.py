"""Know who calls: verify tokens, sign people in, issue tokens; the protocols are well-kept libraries'."""
