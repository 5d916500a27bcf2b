// The count of a subscriber's messages of one topic: the numbers from 1, at positions without a hole
// but for what gaps have told.
import { until } from "./until.mjs";

export class Tally {
  constructor() {
    this.seen = [];
    this.gaps = [];
  }

  /** A message with this number came, at this position. */
  take(n, position) {
    this.seen.push({ n: Number(n), at: offset(position) });
  }

  /** True of a position above all that came: what a client that may be sent repeats asks itself. */
  isNew(position) {
    return offset(position) > (this.seen.at(-1)?.at ?? 0);
  }

  /** A gap came: its members as the wire has them. */
  gap({ reason, from, to, missed }) {
    this.gaps.push({ reason, from: offset(from), to: offset(to), missed });
  }

  /** Waits until `count` messages came or were told to be left out. */
  async reach(count) {
    const here = () => this.seen.length + this.told();
    await until(`${count} messages`, () => here() >= count).catch((why) => {
      throw new Error(`${why.message}; ${here()} came, ${this.faults(count)}`);
    });
  }

  /** How many messages the gaps say are left out. */
  told() {
    return this.gaps.reduce((sum, { from, to }) => sum + to - from, 0);
  }

  /** What is wrong with `count` messages, or nothing. */
  faults(count) {
    const told = this.gaps.flatMap(({ from, to }) => range(from + 1, to));
    const [offsets, numbers] = [this.seen.map(({ at }) => at), this.seen.map(({ n }) => n)];
    const came = new Set([...offsets, ...told]);
    const lost = range(1, Math.max(count, ...offsets)).filter((at) => !came.has(at));
    const doubled = repeats(numbers).concat(repeats([...offsets, ...told]));
    const disorder = offsets.filter((at, i) => i > 0 && at < offsets[i - 1]);
    const left_out = told.length ? [] : range(1, count).filter((n) => !numbers.includes(n));
    const told_wrong = this.gaps.filter(({ missed, from, to }) => missed !== null && missed !== to - from);
    const all = Object.entries({ lost, left_out, doubled, disorder, told_wrong: told_wrong.map((gap) => gap.from) });
    return all.filter(([, list]) => list.length).map(([what, list]) => `${list.length} ${what}: ${brief(list)}`).join("; ");
  }

  /** Fails unless all of `count` messages came once each, in order, but for what gaps left out. */
  judge(count) {
    const faults = this.faults(count);
    if (faults) throw new Error(faults);
    const gaps = this.told() ? `, ${this.told()} told by a gap` : "";
    return `${this.seen.length} messages, 0 lost, 0 doubled${gaps}`;
  }
}

function offset(position) {
  return Number(position.split("-")[1]);
}

function range(first, last) {
  return Array.from({ length: Math.max(0, last - first + 1) }, (_, at) => first + at);
}

function repeats(list) {
  const seen = new Set();
  return list.filter((one) => seen.size === seen.add(one).size);
}

function brief(list) {
  return list.length > 8 ? `${list.slice(0, 8)} …` : `${list}`;
}
