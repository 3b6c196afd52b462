"""What an alarm leads to: written down in observe mode, begun in act mode, recommended for the model that was judged."""

from fakes.drift_lab import IMPORTANT, LIVE, RETRAIN, Shift
from modelcycle.kube import kinds


async def test_observe_mode_writes_what_it_would_have_done_monitoring_39() -> None:
    line = Shift(features=IMPORTANT, actions={"retrain": RETRAIN})
    for _ in range(2):
        await line.window(line.table(2000, temperature=1.5))
    did = {a["cause"]: a["did"] for a in line.alarms}
    assert did["input-drift"] == did["output-drift"] == "alerted, would retrain (observe)"
    assert line.plant.kube.find(kinds.JOB) == []
    assert line.plant.kube.find(kinds.EXPERIMENT) == []


async def test_act_mode_begins_the_retrain_that_an_alarm_asks_for_monitoring_36() -> None:
    line = Shift(mode="act", features=IMPORTANT, actions={"retrain": RETRAIN})
    line.plant.kube.seed(
        kinds.EXPERIMENT,
        "plant-7",
        {
            "metadata": {"name": "scrap"},
            "spec": {
                "data": {"uri": "s3://factory/scrap/train.csv", "target": "is_scrap"},
                "trainer": {"estimator": "sklearn.linear_model.LogisticRegression"},
                "output": {"uri": "s3://models/scrap"},
            },
        },
    )
    await line.window(line.table(2000, temperature=1.5))
    assert line.plant.kube.find(kinds.JOB) == []
    await line.window(line.table(2000, temperature=1.5))
    (job,) = line.plant.kube.find(kinds.JOB)
    assert line.alarms[0]["did"] == f"alerted, looking at new data: Job {job['metadata']['name']}"
    assert (line.plant.condition("Retrain")["status"], line.plant.condition("Retrain")["reason"]) == (
        "True",
        "LookingAtData",
    )
    line.plant.restart_operator()
    await line.window(line.table(2000, temperature=1.5))
    assert len(line.plant.kube.find(kinds.JOB)) == 1


async def test_recommendation_names_the_model_that_was_judged() -> None:
    line = Shift(features=IMPORTANT)
    for _ in range(2):
        await line.window(line.table(2000, temperature=1.5))
    uid = line.plant.kube.find(kinds.MODEL_DEPLOYMENT)[0]["metadata"]["uid"]
    first = line.alarms[0]
    assert line.plant.status["recommendation"] == {
        "targetUid": uid,
        "digest": LIVE,
        "action": "Retrain",
        "evidence": f"{first['fingerprint']} P2: {first['message']}",
        "at": first["since"],
    }
    # A model that was promoted meanwhile was not judged: no word about it.
    newer = {"stable": {"digest": "sha256:" + "b" * 64}}
    line.plant.kube.set_status(kinds.MODEL_DEPLOYMENT, "plant-7", "scrap", newer)
    await line.plant.look(60 * line.minute + 2)
    assert "recommendation" not in line.plant.status
    assert line.alarms
