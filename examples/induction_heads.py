"""When heads of induction come to be, and what rests on them: the scores of Olsson et al. 2022 over a recorded training of letters that repeat."""

import sys
from pathlib import Path

import torch

import diorama

path = Path(sys.argv[1] if len(sys.argv) > 1 else "runs/repeats")
name, steps = (sys.argv[2] if len(sys.argv) > 2 else "repeats"), int(sys.argv[3] if len(sys.argv) > 3 else 400)
if not path.exists():
    demo = diorama.demos[name]()
    examples = demo.prepare()
    model = demo.build(examples)
    optimizer = torch.optim.Adam(model.parameters(), demo.learning_rate)
    held = examples.held_out
    with diorama.watch(model, path, probe=(held.x[:64], held.y[:64]), inputs=examples.kind, optimizer=optimizer, snapshots=steps // 16) as recorder:
        for step in range(steps):
            rows = torch.randint(0, len(examples), (demo.batch,), generator=torch.Generator().manual_seed(step))
            loss = torch.nn.functional.cross_entropy(model(examples.x[rows]).flatten(0, 1), examples.y[rows].flatten())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            recorder.step(loss=loss)
run = diorama.open(path)


def scores(measure: str) -> dict[str, list[float]]:
    """The lines of the view, a head each, over the snapshots."""
    picture = run.scene().view("attention", show="training", measure=measure)
    print(picture.save(path.with_name(f"{path.name}-{measure}.png")), "·", picture.caption)
    return {line.name: line.y.tolist() for mark in picture.marks() for line in mark.series}


print(f"snapshots: {run.snapshots}")
rows = {measure: scores(measure) for measure in ("induction", "previous")}
for measure, lines in rows.items():
    for head, values in lines.items():
        print(f"{measure:>10} {head}: {' '.join(f'{value:.2f}' for value in values)}")

scene = run.scene()
told = scene.examples.y


def right(*heads: str) -> float:
    """The share of letters answered right where the period can be known, with heads silenced."""
    seen = scene
    for head in heads:
        seen = seen.edit(f"head:{head}", lesion=True)
    return float((seen.predictions()[:, 20:] == told[:, 20:]).float().mean())


heads = sorted({*rows["induction"]} - {"other heads"})
looks_up = sorted(heads, key=lambda head: -rows["induction"][head][-1])[:2]
looks_back = max(heads, key=lambda head: rows["previous"].get(head, [0.0])[-1])
print(f"right: {right():.3f}")
print(f"without the two that look up most, {' and '.join(looks_up)}: {right(*looks_up):.3f}")
print(f"without the one that looks back most, {looks_back}: {right(looks_back):.3f}")
for head in heads:
    if head not in (*looks_up, looks_back):
        print(f"without {head}: {right(head):.3f}")
