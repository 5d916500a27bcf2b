// The nodes of the dev cluster as the page knows them: asks any that answers for the picture of all,
// says where to go next, and does to nodes what the buttons say. Events: "change".

import { pause } from "./say.js";

const LOOK = 700;
const PATIENCE = 2500;
// A node that failed a moment ago is not the next one to try.
const SUSPECT = 3000;

export class Nodes extends EventTarget {
  constructor(topics) {
    super();
    this.topics = topics;
    this.list = [];
    this.picture = null;
    this.reachable = true;
    this.suspects = new Map();
    this.busy = new Map();
    this.asked = location.origin;
    this.looking = null;
  }

  /** Looks for ever, once after the other, while somebody sees the page. */
  async watch() {
    for (;;) {
      if (!document.hidden || this.picture === null) await this.look();
      await pause(this.reachable ? LOOK : 3 * LOOK);
    }
  }

  /** One look; those who ask meanwhile share it. */
  look() {
    this.looking ??= this.ask().finally(() => { this.looking = null; });
    return this.looking;
  }

  async ask() {
    const known = this.list.filter((node) => node.phase !== "down").map((node) => node.base);
    const rest = this.list.filter((node) => node.phase === "down").map((node) => node.base);
    const bases = new Set([this.asked, ...known, ...(this.reachable ? [] : rest)]);
    for (const base of bases) {
      try {
        const url = `${base}/dev/cluster?topics=${this.topics.join(",")}`;
        const answer = await fetch(url, { signal: AbortSignal.timeout(PATIENCE) });
        if (!answer.ok) continue;
        this.take(await answer.json());
        this.asked = base;
        this.reachable = true;
        this.dispatchEvent(new Event("change"));
        return;
      } catch {
        // The next one.
      }
    }
    this.reachable = false;
    this.dispatchEvent(new Event("change"));
  }

  take(picture) {
    this.picture = picture;
    this.list = picture.nodes.map((node) => {
      const [host, port] = [node.edge.replace(/:\d+$/, ""), node.edge.match(/\d+$/)[0]];
      // The page's own name for this machine: the node that served it is of the same origin.
      const name = host === "127.0.0.1" ? location.hostname : host;
      return { ...node, base: `http://${name}:${port}` };
    });
  }

  node(number) {
    return this.list.find((node) => node.number === number);
  }

  up() {
    return this.list.filter((node) => node.phase === "up");
  }

  suspect(number) {
    this.suspects.set(number, performance.now() + SUSPECT);
  }

  /** The node to try after this one: round, those that are up and have not just failed first. */
  next(after) {
    const count = this.list.length;
    if (count === 0) return null;
    const from = this.list.findIndex((node) => node.number === after);
    const round = this.list.map((_, i) => this.list[(from + 1 + i) % count]);
    const now = performance.now();
    const calm = (node) => (this.suspects.get(node.number) ?? 0) < now;
    const best = round.find((node) => node.phase === "up" && node.number !== after && calm(node))
      ?? round.find((node) => node.phase === "up" && calm(node))
      ?? round.find((node) => node.phase === "up")
      ?? round.find((node) => node.phase !== "down")
      ?? round[0];
    return best.number;
  }

  /** Kill, stop, pause, start, resume: asked of another node where there is one. */
  async act(number, act) {
    const others = this.up().filter((node) => node.number !== number);
    const through = others[0] ?? this.node(number);
    this.busy.set(number, act);
    this.dispatchEvent(new Event("change"));
    try {
      const answer = await fetch(`${through.base}/dev/nodes/${number}/${act}`, { method: "POST" });
      return answer.ok ? null : (await answer.text()).trim();
    } catch {
      return null;
    } finally {
      this.busy.delete(number);
      await this.look();
    }
  }
}
