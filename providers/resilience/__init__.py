"""What happens when a vendor fails: several providers of a kind as one, that goes on where the failed one stopped.

A *chain* is itself a `LanguageModel` or `TextToSpeech`, so nobody else in the house knows how many there are. Its
members stand in a `Roster`, each behind the breaker that all calls of the process share; each stream of a chain is a
`Race` of attempts, nearly always of one. A single provider makes a chain, too: it is what has deadlines and retries.

    Roster ── who is to be asked, in which order        CircuitBreaker ── is he fit to be asked
    Race ──── who produces first; when to ask the next  Deadlines, Backoff ── how long, how soon
"""
