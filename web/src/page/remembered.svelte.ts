/** Sizes and arrangements that stay as the user left them, in this browser. */

export class Remembered<T> {
  private readonly name: string;
  private readonly fallback: T;
  private stored = $state.raw<T>() as T;

  constructor(name: string, fallback: T) {
    this.name = `diorama.${name}`;
    this.fallback = fallback;
    this.stored = this.read();
  }

  get value(): T {
    return this.stored;
  }

  set value(value: T) {
    this.stored = value;
    localStorage.setItem(this.name, JSON.stringify(value));
  }

  private read(): T {
    try {
      const text = localStorage.getItem(this.name);
      return text === null ? this.fallback : (JSON.parse(text) as T);
    } catch {
      return this.fallback;
    }
  }
}
