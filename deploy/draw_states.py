"""Draw the state machine into docs/states.md, from its table: ``python -m deploy.draw_states``."""

from pathlib import Path

from app.conversation.state import diagram

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "states.md"


def main() -> None:
    """Replace the drawing between the fences; the text around it stays."""
    before, fence, rest = DOCUMENT.read_text(encoding="utf-8").partition("```mermaid\n")
    after = rest.partition("```")[2]
    DOCUMENT.write_text(f"{before}{fence}{diagram()}```{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
