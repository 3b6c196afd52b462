"""Which part of the work a sampled stack is counted for."""

from pathlib import Path

from benchmarks.serving.profiling import Profile, parsed, report, shares


def test_a_sample_belongs_to_the_innermost_frame_that_is_known(tmp_path: Path) -> None:
    (tmp_path / "modelcycle_serving").mkdir()
    (tmp_path / "modelcycle_serving/http.py").write_text("first\nself._transport.write(head)\n")
    lines = [
        "run (asyncio/runners.py:118);data_received (modelcycle_serving/http.py:1);run (onnxruntime/x.py:3) 60",
        "run (asyncio/runners.py:118);data_received (modelcycle_serving/http.py:2) 25",
        "run (asyncio/runners.py:118);data_received (modelcycle_serving/http.py:1);reduce (numpy/x.py:7) 10",
        "run (asyncio/runners.py:118) 5",
        "Thread.run (threading.py:9);work (modelcycle_serving/http.py:1) 1000",
    ]

    told = report("bc,1,16", Profile(1000.0, 50.0, *shares(list(parsed(lines, tmp_path)))))

    assert "| model run | 60% | 30.0 | 2.50x |" in told
    assert "| socket write: uvloop and kernel | 25% | 12.5 | 1.33x |" in told
    assert "| HTTP | 10% | 5.0 | 1.11x |" in told
    assert "| event loop, socket read: uvloop and kernel | 5% | 2.5 | 1.05x |" in told
