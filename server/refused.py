"""What ends a command with a sentence instead of a traceback. Light, since every command waits for its import."""


class Refused(Exception):
    """It cannot start; the message is one sentence that says what to do."""
