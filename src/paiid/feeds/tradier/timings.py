"""How long the feed waits for what, and how often it asks, in seconds."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StreamTimings:
    """All in seconds; the defaults fit a budget of 60 requests a minute."""

    first_pause_s: float = 0.5
    longest_pause_s: float = 30.0
    crowded_pause_s: float = 10.0
    """At least, where another session may still hold our only place; growing up to `slow_pause_s`."""
    moment_s: float = 1.0
    """Where that session was our own, just closed."""
    slow_pause_s: float = 60.0
    """Where asking again will not help before somebody has done something."""
    stable_s: float = 60.0
    """A connection that has held this long begins again with the first pause."""
    reply_s: float = 3.0
    ping_s: float = 1.5
    silence_s: float = 1.8
    """Without a pong or anything else for this long, a connection that has answered pings before is given up."""
    proof_s: float = 2.5
    """How often REST is asked for a sign of life where the stream gives none: by HTTP, or where pings are not answered."""
    confirm_s: float = 12.0
    """A symbol that the stream has not told for this long is asked for, so that its quote is known to be the newest."""
    polled_s: float = 5.0
    """How often symbols are asked for that are not on the stream."""
    close_s: float = 20.0
    """How often a previous close is asked for that is not told yet."""
    round_s: float = 3.0
    """At least between two rounds of asking for what is not new: many symbols grow due one after the other."""
    look_s: float = 0.5
    """How often to look for what has to be asked."""
    poll_s: float = 2.5
    """How often all are asked for where nothing is streamed."""
    settle_s: float = 0.2
    """How long what is followed may still change before the stream is told."""
    session_s: float = 270.0
    """A session's id is good for five minutes (tradier.md, section 9.1); after this its set of symbols stays as it is."""
    renew_s: float = 30.0
    """At least between two sessions for the sake of symbols that are new."""
    tidy_s: float = 900.0
    """After this a session is replaced for the sake of symbols that nobody follows any more."""
    mute_s: float = 30.0
    """During the regular session a quiet symbol is told again about every 20 s (section 9.4): where nothing comes for so long, REST is
    asked what was missed; for twice as long, there is another connection."""
    longest_mute_s: float = 600.0
    """Where another connection does not help, and REST has nothing newer either, it is believed to be quiet for up to so long."""
    night_s: float = 6 * 3600.0
    longest_s: float = 20 * 3600.0
    """Streams fall silent after about a day without an error (section 9.4): a connection of this age is replaced, outside of
    extended hours one of `night_s`."""
