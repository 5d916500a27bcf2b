// The cluster as a picture: nodes with the shards they lead and hold, and where the four stories are
// connected. Beside it, the buttons that do something to nodes.

import { at, count, el, put } from "./say.js";

const GAP = 12;
const TOP = 4;
const CHIP = 30;

const phases = {
  up: "up", starting: "starting…", paused: "paused: silent, but connected", stopping: "going…", down: "down",
};
const deeds = [
  ["kill", "Kill", "As if the power went: what was not synced is forgotten"],
  ["stop", "Stop", "Drains first: readers are sent away with advice"],
  ["pause", "Pause", "Its threads stand still, its connections stay open"],
  ["resume", "Resume", "Its threads go on"],
  ["start", "Start", "It recovers from its disk and catches up"],
];
const fits = {
  up: ["kill", "stop", "pause"], paused: ["kill", "resume"], down: ["start"], starting: [], stopping: [],
};

/** A story's title, as much of it as fits a chip. */
function short(story, width) {
  const title = story.card.querySelector("h2").textContent;
  if (width > 9 * title.length) return title;
  return { Notifications: "Bell", "Live score": "Score" }[title] ?? title;
}

export class Picture {
  constructor(nodes, stories) {
    Object.assign(this, { nodes, stories });
    this.svg = at("picture");
    this.rows = new Map();
    this.drawn = "";
    this.frame = null;
    this.terms = null;
    this.elections = 0;
    nodes.addEventListener("change", () => this.refresh());
    for (const story of stories) {
      story.addEventListener("paint", () => this.soon());
      story.addEventListener("news", () => this.blink(story));
    }
    new ResizeObserver(() => this.soon()).observe(this.svg.parentElement);
  }

  /** Draws with the next frame, once. */
  soon() {
    this.frame ??= requestAnimationFrame(() => {
      this.frame = null;
      this.draw();
    });
  }

  refresh() {
    const { picture, reachable } = this.nodes;
    at("alone").hidden = reachable;
    if (!reachable) put(at("alone"), "No node answers. Is “fanfare dev” still running? The stories come back with it.");
    if (!picture) return;
    this.count(picture.shards);
    const led = picture.shards.filter((shard) => shard.leader !== null).length;
    const up = this.nodes.up().length;
    const total = picture.shards.length;
    const majority = 2 * up > this.nodes.list.length;
    put(at("summary"), [
      `${up} of ${count(this.nodes.list.length, "node")} up`,
      `${led} of ${count(total, "shard")} led`,
      `${count(this.elections, "change")} of leader seen`,
    ].join(", ") + (majority ? "." : ". Without a majority nothing is published, and nothing acked is lost."));
    for (const node of this.nodes.list) this.row(node, up);
    this.soon();
  }

  /** Counts terms that went up since the page was opened. */
  count(shards) {
    const terms = shards.map((shard) => shard.term);
    if (this.terms) {
      terms.forEach((term, at) => { if (term > (this.terms[at] ?? term)) this.elections += 1; });
    }
    this.terms = terms.map((term, at) => Math.max(term, this.terms?.[at] ?? 0));
  }

  row(node, up) {
    let row = this.rows.get(node.number);
    if (!row) {
      const buttons = deeds.map(([act, label, title]) => {
        const button = el("button", { type: "button", title, "data-act": act, id: `${act}-${node.name}` }, label, el("span", { class: "hidden" }, ` ${node.name}`));
        button.addEventListener("click", () => void this.act(node.number, act));
        return button;
      });
      const words = el("p", {}, el("b", {}, node.name), el("span", { class: "phase" }), el("span", { class: "address" }, node.edge));
      row = el("li", {}, words, el("div", { class: "row" }, ...buttons));
      this.rows.set(node.number, row);
      at("nodes").append(row);
    }
    row.dataset.phase = node.phase;
    const busy = this.nodes.busy.get(node.number);
    put(row.querySelector(".phase"), busy === "start" ? phases.starting : phases[node.phase]);
    for (const button of row.querySelectorAll("button")) {
      const { act } = button.dataset;
      const last = node.phase === "up" && up < 2 && act !== "start";
      // A button that is gone takes the focus with it: it goes to the one that came.
      const had = document.activeElement === button;
      button.hidden = !fits[node.phase].includes(act);
      button.disabled = busy !== undefined || last;
      button.title = last ? "The last one: something must be there to start the others" : deeds.find(([name]) => name === act)[2];
      if (had && button.hidden) queueMicrotask(() => row.querySelector("button:not([hidden])")?.focus());
    }
  }

  async act(number, act) {
    const why = await this.nodes.act(number, act);
    if (why) put(at("summary"), why);
  }

  draw() {
    const { picture, list } = this.nodes;
    const width = Math.floor(this.svg.parentElement.clientWidth);
    if (!picture || width === 0) return;
    const state = JSON.stringify([picture, width, this.stories.map((story) => [story.at, story.state])]);
    if (state === this.drawn) return;
    this.drawn = state;
    const columns = Math.min(list.length, width < 480 ? 3 : 6);
    const wide = (width - GAP * (columns - 1)) / columns;
    const dots = wide > 8 * 16 + 16 ? 8 : 4;
    const tall = 46 + 16 * Math.ceil(picture.shards.length / dots);
    const rows = Math.ceil(list.length / columns);
    const bottom = TOP + rows * (tall + GAP);
    const height = bottom + 46 + CHIP + 4;
    this.svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.svg.setAttribute("width", width);
    this.svg.setAttribute("height", height);
    const place = (at) => ({
      x: (at % columns) * (wide + GAP), y: TOP + Math.floor(at / columns) * (tall + GAP),
    });
    const chips = (width - GAP * (this.stories.length - 1)) / this.stories.length;
    const lines = this.stories.map((story, at) => {
      const node = list.findIndex((one) => one.number === story.at);
      const { x, y } = place(Math.max(0, node));
      const [fromX, fromY] = [at * (chips + GAP) + chips / 2, height - CHIP - 4];
      const [toX, toY] = [x + wide * (0.2 + 0.2 * at), y + tall];
      const bend = (fromY - toY) / 2;
      const d = `M${fromX} ${fromY}C${fromX} ${fromY - bend} ${toX} ${toY + bend} ${toX} ${toY}`;
      return el("svg:path", { class: `line ${story.key}`, "data-state": node < 0 ? "away" : story.state, d });
    });
    const boxes = list.map((node, at) => this.box(node, place(at), wide, tall, dots));
    const ends = this.stories.map((story, at) => {
      const x = at * (chips + GAP);
      const label = el("svg:text", { x: x + chips / 2, y: height - CHIP / 2 + 1, class: "label" }, short(story, chips));
      return el("svg:g", { class: `end ${story.key}`, "data-state": story.state },
        el("svg:rect", { x: x + 1, y: height - CHIP - 4, width: chips - 2, height: CHIP, rx: 15 }), label);
    });
    this.svg.replaceChildren(...lines, ...boxes, ...ends);
  }

  box(node, { x, y }, wide, tall, dots) {
    const { shards, topics } = this.nodes.picture;
    const stories = new Map(this.stories.map((story) => [topics[story.topic], story.key]));
    const cells = shards.map((shard, at) => {
      const holds = shard.replicas.includes(node.number);
      if (!holds) return "";
      const leads = shard.leader === node.number;
      const [cx, cy] = [x + 12 + 16 * (at % dots), y + 38 + 16 * Math.floor(at / dots)];
      const classes = `dot ${leads ? "leads" : "holds"} ${stories.get(at) ?? ""}`;
      return el("svg:rect", { class: classes, x: cx, y: cy, width: 11, height: 11, rx: leads ? 3 : 5.5 });
    });
    const leads = shards.filter((shard) => shard.leader === node.number).length;
    const note = node.phase === "up" ? `leads ${leads}` : node.phase;
    return el("svg:g", { class: "node", "data-phase": node.phase },
      el("svg:rect", { class: "box", x: x + 1, y, width: wide - 2, height: tall, rx: 12 }),
      el("svg:text", { x: x + 12, y: y + 23, class: "name" }, node.name),
      el("svg:text", { x: x + wide - 12, y: y + 23, class: "note" }, note),
      ...cells);
  }

  blink(story) {
    const line = this.svg.querySelector(`.line.${story.key}`);
    if (!line || matchMedia("(prefers-reduced-motion: reduce)").matches) return;
    line.animate([{ strokeWidth: "5px", opacity: 1 }, {}], { duration: 500, easing: "ease-out" });
  }
}
