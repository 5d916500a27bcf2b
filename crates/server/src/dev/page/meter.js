// What one story costs: requests, bytes of bodies and frames, messages, delays of those that came
// live.

const KEPT = 200;

export class Meter {
  constructor() {
    this.since = performance.now();
    this.requests = 0;
    this.bytes = 0;
    this.messages = 0;
    this.last = null;
    this.delays = [];
  }

  asked() {
    this.requests += 1;
  }

  /** So many characters, all but a few of them one byte. */
  got(text) {
    this.bytes += typeof text === "number" ? text : text.length;
  }

  /** `time` is the message's own; null if it was brought later than it could have been. */
  message(time) {
    this.messages += 1;
    if (time === null) return;
    this.last = Math.max(0, Date.now() - Date.parse(time));
    this.delays.push(this.last);
    if (this.delays.length > KEPT) this.delays.shift();
  }

  get rate() {
    const minutes = (performance.now() - this.since) / 60000;
    return minutes < 0.05 ? null : this.requests / minutes;
  }

  get size() {
    return this.messages === 0 ? null : this.bytes / this.messages;
  }

  get middle() {
    if (this.delays.length === 0) return null;
    return [...this.delays].sort((a, b) => a - b)[Math.floor(this.delays.length / 2)];
  }

  get worst() {
    return this.delays.length === 0 ? null : Math.max(...this.delays);
  }
}
