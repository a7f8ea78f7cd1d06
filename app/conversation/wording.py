"""What a reply says, word for word, while it is being made: fillers, the model's text, and what of it is withdrawn."""


class Wording:
    """One reply's text. It may begin with a preface: fillers that sound before the voice has anything to say."""

    def __init__(self) -> None:
        self.text = ""
        """All of it so far, preface included."""
        self.preface = ""
        self.carried_on = False
        """It began elsewhere, and nothing can be put before it any more."""
        self._told = 0  # so much of the text came before the tools that were called last

    def carry_on(self, heard: str, before_tools: str) -> None:
        """The reply was begun by another process: so much was heard of it, and so much said before its tools."""
        self.text, self.carried_on = f"{heard} " if heard else "", bool(heard)
        self._told = len(before_tools) + 1 if before_tools else 0

    def add(self, text: str) -> None:
        """The model goes on."""
        self.text += text

    def withdraw(self, characters: int) -> None:
        """So many at the end count no more."""
        self.text = self.text[: len(self.text) - characters]

    def part(self) -> None:
        """What follows is not the same word."""
        self.text = f"{self.text.rstrip()} " if self.text else ""

    def since_tools(self) -> str:
        """What was said since the tools were called that were called last; now others are."""
        said = self.text[self._told :].strip()
        self._told = len(self.text)
        return said

    def put_before(self, filler: str) -> None:
        """A filler sounds before the rest begins."""
        filler, rest = f"{filler} ", self.text[len(self.preface) :]
        self.preface += filler
        self.text = self.preface + rest
        if self._told:
            self._told += len(filler)

    def put_between(self, filler: str) -> str:
        """A filler is said in the middle; answers it as the voice is to say it."""
        self.part()
        self.text += f"{filler} "
        return f"{filler} "

    def drop_preface(self) -> None:
        """Nobody heard it: it was never said."""
        self.text = self.text[len(self.preface) :]
        self._told = max(0, self._told - len(self.preface))
        self.preface = ""
