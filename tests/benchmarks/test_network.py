"""What benchmarks/network.py reads and prints; the cluster itself is tests/cluster's."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks import network


def test_a_name_with_reduce_is_the_file_with_one_setting_more(tmp_path: Path) -> None:
    assert network.ds_config("zero1", tmp_path) == "zero1"
    own = json.loads(Path(network.ds_config("zero1-reduce", tmp_path)).read_text())
    assert own["zero_optimization"].pop("use_multi_rank_bucket_allreduce") is False
    assert own == json.loads(Path("ds_configs/zero1.json").read_text())


def test_the_table_has_a_row_for_each_file() -> None:
    row = {
        "name": "zero0",
        "weights": 1_000_000,
        "bytes": {"fast": 4e6, "slow": 4e6},
        "seconds": {"fast": 0.05, "slow": 0.4},
        "over_gradient": 1.0,
        "theory": 1.0,
    }
    results = {"environment": {"load": "0.1"}, "nodes": 2, "rate": "100mbit", "rows": [row, row | {"name": "zero1"}]}
    lines = network.table(results).splitlines()
    assert "gradient 4.00 MB" in lines[1] and "ms over 100mbit" in lines[3]
    assert lines[5:] == ["| zero0 | 1.00 | 1.00 | 50 | 400 |", "| zero1 | 1.00 | 1.00 | 50 | 400 |"]
