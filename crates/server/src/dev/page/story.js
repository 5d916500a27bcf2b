// One story: its place in the topic, where it is connected, how it is lost, how it comes back, and
// what its card says of that. How bytes travel is the affair of its transport (bell, score, chat,
// track), which opens a link and tells it what came.

import { above, brief, bytes, codeWords, count, delay, el, gapWords, offset, pause, put } from "./say.js";
import { Meter } from "./meter.js";

// How long a dropped reader stays away.
const AWAY = 3000;
const SHOWN = 30;
// What a new reader is shown of the past.
export const FIRST = "last:5";

/** One connection, or one chain of polls. Nothing that it says counts once it is over. */
class Link {
  constructor(story, node) {
    this.story = story;
    this.node = node;
    this.base = node.base;
    this.over = false;
    this.stop = new AbortController();
  }

  get signal() {
    return this.stop.signal;
  }

  end() {
    this.over = true;
    this.stop.abort();
  }

  /** The answer to attaching: recovered, gap or latest; `head` is what is there to come. */
  answered(answer) {
    if (!this.over) this.story.answered(answer);
  }

  items(items, cursor) {
    if (!this.over) this.story.items(items, cursor);
  }

  /** The end, by this code; `wait` in ms is the node's advice, `stay` says that trying again is vain. */
  lost(code, { wait = 0, stay = false } = {}) {
    if (this.over) return;
    this.end();
    this.story.lost(this, code, wait, stay);
  }
}

export class Story extends EventTarget {
  constructor(key, nodes, open, show) {
    super();
    Object.assign(this, { key, nodes, open, show });
    this.topic = `demo.${key}`;
    this.meter = new Meter();
    this.card = document.getElementById(key);
    this.list = document.getElementById(`${key}-list`);
    this.state = "searching";
    this.at = null;
    this.cursor = null;
    this.position = null;
    this.link = null;
    this.failures = 0;
    this.resumes = 0;
    this.turn = 0;
    this.back = null;
    this.live = false;
    this.build();
  }

  build() {
    const controls = document.getElementById("controls").content.cloneNode(true);
    this.parts = Object.fromEntries(
      ["where", "notice", "brief", "whole", "chip", "drop", "move"].map((name) => [name, controls.querySelector(`.${name}`)]),
    );
    for (const figure of ["requests", "bytes", "delay"]) {
      this.parts[figure] = controls.querySelector(`[data-cost="${figure}"]`);
    }
    const title = this.card.querySelector("h2");
    const { drop, move, chip, whole } = this.parts;
    for (const [button, name] of [[drop, "drop"], [move, "move"]]) {
      button.id = `${this.key}-${name}`;
      button.setAttribute("aria-labelledby", `${button.id} ${title.id}`);
    }
    whole.id = `${this.key}-cursor`;
    chip.setAttribute("aria-describedby", whole.id);
    const open = (yes) => {
      whole.hidden = !yes || this.cursor === null;
      chip.setAttribute("aria-expanded", String(!whole.hidden));
    };
    for (const [event, yes] of [["mouseenter", true], ["focus", true], ["mouseleave", false], ["blur", false]]) {
      chip.addEventListener(event, () => open(yes));
    }
    chip.addEventListener("keydown", (event) => { if (event.key === "Escape") open(false); });
    drop.addEventListener("click", () => this.drop());
    move.addEventListener("click", () => this.move());
    this.card.append(controls);
    this.say(this.card.dataset.tip);
    this.paint();
  }

  start(number) {
    this.join(number);
  }

  join(number) {
    const node = this.nodes.node(number);
    this.turn += 1;
    this.at = number;
    this.state = "joining";
    this.link = new Link(this, node);
    this.open(this.link);
    this.paint();
  }

  /** Away as if the network had gone, for a while, or until this promise is kept. */
  async drop(until = pause(AWAY)) {
    if (this.state === "away") return;
    this.leave("drop");
    this.state = "away";
    this.say("Dropped, and back in a moment. What is published meanwhile waits.");
    this.paint();
    const turn = (this.turn += 1);
    await until;
    if (this.turn === turn) this.join(this.usable(this.at));
  }

  /** To another node, with the cursor in hand. */
  move() {
    this.leave("move");
    this.join(this.nodes.next(this.at));
  }

  leave(why) {
    this.link?.end();
    this.link = null;
    this.live = false;
    this.back = { why, from: this.at, upTo: null, missed: 0 };
  }

  usable(number) {
    return this.nodes.node(number)?.phase === "up" ? number : this.nodes.next(number);
  }

  async lost(link, code, wait, stay) {
    this.leave("lost");
    if (stay) {
      this.state = "ended";
      this.say(`The node refuses: ${codeWords(code)}.`);
      this.paint();
      return;
    }
    this.nodes.suspect(link.node.number);
    const ceiling = Math.min(5000, 300 * 2 ** this.failures);
    const delay = this.failures === 0 ? 0 : wait + Math.random() * ceiling;
    this.failures += 1;
    this.state = "searching";
    this.say(`${link.node.name}: ${codeWords(code)}. Trying on…`);
    this.paint();
    const turn = (this.turn += 1);
    await pause(delay);
    // The picture of before would send it back to the node that is gone.
    await this.nodes.look();
    if (this.turn === turn) this.join(this.nodes.next(link.node.number));
  }

  answered({ answer, from, head, cursor }) {
    this.state = "live";
    this.failures = 0;
    if (cursor) this.cursor = cursor;
    this.back ??= { why: "first", missed: 0 };
    this.back.upTo = head;
    if (answer === "latest" || (answer === "recovered" && !above(head, from))) this.resumed();
    this.paint();
  }

  items(items, cursor) {
    for (const item of items) this.item(item);
    if (cursor) this.cursor = cursor;
    this.paint();
    this.dispatchEvent(new Event("news"));
  }

  item(item) {
    if (item.type === "gap") {
      this.gap(item);
      return;
    }
    // Rule 3 of a well-behaved client: a cut may bring the last write again.
    if (item.type !== "message" || !above(item.position, this.position)) return;
    this.position = item.position;
    this.meter.message(this.live ? item.time : null);
    this.show(item, this);
    if (this.back?.upTo) {
      this.back.missed += 1;
      if (!above(this.back.upTo, item.position)) this.resumed();
    }
  }

  gap(gap) {
    this.position = gap.to;
    const words = gapWords(gap);
    this.put(el("li", { class: "gap", "data-position": gap.to }, words));
    this.say(words, "gap");
    if (this.back?.upTo && !above(this.back.upTo, gap.to)) this.resumed();
  }

  /** Everything that was there when it came back has been delivered. */
  resumed() {
    const { why, missed } = this.back;
    this.back = null;
    this.live = true;
    if (why === "first") return;
    this.resumes += 1;
    this.card.dataset.resumes = this.resumes;
    const name = this.nodes.node(this.at)?.name ?? "a node";
    const what = missed === 0 ? "nothing was missed" : `${count(missed, "missed message")} delivered`;
    this.say(`Resumed on ${name}, ${what}.`, "resumed");
  }

  /** Adds an entry to the list, which forgets the oldest. A chat grows downwards, all else up. */
  put(entry) {
    const { list } = this;
    const down = list.getAttribute("role") === "log";
    if (down) list.append(entry);
    else list.prepend(entry);
    while (list.children.length > SHOWN) (down ? list.firstElementChild : list.lastElementChild).remove();
    list.scrollTop = down ? list.scrollHeight : 0;
  }

  say(words, kind = "") {
    const { notice } = this.parts;
    put(notice, words);
    notice.dataset.kind = kind;
  }

  paint() {
    const name = this.nodes.node(this.at)?.name ?? "";
    const words = {
      joining: `joining ${name}…`,
      live: `live on ${name}`,
      away: "cut off",
      searching: "looking for a node…",
      ended: "ended",
    }[this.state];
    this.card.dataset.state = this.state;
    const { parts, meter } = this;
    put(parts.where, words);
    put(parts.requests, meter.requests.toLocaleString("en"));
    put(parts.bytes, bytes(meter.bytes));
    put(parts.delay, meter.last === null ? "–" : delay(meter.last));
    put(parts.brief, this.cursor ? brief(this.cursor) : "none yet");
    put(parts.whole, this.cursor ? `${this.cursor} – after message ${this.position ? offset(this.position) : 0} of ${this.topic}; good on every node and transport` : "");
    // Before the first link there is nothing to drop.
    const begun = this.at !== null;
    parts.drop.disabled = !begun || this.state === "away" || this.state === "ended";
    parts.move.disabled = !begun || (this.nodes.up().length < 2 && this.state === "live");
    this.dispatchEvent(new Event("paint"));
  }
}
