"""Whom we ask: each folder translates one system; none decides and none knows another."""
