// A paper of docs/ as steps: its fenced blocks in their order, and in `<!-- … -->` what only the test
// does. A block of a kind that is not known is an error, so that none stands there unproved.
import { readFileSync } from "node:fs";

/** How a line begins or ends a block. */
const KINDS = new Map([
  ["sh", "run"],
  ["text", "seen"],
  ["json", "seen"],
  ["python", "file"],
  ["html", "file"],
  ["js", "file"],
]);

/** The steps of a paper: `{line, kind, options, body}`; `kind` is run, seen, file, page or type. */
export function steps(path) {
  const lines = readFileSync(path, "utf8").split("\n");
  const all = [];
  for (let at = 0; at < lines.length; at++) {
    const open = lines[at].match(/^(```|<!-- )(\w+)(.*)$/);
    if (!open) continue;
    const [, fence, word, rest] = open;
    const end = fence === "```" ? "```" : "-->";
    const begin = at + 1;
    while (++at < lines.length && lines[at] !== end);
    if (at === lines.length) throw new Error(`${path}:${begin}: a block without an end`);
    const kind = fence === "```" ? KINDS.get(word) : { sh: "run", page: "page", type: "type" }[word];
    if (!kind) throw new Error(`${path}:${begin}: nobody knows how to prove a block of \`${word}\``);
    all.push({ line: begin, kind, options: options(rest), body: lines.slice(begin, at).join("\n") });
  }
  return all;
}

/** ` NAME key=value …` as `{name, key: value}`. */
function options(text) {
  const words = text.trim().split(/\s+/).filter(Boolean);
  const pairs = words.map((word) => (word.includes("=") ? word.split("=") : ["name", word]));
  return Object.fromEntries(pairs);
}

/**
 * The first line of `shown` that is not in `printed`, in that order, and where what is seen ends.
 * `…` is any text, a line of it alone any lines, and blanks are like any blanks.
 */
export function unseen(shown, printed, from = 0) {
  const lines = printed.split("\n");
  let at = from;
  for (const want of shown.split("\n").filter((line) => line.trim() && line.trim() !== "…")) {
    while (at < lines.length && !like(want, lines[at])) at++;
    if (at === lines.length) return { missing: want, at: from };
    at++;
  }
  return { missing: undefined, at };
}

function like(want, line) {
  const [one, other] = [want, line].map((text) => text.trim().replace(/\s+/g, " "));
  const parts = one.split("…").map((part) => part.trim());
  if (parts.length === 1) return one === other;
  if (!other.startsWith(parts[0])) return false;
  let rest = other.slice(parts[0].length);
  for (const part of parts.slice(1, -1)) {
    const found = rest.indexOf(part);
    if (found < 0) return false;
    rest = rest.slice(found + part.length);
  }
  return rest.endsWith(parts.at(-1));
}
