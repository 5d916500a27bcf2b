// How values are put into words and elements, and how positions compare. No state.

export const at = (id) => document.getElementById(id);

/** An element with attributes and children; text stays text. */
export function el(name, attributes = {}, ...children) {
  const made = name.startsWith("svg:")
    ? document.createElementNS("http://www.w3.org/2000/svg", name.slice(4))
    : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== null) made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

/** Sets text only if it is another: nothing is announced twice. */
export function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

const halves = (position) => position.split("-").map(BigInt);

/** True if position `a` is after `b`, as numbers; everything is after null. */
export function above(a, b) {
  if (b === null) return true;
  const [[epochA, offsetA], [epochB, offsetB]] = [halves(a), halves(b)];
  return epochA === epochB ? offsetA > offsetB : epochA > epochB;
}

/** The number of a message within its topic. */
export const offset = (position) => position.split("-")[1];

export const brief = (cursor) => (cursor.length > 13 ? `${cursor.slice(0, 6)}…${cursor.slice(-5)}` : cursor);

export const count = (n, one, many = `${one}s`) => `${n.toLocaleString("en")} ${n === 1 ? one : many}`;

export function bytes(n) {
  if (n < 1000) return `${Math.round(n)} B`;
  return n < 1e6 ? `${(n / 1000).toFixed(1)} kB` : `${(n / 1e6).toFixed(1)} MB`;
}

export function delay(ms) {
  if (ms < 1) return "< 1 ms";
  return ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;
}

/** A gap in words: what is left out, and why. */
export function gapWords({ reason, by, missed }) {
  const what = missed === null || missed === undefined
    ? "Some messages are left out"
    : `${count(Number(missed), "message is", "messages are")} left out`;
  const limits = { age: "for so long", count: "so many messages", bytes: "so many bytes", budget: "within the node’s budget" };
  const why = {
    trimmed: by ? `the topic keeps them only ${limits[by] ?? "within its limits"}` : "the topic no longer keeps them",
    epoch_changed: "the topic has begun anew",
    conflated: "the topic skips to the newest for slow readers",
    position_ahead: "this reader was ahead of what the cluster has",
    data_loss: "an operator accepted their loss",
  }[reason] ?? reason;
  if (reason === "trimmed" && by === "count") return `${what}: the topic keeps only so many. All after them follows.`;
  return `${what}: ${why}. All after them follows.`;
}

/** Why a node could not serve, in words. */
export function codeWords(code) {
  return {
    cut: "the connection was cut",
    silent: "the node fell silent",
    not_ready: "no majority confirms what is newest",
    no_quorum: "no majority of nodes is up",
    draining: "the node is leaving and sent its readers away",
    overloaded: "the node is full",
    rate_limited: "too many requests",
    internal: "the node failed",
  }[code] ?? code.replaceAll("_", " ");
}

export const pause = (ms, signal) =>
  new Promise((done) => {
    const timer = setTimeout(done, ms);
    signal?.addEventListener("abort", () => { clearTimeout(timer); done(); }, { once: true });
  });
