"""Rules as the tests of routing write them."""


def says(text, **rule):
    """A rule that answers by itself."""
    return {**rule, "respond": {"body": text}}


def failing(times, then=None, how=lambda call: call.answer(503)):
    """The first `times` requests fail; it keeps what each of them brought."""
    count = []

    def script(call):
        call.read_body()
        count.append(call.seen.body_length)
        if len(count) <= times:
            how(call)
            return False
        call.answer(body=f"try {len(count)}".encode())
        return call.keep

    return script
