"""Promises, tried by breaking things: processes killed, answers lost, databases stopped."""
