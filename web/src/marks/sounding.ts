// Notes made audible: one melody at a time in a page, by an oscillator a note.

/** A note in seconds, and its frequency in hertz. */
export interface Sound {
  readonly at: number;
  readonly long: number;
  readonly hertz: number;
}

interface Playing {
  readonly oscillators: readonly OscillatorNode[];
  stopped(): void;
}

const LEAD = 0.05; // seconds until the first note, so that none is cut
const LOUD = 0.16;

let audio: AudioContext | null = null;
let playing: Playing | null = null;

/** The frequency of a pitch in half tones: 69 is the A of 440 Hz. */
export function hertz(pitch: number): number {
  return 440 * 2 ** ((pitch - 69) / 12);
}

/** Whether this browser makes sounds. */
export function canPlay(): boolean {
  return typeof AudioContext !== "undefined";
}

/** Let notes sound; what sounded before falls silent. `stopped` is called once, at the end or before. Gives a clock: seconds since the beginning. */
export function play(sounds: readonly Sound[], stopped: () => void): () => number {
  silence();
  audio ??= new AudioContext();
  const own = audio;
  void own.resume();
  const began = own.currentTime + LEAD;
  const oscillators = sounds.map(({ at, long, hertz }) => {
    const oscillator = own.createOscillator();
    const gain = own.createGain();
    const [start, end] = [began + at, began + at + Math.max(0.05, long)];
    oscillator.type = "triangle";
    oscillator.frequency.value = hertz;
    // A note swells and fades within some milliseconds: a sudden edge would click.
    gain.gain.setValueAtTime(0, start);
    gain.gain.linearRampToValueAtTime(LOUD, start + 0.012);
    gain.gain.exponentialRampToValueAtTime(LOUD * 0.35, end - 0.03);
    gain.gain.linearRampToValueAtTime(0, end);
    oscillator.connect(gain).connect(own.destination);
    oscillator.start(start);
    oscillator.stop(end + 0.02);
    return oscillator;
  });
  playing = { oscillators, stopped };
  return () => own.currentTime - began;
}

/** Whoever sounds falls silent. */
export function silence(): void {
  if (!playing) return;
  const { oscillators, stopped } = playing;
  playing = null;
  for (const oscillator of oscillators) {
    oscillator.stop();
    oscillator.disconnect();
  }
  stopped();
}
