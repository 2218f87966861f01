"""All sentences of a message together: what one of them says about the others."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from orchestrator.models.offline import stance
from orchestrator.models.offline.sentences import Sentence
from orchestrator.models.offline.settlement import is_settled
from orchestrator.models.offline.tables import word_set


@dataclass
class Message:
    """The sentences, with their concepts marked."""

    sentences: list[Sentence]

    def finds(self, cues: str) -> bool:
        """Whether any sentence has one of the cues, beside those that say what to do if all else fails."""
        return any(
            stance.finds(cues, sentence)
            for sentence in self.sentences
            if not stance.finds("only_if_you_fail", sentence)
        )

    @cached_property
    def is_settled(self) -> bool:
        return is_settled(self.sentences)

    @cached_property
    def claims(self) -> bool:
        """Whether something is to be put right, wherever that is said."""
        return not self.declines_refund and self.finds("claiming")

    @cached_property
    def complains(self) -> bool:
        """Whether something is said to be wrong, with or without a wish."""
        return self.claims or self.finds("complaining_of")

    @cached_property
    def declines_refund(self) -> bool:
        return self.finds("no_refund")

    @cached_property
    def is_doubtful(self) -> bool:
        """Whether something speaks against refunding at once what is told as a double charge."""
        return self.finds("doubts")

    @cached_property
    def is_fine_again(self) -> bool:
        """Whether what did not work works again."""
        return any(_says_fine_again(sentence) for sentence in self.sentences)


def _says_fine_again(sentence: Sentence) -> bool:
    if sentence.is_question or word_set("elsewhere") & set(sentence.words()):
        return False
    places = sentence.concepts.get("fine_again", ())
    # "to make it work again" and "it will not go away" say that it does not.
    return any(not {"to", "not", "never"} & set(sentence.words(max(0, at - 1), at)) for at, _ in places)
