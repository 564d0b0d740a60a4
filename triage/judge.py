"""Act three in full: a question to the models of a run.

Promises: a template is asked once, however often it comes up; the worst of a question's framings counts, so that a line
can raise its own verdict and never lower it; where a cascade's first model is unsure the second one's word stands.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import replace
from typing import Final

from triage.engine import explain as explain_pass
from triage.engine import label as label_pass
from triage.engine import prompt as prompts
from triage.engine.generate import Engine
from triage.records import Answer, Explanation, Judgement, Question, Usage
from triage.run import Run
from triage.verdicts import validate

Shared = MutableMapping[str, "asyncio.Task[Answer]"]
"""The questions that an engine was asked in a run, by template, answered or in flight."""
MOST_SHARED: Final = 1_000_000  # of about a kilobyte; the oldest is forgotten, and asked again where it comes up again


Asked = tuple[prompts.Prompt, Engine]
"""A model as a stage of the run asks it."""


async def judge(
    run: Run,
    questions: Sequence[Question],
    prompt: prompts.Prompt,
    engine: Engine,
    shared: Shared | None = None,
    second: Asked | None = None,
) -> Judgement:
    """Act three: an answer to every question, all in flight at once; from the `second` model of a cascade where the
    first is unsure. What is in `shared` is not asked again. Raises EngineLost."""
    started = time.monotonic()
    shared = {} if shared is None else shared
    fresh = {question.template_id for question in questions if question.template_id not in shared}
    for question in questions:
        if question.template_id in fresh:
            shared[question.template_id] = asyncio.create_task(_answer(run, question, (prompt, engine), second))
    answers = await asyncio.gather(*(shared[question.template_id] for question in questions))
    while len(shared) > MOST_SHARED:
        del shared[next(iter(shared))]
    return Judgement(
        tuple(answer if answer.template_id in fresh else replace(answer, usage=Usage(), asked=0) for answer in answers),
        time.monotonic() - started,
    )


async def _answer(run: Run, question: Question, first: Asked, second: Asked | None) -> Answer:
    stage, (prompt, engine) = 0, first
    labelled = await _label(run, question, first)
    first_said, sampled = None, False
    cascade = run.job.cascade
    if second and cascade and labelled.probabilities is not None:
        p = run.stages[0].calibrated(labelled.probabilities)
        unsure = validate.margin(p) < cascade.below
        sampled = not unsure and cascade_sample(question.template_id, cascade.sample)
        if unsure or sampled:
            other = await _label(run, question, second)
            first_said = validate.disposition(p, run.thresholds)
            usage, asked = labelled.usage + other.usage, labelled.asked + other.asked
            # What the larger model cannot answer stays as the smaller one had it.
            if other.probabilities is not None:
                stage, (prompt, engine), labelled = 1, second, other
            labelled = replace(labelled, usage=usage, asked=asked)
    if labelled.probabilities is None:
        return Answer(question.template_id, None, labelled.reason, None, labelled.usage, labelled.asked)
    said = validate.disposition(run.stages[stage].calibrated(labelled.probabilities), run.thresholds)
    told: Explanation | None = None
    usage = labelled.usage
    if said != "benign" and run.job.judge.explain:
        completion = await explain_pass.explain(labelled.window, said, prompt, engine)
        told = validate.explanation(completion.text, finished=completion.finished)
        usage = usage + completion.usage
    return Answer(
        question.template_id,
        labelled.probabilities,
        None,
        told,
        usage,
        labelled.asked,
        stage=stage,
        first_said=first_said,
        sampled=sampled,
    )


async def _label(run: Run, question: Question, asked: Asked) -> label_pass.Labelled:
    """The label of a question's text and of its framings, of which the worst counts: what a line says to its reader
    may raise its verdict and never lowers it. No answer to any of them is no answer."""
    prompt, engine = asked
    told = await asyncio.gather(
        *(
            label_pass.label(text, prompt, engine, max_windows=run.job.judge.max_windows)
            for text in (question.text, *question.framings)
        )
    )
    usage, count = sum((one.usage for one in told), Usage()), sum(one.asked for one in told)
    worst = told[0]
    for one in told:
        if one.probabilities is None:
            worst = one
            break
        if label_pass.urgency(one.probabilities) > label_pass.urgency(worst.probabilities or {}):
            worst = one
    return replace(worst, usage=usage, asked=count)


def cascade_sample(template_id: str, share: float) -> bool:
    """Whether a question that the first model is sure of is drawn: by its template alone, so that it is the same
    tomorrow."""
    return int(template_id[-8:], 16) < share * 16**8


def agreement(
    fresh: Sequence[Answer], calibrated: Mapping[str, Answer], thresholds: validate.Thresholds
) -> dict[str, int]:
    """How often the second model was asked in this caseload, and how often it said what the first had said."""
    counts = dict.fromkeys(("asked_second", "agreed", "sampled", "sampled_agreed"), 0)
    for answer in fresh:
        if answer.asked == 0 or answer.first_said is None:
            continue
        p = calibrated[answer.template_id].probabilities
        agreed = p is not None and validate.disposition(p, thresholds) == answer.first_said
        counts["sampled" if answer.sampled else "asked_second"] += 1
        counts["sampled_agreed" if answer.sampled else "agreed"] += agreed
    return counts
