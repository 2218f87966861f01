"""A mesh: agents that may all hand over to each other, and a way to agree when their findings differ."""

from __future__ import annotations

import json
from collections import Counter
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from orchestrator.names import Name
from orchestrator.patterns.entry import PatternEntry
from orchestrator.patterns.moves import CoordinatorMove, Do, Done, GiveUp, JsonObject, Task
from orchestrator.patterns.progress import Finding, Progress

PROPOSE, VOTE, BREAK = "propose", "vote", "decide"


class Mesh(PatternEntry):
    """A group of peers. Each may transfer to any other; asked as a group, they propose and then agree.

    Every member proposes, in parallel and unaware of the others. If the proposals are the same, that is the
    result. If they differ, the members vote on them, or the tie breaker decides at once; a vote without a
    winner goes to the tie breaker, and without one to a person.
    """

    kind: Literal["mesh"] = "mesh"
    agents: Annotated[tuple[Name, ...], Field(min_length=2)]
    decide: Literal["vote", "tie-breaker"] = "vote"
    tie_breaker: Name | None = None

    @model_validator(mode="after")
    def _able_to_decide(self) -> Self:
        if len(set(self.agents)) != len(self.agents):
            raise ValueError("agents names an agent twice")
        if self.decide == "tie-breaker" and self.tie_breaker is None:
            raise ValueError("name the tie_breaker who decides")
        return self

    def members(self) -> tuple[Name, ...]:
        breaker = (self.tie_breaker,) if self.tie_breaker is not None else ()
        return tuple(dict.fromkeys((*self.agents, *breaker)))

    def peers(self) -> tuple[Name, ...]:
        return self.agents

    def next(self, progress: Progress) -> CoordinatorMove:
        """Propose; then agree, vote, or have it decided."""
        proposed = progress.of(f"{PROPOSE}-{agent}" for agent in self.agents)
        if len(proposed) < len(self.agents):
            return Do([self._ask(PROPOSE, agent, progress, {}) for agent in self.agents])
        proposals = _proposals([finding for finding in proposed if finding.ok])
        if not proposals:
            return GiveUp("no_proposal", "no member of the group made a proposal")
        if len(proposals) == 1:
            return self._agreed(0, "all agreed", proposals, proposed)
        if self.decide == "vote":
            return self._vote(progress, proposals, proposed)
        return self._break(progress, proposals, proposed)

    def _vote(
        self, progress: Progress, proposals: list[JsonObject], proposed: list[Finding]
    ) -> CoordinatorMove:
        votes = progress.of(f"{VOTE}-{agent}" for agent in self.agents)
        if len(votes) < len(self.agents):
            ballot = {
                "proposals": proposals,
                "answer_with": '{"choice": <number of a proposal>, "reason": ""}',
            }
            return Do([self._ask(VOTE, agent, progress, ballot) for agent in self.agents])
        counted = Counter(choice for vote in votes if (choice := _choice(vote, proposals)) is not None)
        ranked = counted.most_common(2)
        if ranked and (len(ranked) == 1 or ranked[0][1] > ranked[1][1]):
            reason = f"{ranked[0][1]} of {len(self.agents)} votes"
            return self._agreed(ranked[0][0], reason, proposals, proposed)
        return self._break(progress, proposals, proposed)

    def _break(
        self, progress: Progress, proposals: list[JsonObject], proposed: list[Finding]
    ) -> CoordinatorMove:
        if self.tie_breaker is None:
            return GiveUp(
                "no_agreement", "the members of the group do not agree", _output(None, proposals, proposed)
            )
        decided = progress.findings.get(f"{BREAK}-{self.tie_breaker}")
        if decided is None:
            ballot = {
                "proposals": proposals,
                "answer_with": '{"choice": <number of a proposal>, "reason": ""}',
            }
            return Do([self._ask(BREAK, self.tie_breaker, progress, ballot)])
        choice = _choice(decided, proposals)
        if choice is None:
            return GiveUp(
                "no_agreement",
                f"{self.tie_breaker} did not choose a proposal",
                _output(None, proposals, proposed),
            )
        return self._agreed(choice, f"{self.tie_breaker} decided", proposals, proposed)

    def _ask(self, step: str, agent: str, progress: Progress, facts: JsonObject) -> Task:
        told = {**progress.facts, **facts}
        return Task(f"{step}-{agent}", agent=agent, question=progress.request, facts=told)

    def _agreed(self, choice: int, reason: str, proposals: list[JsonObject], proposed: list[Finding]) -> Done:
        chosen = proposals[choice]["proposal"]
        text = chosen if isinstance(chosen, str) else json.dumps(chosen, ensure_ascii=False)
        return Done(text, {**_output(choice, proposals, proposed), "reason": reason})


def _proposals(findings: list[Finding]) -> list[JsonObject]:
    """The different proposals, with who made each; an answer's `proposal` field counts, else all of it."""
    different: dict[str, JsonObject] = {}
    for finding in findings:
        result = finding.result
        proposal = result["proposal"] if isinstance(result, dict) and "proposal" in result else result
        entry = different.setdefault(_key(proposal), {"number": 0, "proposal": proposal, "by": []})
        entry["by"].append(finding.content.get("agent"))
    return [{**entry, "number": number} for number, entry in enumerate(different.values(), 1)]


def _key(proposal: Any) -> str:
    if isinstance(proposal, str):
        return " ".join(proposal.casefold().split()).rstrip(".")
    return json.dumps(proposal, sort_keys=True)


def _choice(vote: Finding, proposals: list[JsonObject]) -> int | None:
    """Which proposal was chosen, counted from 0."""
    result = vote.result
    number = result.get("choice") if isinstance(result, dict) else result
    if isinstance(number, str) and number.strip().isdecimal():
        number = int(number)
    if not vote.ok or not isinstance(number, int) or not 1 <= number <= len(proposals):
        return None
    return number - 1


def _output(choice: int | None, proposals: list[JsonObject], proposed: list[Finding]) -> JsonObject:
    return {
        "decision": None if choice is None else proposals[choice]["proposal"],
        "proposals": proposals,
        "failed": [finding.to_json() for finding in proposed if not finding.ok],
        "total": len(proposed),
    }
