"""The pilot report: one HTML page from the findings, for who runs the plant as much as for who runs the cluster.

Owns its words and layout. Pure and self-contained: no script, no address but this page's own; every figure is one that the demo measured.
"""

from collections.abc import Sequence
from html import escape
from typing import Final

from demo import plots
from demo.findings import Drift, Findings, Outcome, Retrain, Rollout
from demo.story import Chapter

_STYLE: Final = """
:root{color-scheme:light}
*{box-sizing:border-box}
body{font:14px/1.45 system-ui,"Segoe UI","DejaVu Sans",sans-serif;color:#22303c;background:#fff;margin:0 auto;max-width:960px;padding:20px}
h1{font-size:22px;margin:0}
h2{font-size:15px;margin:20px 0 6px;border-bottom:1px solid #d5dbe1;padding-bottom:3px}
h3{font-size:13px;margin:0 0 2px}
p{margin:4px 0}
.lead{font-size:15px;margin:8px 0 12px}
.tiles{display:grid;grid-template-columns:repeat(6,1fr);gap:8px}
.tile{border:1px solid #d5dbe1;border-radius:6px;padding:8px}
.tile b{display:block;font-size:22px;line-height:1.2}
.tile span{font-size:11.5px;color:#51606e;line-height:1.3;display:block}
.four{display:grid;grid-template-columns:repeat(4,1fr);gap:12px}
.three{display:grid;grid-template-columns:repeat(3,1fr);gap:12px}
.small{font-size:12px;color:#51606e}
.good{color:#1e7e45}.bad{color:#b03a2e}
svg{width:100%;height:auto;display:block}
table{border-collapse:collapse;width:100%;font-size:12px}
th,td{text-align:left;padding:3px 8px 3px 0;border-bottom:1px solid #e6eaee;vertical-align:top}
code{font-size:11.5px}
.key{display:inline-block;width:10px;height:10px;margin:0 4px 0 10px;vertical-align:-1px}
@media screen and (max-width:760px){.tiles,.three{grid-template-columns:repeat(2,1fr)}.four{grid-template-columns:repeat(2,1fr)}}
@media print{@page{size:A4;margin:8mm}body{padding:0;zoom:.72}}
"""


_READING: Final = """
A new model first gets a fifth of the requests. If it fails one, the old model answers that request, so users do not notice.
<b>Harm</b>: a bet that the new model fails more often; full at 100 to 1, which an equally good model reaches in at most 1 of 100 rollouts,
however often one looks. <b>No harm</b>: a bet that it does not; full at 20 to 1, which a harmful model reaches in at most 1 of 20. Harm
means more than 1 % of bad answers and more than twice the old model's odds. Bars are drawn on a logarithmic scale.
"""


def render(findings: Findings, chapters: Sequence[Chapter], namespace: str) -> str:
    """The page. Parts whose stage did not happen are left out."""
    total = max((chapter.began + chapter.seconds for chapter in chapters), default=0.0)
    body = [
        f"<h1>Pilot report: screening in {escape(namespace)}</h1>",
        f'<p class="lead">{escape(_lead(findings, total))}</p>',
        f'<div class="tiles">{"".join(_tile(*each) for each in _tiles(findings))}</div>',
        _rollouts(findings.rollouts),
        _drift(findings.drift, findings.retrain),
        "<h2>What happened when</h2>",
        plots.strip([(c.title, c.began, c.seconds) for c in chapters], total),
        _table(findings),
        _reading(),
    ]
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Pilot report</title><style>{_STYLE}</style>'
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{"".join(body)}</body></html>\n'


def _lead(findings: Findings, total: float) -> str:
    back = sum(rollout.outcome is Outcome.TAKEN_BACK for rollout in findings.rollouts)
    kept = len(findings.rollouts) - back
    failed = sum(rollout.failed for rollout in findings.rollouts)
    return (
        f"In {_minutes(total)}, {len(findings.rollouts)} new models met real traffic."
        f" {_count(kept, 'model')} took over because the counts proved that they do no harm."
        f" {_count(back, 'model')} went back because the counts showed harm."
        f" Users saw {failed} bad answers because of a new model."
    )


def _tiles(findings: Findings) -> list[tuple[str, str, str]]:
    rollouts = findings.rollouts
    rescued = sum(rollout.rescued for rollout in rollouts)
    failed = sum(rollout.failed for rollout in rollouts)
    back = sum(rollout.outcome is Outcome.TAKEN_BACK for rollout in rollouts)
    requests = findings.clients.requests if findings.clients else sum(rollout.requests for rollout in rollouts)
    line = findings.clients.failed if findings.clients else 0
    fast = findings.failing_rollback
    tiles = [
        (f"{requests:,}", "requests on line 1", f"{line} failed"),
        (f"{rescued:,}", "bad answers avoided", f"given well by the old model instead; {failed} reached a user"),
        (f"{back}", "rollbacks", f"fastest {fast.to_share_zero:.1f} s after the first bad answer" if fast else ""),
    ]
    if findings.drift:
        features = " and ".join(findings.drift.features)
        tiles.append(("1", "alarm, and a true one", f"{features}; {findings.drift.alarms_before} false ones before"))
    if findings.retrain and findings.drift:
        lead, right = findings.retrain.lead_seconds, findings.retrain.compared
        tiles.append((f"{lead:.0f} s", "lead time", "from gauges going wrong to a new model for everybody"))
        tiles.append(
            (
                f"{right.new_right:.0%}",
                "right answers now",
                f"{right.old_right:.0%} with the old model on the same rows",
            )
        )
    return tiles


def _tile(figure: str, what: str, more: str) -> str:
    return f'<div class="tile"><b>{escape(figure)}</b>{escape(what)}<span>{escape(more)}</span></div>'


def _rollouts(rollouts: Sequence[Rollout]) -> str:
    if not rollouts:
        return ""
    key = _key(plots.HARM, "harm") + _key(plots.NO_HARM, "no harm")
    title = f'<h2>New models under real traffic: how full each bar was <span class="small">{key}</span></h2>'
    return f'{title}<div class="four">{"".join(map(_rollout, rollouts))}</div>'


def _rollout(rollout: Rollout) -> str:
    # Looks begin some seconds after the apply, when the new pods are ready; the plot begins with nothing known, just before the first.
    start = min((point.at for point in rollout.points), default=0.0) - 2.0
    harm = ((0.0, 0.0), *((p.at - start, plots.part_of(p.harm, rollout.harm_at)) for p in rollout.points))
    fine = ((0.0, 0.0), *((p.at - start, plots.part_of(p.no_harm, rollout.no_harm_at)) for p in rollout.points))
    lines = (plots.Line(harm, plots.HARM), plots.Line(fine, plots.NO_HARM))
    seconds = max(at for at, _ in harm)
    promoted = rollout.outcome is Outcome.PROMOTED
    colour = "good" if promoted else "bad"
    words = (
        f"{rollout.canary.bad} of {rollout.canary.answers} answers of the new model were bad, {rollout.stable.bad} of"
        f" {rollout.stable.answers} of the old one. Users saw {rollout.failed} because of it."
    )
    return (
        f'<div><h3>{escape(rollout.title)}<br><span class="{colour}">{rollout.outcome}</span></h3>'
        f'{plots.evidence(lines, seconds)}<p class="small">{escape(words)}</p></div>'
    )


def _drift(drift: Drift | None, retrain: Retrain | None) -> str:
    if drift is None:
        return ""
    key = _key(plots.BEFORE, "training") + _key(plots.AFTER, "last window")
    parts = [
        f"<div><h3>{escape(moved.feature)} moved</h3>{plots.before_after(moved.reference, moved.current)}</div>"
        for moved in drift.moved
    ]
    if retrain:
        right = retrain.compared
        parts.append(
            f"<div><h3>Right answers, old and new</h3>{plots.two_bars(right.old_right, right.new_right)}"
            f'<p class="small">On the same {right.rows} held-out rows with the shift, before the new model was signed.'
            " Had it been worse, it would not have been.</p></div>"
        )
    said = f"{drift.alarm_seconds:.0f} s after the first shifted request. No payload left a pod; the counts of bins were enough."
    return (
        f'<h2>The world changed, and the monitor said what moved <span class="small">{key}</span></h2>'
        f'<p class="small">{escape(drift.message)}<br>{escape(said)}</p><div class="three">{"".join(parts)}</div>'
    )


def _table(findings: Findings) -> str:
    rows = [
        (
            f"{rollout.title} ({rollout.deployment})",
            rollout.digest[7:19],
            f"{rollout.outcome}: {rollout.reason}",
            f"{rollout.seconds:.0f} s",
            f"{rollout.canary.bad} / {rollout.canary.answers}",
            f"{rollout.stable.bad} / {rollout.stable.answers}",
            f"{rollout.failed}"
            + (f" (and {rollout.known_failures} in the old model's own gap)" if rollout.known_failures else ""),
        )
        for rollout in findings.rollouts
    ]
    if findings.tampered:
        rows.append(("A bundle with one bit changed", "", f"refused: {findings.tampered}", "", "", "", "0"))
    heads = ("new model", "digest", "end", "took", "its bad answers", "the old one's", "users' because of it")
    head = "".join(f"<th>{escape(name)}</th>" for name in heads)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<h2>For the engineer</h2><table><tr>{head}</tr>{body}</table>"


def _reading() -> str:
    return f'<h2>How to read this</h2><p class="small">{_READING}</p>'


def _key(colour: str, words: str) -> str:
    return f'<span class="key" style="background:{colour}"></span>{words}'


def _minutes(seconds: float) -> str:
    return f"{int(seconds // 60)} min {int(seconds % 60)} s"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
