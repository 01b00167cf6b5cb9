"""What decides: pure functions of facts, a release and a day; no file, net, clock or chance."""
