"""The tests: real databases, real sockets, no network beyond loopback."""
